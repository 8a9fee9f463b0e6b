"""The sandbox: every look-alike on loopback, one record, one clock, one control server."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, final

from router.clock import Clock, SystemClock
from router.sandbox.apns.settings import ApnsSettings
from router.sandbox.carrotquest import CarrotquestApi, CarrotquestSettings
from router.sandbox.certificates import CryptographyMissing, make_certificates
from router.sandbox.control import Control, LookAlike
from router.sandbox.fcm.settings import FcmSettings
from router.sandbox.http import serve_http
from router.sandbox.inbox import Inbox
from router.sandbox.max import MaxApi, MaxSettings
from router.sandbox.mixpanel import MixpanelApi, MixpanelSettings
from router.sandbox.record import Record
from router.sandbox.smtp import MailServer, SmtpSettings
from router.sandbox.telegram import TelegramApi, TelegramSettings
from router.sandbox.webapi import Credentials, WebApi
from router.sandbox.webhook import SECRET, WebhookReceiver

if TYPE_CHECKING:
    from router.sandbox.apns.server import ApnsApi
    from router.sandbox.fcm.server import FcmApi

DEFAULT_PORTS: Mapping[str, int] = {
    "control": 8900,
    "telegram": 8901,
    "webhook": 8902,
    "http": 8903,
    "max": 8904,
    "mixpanel": 8905,
    "carrotquest": 8906,
    "fcm": 8907,
    "apns": 8908,
    "apns-sandbox": 8909,
    "smtp": 8925,
    "smtps": 8926,
}
"""Where a sandbox that people start by hand listens."""


@final
class ShiftedClock:
    """Another clock, some seconds ahead."""

    def __init__(self, base: Clock) -> None:
        self._base = base
        self._ahead_s = 0.0

    def now(self) -> float:
        return self._base.now() + self._ahead_s

    def monotonic(self) -> float:
        return self._base.monotonic() + self._ahead_s

    async def sleep(self, seconds: float) -> None:
        await self._base.sleep(seconds)

    def advance(self, seconds: float) -> None:
        """Moves this clock, and no other, forward."""
        self._ahead_s += seconds


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """How a sandbox behaves; as it stands, a friendly one.

    Attributes:
        ports: By name of address; a free port for each that is not given.
        folder: Where its keys and certificates are put, and stay; by default a folder that goes
            with it.
        http_tls: The HTTP look-alikes speak TLS under the sandbox's own authority, as MAX's
            does always.
        expired_certificate: Every server's certificate ran out yesterday.
        smtp, telegram, http, max, mixpanel, carrotquest, fcm, apns: Of these look-alikes.
        webhook_secrets: Any of them makes a good signature: ``whsec_…``, or ``whpk_…``, a sender's
            public key.
        clock: What time it is for limits, greylisting and token life.
    """

    ports: Mapping[str, int] = field(default_factory=dict[str, int])
    folder: Path | None = None
    http_tls: bool = False
    expired_certificate: bool = False
    smtp: SmtpSettings = field(default_factory=SmtpSettings)
    telegram: TelegramSettings = field(default_factory=TelegramSettings)
    http: Credentials = field(default_factory=Credentials)
    max: MaxSettings = field(default_factory=MaxSettings)
    mixpanel: MixpanelSettings = field(default_factory=MixpanelSettings)
    carrotquest: CarrotquestSettings = field(default_factory=CarrotquestSettings)
    fcm: FcmSettings = field(default_factory=FcmSettings)
    apns: ApnsSettings = field(default_factory=ApnsSettings)
    webhook_secrets: tuple[str, ...] = (SECRET,)
    clock: Clock = field(default_factory=SystemClock)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running sandbox.

    Attributes:
        addresses: URL by name: ``smtp`` (with STARTTLS), ``smtps``, ``telegram``, ``webhook``,
            ``http``, ``max`` (always TLS), ``mixpanel``, ``carrotquest``, ``fcm``, ``apns`` and
            ``apns-sandbox`` (TLS too), and ``control``.
        ca_file: The authority that clients have to trust where TLS is spoken.
        record: What was accepted and refused.
        clock: Its time; ``advance`` it.
        inbox: The page at ``control``; ``introduce`` people to it.
    """

    addresses: Mapping[str, str]
    ca_file: Path
    record: Record
    clock: ShiftedClock
    smtp: MailServer
    telegram: TelegramApi
    webhook: WebhookReceiver
    http: WebApi
    max: MaxApi
    mixpanel: MixpanelApi
    carrotquest: CarrotquestApi
    fcm: FcmApi
    apns: ApnsApi
    apns_sandbox: ApnsApi
    inbox: Inbox

    @property
    def credentials(self) -> Mapping[str, str]:
        """What opens the look-alikes, by name."""
        user, password = next(iter(self.smtp.settings.credentials.items()))
        return {
            "smtp_user": user,
            "smtp_password": password,
            "telegram_token": self.telegram.settings.token,
            "webhook_secret": self.webhook.secrets[0],
            "http_bearer": self.http.credentials.bearer,
            "max_token": self.max.settings.token,
            "mixpanel_token": self.mixpanel.settings.token,
            "mixpanel_username": self.mixpanel.settings.service_account[0],
            "mixpanel_secret": self.mixpanel.settings.service_account[1],
            "mixpanel_project": str(self.mixpanel.settings.project_id),
            "carrotquest_token": self.carrotquest.settings.token,
            "fcm_credentials_file": str(self.fcm.credentials_file),
            "fcm_project": self.fcm.settings.project_id,
            "apns_key_file": str(self.apns.credentials.key_file),
            "apns_key_id": self.apns.settings.key_id,
            "apns_team_id": self.apns.settings.team_id,
            "apns_topic": self.apns.settings.topic,
            "apns_cert_file": str(self.apns.credentials.certificate_file),
        }


@asynccontextmanager
async def sandbox(settings: SandboxSettings = SandboxSettings()) -> AsyncGenerator[Sandbox]:
    """Runs every look-alike until the block ends.

    Raises:
        CryptographyMissing: the ``demo`` extra is not installed.
        OSError: a stated port is taken.
    """
    clock = ShiftedClock(settings.clock)
    record = Record(clock)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(_folder(settings.folder))
        certificates = make_certificates(folder, expired=settings.expired_certificate)
        tls = certificates.server_context()
        telegram = TelegramApi(record, clock, settings.telegram)
        webhook = WebhookReceiver(record, clock, settings.webhook_secrets)
        http = WebApi(record, clock, settings.http)
        smtp = MailServer(record, clock, settings.smtp, tls, http.is_token)
        max_ = MaxApi(record, clock, settings.max)
        mixpanel = MixpanelApi(record, clock, settings.mixpanel)
        carrotquest = CarrotquestApi(record, clock, settings.carrotquest)
        over_http = (telegram, webhook, http, max_, mixpanel, carrotquest)
        pushes = _push_services(record, clock, folder, settings)
        providers: list[LookAlike] = [smtp, *over_http, *pushes]
        control = Control(record, clock, {provider.name: provider for provider in providers})

        addresses: dict[str, str] = {}
        for name in ("smtp", "smtps"):
            server = smtp.serve(settings.ports.get(name, 0), implicit_tls=name == "smtps")
            addresses[name] = f"{name}://127.0.0.1:{await stack.enter_async_context(server)}"
        for look_alike in over_http:
            is_secure = settings.http_tls or look_alike is max_
            port = settings.ports.get(look_alike.name, 0)
            server = serve_http(look_alike.endpoint, port, tls if is_secure else None)
            port = await stack.enter_async_context(server)
            addresses[look_alike.name] = f"{'https' if is_secure else 'http'}://127.0.0.1:{port}"
        for look_alike in pushes:
            port = settings.ports.get(look_alike.name, 0)
            server = look_alike.serve(certificates.server_context(), port)
            port = await stack.enter_async_context(server)
            addresses[look_alike.name] = f"https://127.0.0.1:{port}"
        server = serve_http(control.endpoint, settings.ports.get("control", 0))
        addresses["control"] = f"http://127.0.0.1:{await stack.enter_async_context(server)}"
        yield Sandbox(
            addresses,
            certificates.ca_file,
            record,
            clock,
            smtp=smtp,
            telegram=telegram,
            webhook=webhook,
            http=http,
            max=max_,
            mixpanel=mixpanel,
            carrotquest=carrotquest,
            fcm=pushes[0],
            apns=pushes[1],
            apns_sandbox=pushes[2],
            inbox=control.inbox,
        )


@contextmanager
def _folder(given: Path | None) -> Generator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="router-sandbox-") as folder:
        yield Path(folder)


def _push_services(
    record: Record, clock: Clock, folder: Path, settings: SandboxSettings
) -> tuple[FcmApi, ApnsApi, ApnsApi]:
    """Raises:
    CryptographyMissing: the ``demo`` extra is not installed.
    """
    try:
        from router.sandbox.apns.credentials import Credentials as ApnsCredentials
        from router.sandbox.apns.server import ApnsApi, Devices
        from router.sandbox.fcm.server import FcmApi
    except ImportError:
        raise CryptographyMissing(
            "push services in the sandbox need h2: pip install 'router[demo]'"
        ) from None
    fcm = FcmApi(record, clock, folder, settings.fcm)
    devices, credentials = Devices(), ApnsCredentials(folder, settings.apns.topic)
    production, sandbox_ = (
        ApnsApi(name, record, clock, devices, credentials, settings.apns)
        for name in ("apns", "apns-sandbox")
    )
    return fcm, production, sandbox_
