"""Two small web applications: probes with metrics, and the same with what operators may do."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias, final

import anyio
import orjson
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from router.admin.guard import Gatekeeper, SecurityHeaders
from router.admin.overview import CONTENT_SECURITY_POLICY, Overview, render_overview
from router.admin.silences import SilenceBook, silence_routes
from router.problems import Problem
from router.telemetry import AUDIT, CONTENT_TYPE, log
from router.values import Secret

_MAX_BODY: Final = 64 * 1024


class Health(Protocol):
    """What the probes ask; each answer comes with one line for people."""

    def is_healthy(self) -> tuple[bool, str]:
        """Working, even if a neighbour is down: False makes the platform restart the process."""
        ...

    def is_ready(self) -> tuple[bool, str]:
        """A member of its group, and the ledger is writable."""
        ...


@dataclass(frozen=True, slots=True)
class ReloadReport:
    """How a reload ended.

    Attributes:
        result: ``applied``; ``unchanged``, the files say what they said; ``refused``, the old
            configuration stays.
        config_hash: Of the configuration in force now.
        changed: The parts that were rebuilt, such as ``sinks.mail``.
        problems: Why it was refused; warnings otherwise.
    """

    result: Literal["applied", "unchanged", "refused"]
    config_hash: str
    changed: tuple[str, ...] = ()
    problems: Sequence[Problem] = ()

    def as_dict(self) -> dict[str, Any]:
        """The stable JSON form."""
        return {
            "result": self.result,
            "config_hash": self.config_hash,
            "changed": list(self.changed),
            "problems": [problem.as_dict() for problem in self.problems],
        }


Reload: TypeAlias = Callable[[], Awaitable[ReloadReport]]


def probe_app(health: Health, scrape: Callable[[], bytes]) -> Starlette:
    """``/-/healthy``, ``/-/ready`` and ``/metrics``; ``scrape`` runs in a thread."""
    return _application(_probes(health, scrape))


def admin_app(
    health: Health,
    scrape: Callable[[], bytes],
    *,
    reload: Reload,
    overview: Callable[[], Overview],
    token: Secret | None = None,
    silences: SilenceBook | None = None,
) -> Starlette:
    """The probes, the overview page at ``/``, ``POST /-/reload``, and silences.

    With a token, the page and the reload need it. Without one the caller has to have checked that
    the address is loopback (:func:`router.admin.check_admin`).
    """
    gatekeeper = Gatekeeper(token)

    async def page(request: Request) -> Response:
        gatekeeper.admit_reader(request)
        return HTMLResponse(
            render_overview(overview()),
            headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY},
        )

    return _application(
        [
            *_probes(health, scrape),
            Route("/", page),
            Route("/-/reload", _Reloader(gatekeeper, reload).answer, methods=["POST"]),
            *(silence_routes(gatekeeper, silences) if silences is not None else ()),
        ]
    )


def _application(routes: Sequence[Route]) -> Starlette:
    return Starlette(
        routes=routes,
        middleware=[Middleware(SecurityHeaders)],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )


def _probes(health: Health, scrape: Callable[[], bytes]) -> list[Route]:
    one_at_a_time = anyio.CapacityLimiter(1)

    async def healthy(_: Request) -> Response:
        return _probe(*health.is_healthy(), word="healthy")

    async def ready(_: Request) -> Response:
        return _probe(*health.is_ready(), word="ready")

    async def metrics(request: Request) -> Response:
        is_gzip = _accepts_gzip(request.headers.get("accept-encoding", ""))

        def render() -> bytes:
            return gzip.compress(scrape(), 4) if is_gzip else scrape()

        headers = {"Vary": "Accept-Encoding"} | ({"Content-Encoding": "gzip"} if is_gzip else {})
        body = await run_sync(render, limiter=one_at_a_time)
        return Response(body, media_type=CONTENT_TYPE, headers=headers)

    return [
        Route("/-/healthy", healthy),
        Route("/-/ready", ready),
        Route("/metrics", metrics),
    ]


@final
class _Reloader:
    """One reload at a time, each with its line in the audit log."""

    def __init__(self, gatekeeper: Gatekeeper, reload: Reload) -> None:
        self._gatekeeper = gatekeeper
        self._reload = reload
        self._is_busy = False

    async def answer(self, request: Request) -> Response:
        client = request.client.host if request.client else "unknown"
        try:
            self._gatekeeper.admit_operator(request)
        except HTTPException as refusal:
            log(
                AUDIT, logging.WARNING, "config.reload", "reload refused to the caller",
                outcome="failure", client=client, status=refusal.status_code,
            )  # fmt: skip
            raise
        await _drain(request)
        if self._is_busy:
            raise HTTPException(409, "a reload is under way")
        self._is_busy = True
        try:
            report = await self._reload()
        finally:
            self._is_busy = False
        log(
            AUDIT, logging.INFO, "config.reload", f"reload {report.result}",
            outcome="failure" if report.result == "refused" else "success",
            client=client, config_hash=report.config_hash, changed=report.changed,
            problems=len(report.problems),
        )  # fmt: skip
        return _json(report.as_dict(), 422 if report.result == "refused" else 200)


async def _drain(request: Request) -> None:
    """Reads the body, which means nothing, as far as it is short."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > _MAX_BODY:
            raise HTTPException(413, f"more than {_MAX_BODY} bytes")


def _probe(is_fine: bool, detail: str, *, word: str) -> Response:
    status = word if is_fine else f"not {word}"
    return _json({"status": status, "detail": detail}, 200 if is_fine else 503)


def _json(value: object, status: int, headers: Mapping[str, str] | None = None) -> Response:
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    return Response(body, status, headers, media_type="application/json")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = {"error": {"status": error.status_code, "message": error.detail}}
    return _json(body, error.status_code, error.headers)


async def _failed(_: Request, __: Exception) -> Response:
    """Says nothing of the bug; the server logs it with its stack."""
    return _json({"error": {"status": 500, "message": "internal error; see the logs"}}, 500)


def _accepts_gzip(accept_encoding: str) -> bool:
    for item in accept_encoding.split(","):
        coding, _, weight = item.partition(";")
        if coding.strip().lower() in {"gzip", "*"}:
            return weight.replace(" ", "").lower() not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
