"""Silences from outside the daemon: in a shared ledger itself, else through the daemon that has
the ledger open."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, cast, final

import orjson
from anyio.to_thread import run_sync

from router.clock import Clock
from router.config import Project
from router.config.addresses import Address
from router.config.documents import read_document
from router.delivery.silences import PREFIX, ended, fact_of, read_fact
from router.ledger import KINDS, Ledger, LedgerDown
from router.planning.silences import Silence, compile_silence, silence_of, silence_to_dict
from router.problems import Problems, Source, did_you_mean
from router.values import Secret

_PATH: Final = "/api/v1/silences"
_TIMEOUT_S: Final = 10.0
_FOR_EVER: Final = float("inf")
_KEYS: Final = tuple(name for name in Silence.__dataclass_fields__ if name != "condition")


class NotReached(Exception):
    """Silences can't be read or written; the message says why."""


class SilenceStore(Protocol):
    """Where silences are kept. Every call may raise ``NotReached``."""

    async def active(self) -> Sequence[Silence]: ...
    async def add(self, silence: Silence) -> Silence: ...
    async def expire(self, silence: Silence) -> None: ...


@asynccontextmanager
async def opened_silences(
    project: Project, clock: Clock, admin: str | None
) -> AsyncGenerator[SilenceStore]:
    """The ledger where it is shared; else the daemon's admin server.

    Args:
        admin: Address of the admin server to ask in any case, such as ``http://10.0.0.7:9090``.

    Raises:
        NotReached: the ledger can't be reached.
    """
    kind = KINDS.load(project.ledger.type)
    if admin is not None or not kind.is_shared:
        yield _Remote(admin or _address(project), project.admin.token)
        return
    opening = kind.open(project.ledger, owner="silence", clock=clock)
    try:
        async with opening as ledger:
            yield _Shared(ledger, clock)
    except LedgerDown as error:
        raise NotReached(f"the ledger is down: {error}") from None


def read_match(text: str) -> Any:
    """The plain value of a ``--match``, such as ``type: payment.failed``.

    Raises:
        ValueError: it is no condition; the message says what to write.
    """
    problems = Problems()
    document = read_document(Source.of("--match", text), text, problems, literal=True)
    if problems.has_errors or not document.node.entries:
        raise ValueError("; ".join(p.message for p in problems.found) or "it is empty")
    value = document.node.plain()
    compile_silence(value)
    return value


def read_silences(text: str) -> list[Silence]:
    """Silences as ``router silence list --output json`` writes them, one alone, or a list.

    Written by hand one may lack everything but its conditions: it then holds for ever.

    Raises:
        ValueError: they can't be understood; the message says why.
    """
    try:
        given: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ValueError("it is no JSON, as router silence list --output json writes it") from None
    if isinstance(given, dict) and "silences" in given:
        given = cast("dict[str, Any]", given)["silences"]
    return [_given(one, number) for number, one in enumerate(_listed(given), 1)]


def _listed(given: Any) -> list[Any]:
    return cast("list[Any]", given) if isinstance(given, list) else [given]


def _given(fields: Any, number: int) -> Silence:
    if not isinstance(fields, dict):
        raise ValueError(f"silence {number} is no mapping")
    named = cast("dict[str, Any]", fields)
    if unknown := sorted(named.keys() - set(_KEYS)):
        hint = did_you_mean(unknown[0], _KEYS, "Keys")
        raise ValueError(f'silence {number} has no key "{unknown[0]}".{hint}')
    try:
        silence = silence_of({"id": str(number), "until": _FOR_EVER, "created": 0.0} | named)
    except ValueError as error:
        raise ValueError(f"silence {number}: {error}") from None
    if not silence.is_bounded:
        raise ValueError(f"silence {number} silences everything: say what")
    return silence


@final
class _Shared:
    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def active(self) -> Sequence[Silence]:
        now = self._clock.now()
        facts = await self._ledger.changes(PREFIX, 0.0)
        found = [silence for fact in facts if (silence := read_fact(fact)) is not None]
        return sorted((s for s in found if s.until > now), key=lambda s: (s.created, s.id))

    async def add(self, silence: Silence) -> Silence:
        await self._ledger.put_facts([fact_of(silence)])
        return silence

    async def expire(self, silence: Silence) -> None:
        await self._ledger.put_facts([ended(silence, self._clock.now())])


@final
class _Remote:
    def __init__(self, address: str, token: Secret | None) -> None:
        self._url = address.rstrip("/") + _PATH
        self._token = token

    async def active(self) -> Sequence[Silence]:
        answer = await self._call("GET", "")
        return [silence_of(fields) for fields in answer["silences"]]

    async def add(self, silence: Silence) -> Silence:
        return silence_of(await self._call("POST", "", silence_to_dict(silence)))

    async def expire(self, silence: Silence) -> None:
        await self._call("DELETE", f"/{silence.id}")

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Accept": "application/json"}
        if self._token is not None and self._token.known:
            headers["Authorization"] = f"Bearer {self._token.reveal()}"
        data = orjson.dumps(body) if body is not None else None
        asked = urllib.request.Request(self._url + path, data, headers, method=method)
        return await run_sync(self._send, asked)

    def _send(self, asked: urllib.request.Request) -> Any:
        # The operator's own daemon is never behind the proxy of the environment.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(asked, timeout=_TIMEOUT_S) as answer:
                return orjson.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise NotReached(f"{asked.full_url}: {_message(error)}") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            why = getattr(reason, "strerror", None) or reason
            hint = "start it, or name another's address with --admin"
            message = f"the daemon can't be reached at {self._url}: {why}; {hint}"
            raise NotReached(message) from None


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(orjson.loads(error.read())["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {error.code}"


def _address(project: Project) -> str:
    """Where the admin server of a daemon on this machine is."""
    address = Address.parse(project.admin.listen)
    host = "127.0.0.1" if address.host in ("0.0.0.0", "::", "") else address.host
    return f"http://{f'[{host}]' if ':' in host else host}:{address.port}"
