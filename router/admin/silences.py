"""What operators silence, over HTTP: list, add, expire."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, Protocol, final

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.admin.guard import Gatekeeper
from router.ledger import LedgerDown
from router.planning.silences import Silence, silence_of, silence_to_dict, why_refused
from router.telemetry import AUDIT, log

PATH: Final = "/api/v1/silences"
_MAX_BODY: Final = 64 * 1024


class SilenceBook(Protocol):
    """Where silences are kept; all replicas obey what is in it."""

    @property
    def active(self) -> Sequence[Silence]: ...
    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    async def add(self, silence: Silence) -> None: ...
    async def expire(self, silence: Silence) -> None: ...


def silence_routes(gatekeeper: Gatekeeper, book: SilenceBook) -> list[Route]:
    """``GET`` and ``POST`` of all silences, ``DELETE`` of one."""
    api = _Api(gatekeeper, book)
    return [
        Route(PATH, api.list, methods=["GET"]),
        Route(PATH, api.add, methods=["POST"]),
        Route(f"{PATH}/{{id}}", api.expire, methods=["DELETE"]),
    ]


@final
class _Api:
    def __init__(self, gatekeeper: Gatekeeper, book: SilenceBook) -> None:
        self._gatekeeper = gatekeeper
        self._book = book

    async def list(self, request: Request) -> Response:
        self._gatekeeper.admit_reader(request)
        return _json({"silences": [silence_to_dict(silence) for silence in self._book.active]})

    async def add(self, request: Request) -> Response:
        self._admit(request, "silence.add")
        fields = await _fields(request)
        own = {"id": secrets.token_hex(4), "created": self._book.now()}
        try:
            silence = silence_of({**fields, **own})
            if problem := why_refused(silence, self._book.now()):
                raise ValueError(problem)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        await _kept(self._book.add(silence))
        _audit(request, "silence.add", silence)
        return _json(silence_to_dict(silence), 201)

    async def expire(self, request: Request) -> Response:
        self._admit(request, "silence.expire")
        id = request.path_params["id"]
        silence = next((one for one in self._book.active if one.id == id), None)
        if silence is None:
            raise HTTPException(404, "there is no such silence, or it has ended")
        await _kept(self._book.expire(silence))
        _audit(request, "silence.expire", silence)
        return _json({**silence_to_dict(silence), "until": self._book.now()})

    def _admit(self, request: Request, action: str) -> None:
        try:
            self._gatekeeper.admit_operator(request)
        except HTTPException as refusal:
            log(
                AUDIT, logging.WARNING, action, "refused to the caller",
                outcome="failure", client=_client(request), status=refusal.status_code,
            )  # fmt: skip
            raise


async def _fields(request: Request) -> Mapping[str, Any]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            raise HTTPException(413, f"more than {_MAX_BODY} bytes")
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        fields = None
    if not isinstance(fields, dict):
        raise HTTPException(422, "the body is a JSON object")
    return fields  # pyright: ignore[reportUnknownVariableType]


async def _kept(write: Awaitable[None]) -> None:
    try:
        await write
    except LedgerDown:
        raise HTTPException(503, "the ledger is down; do it again") from None


def _audit(request: Request, action: str, silence: Silence) -> None:
    log(
        AUDIT, logging.INFO, action, f"{action} {silence.id}",
        outcome="success", client=_client(request), silence=silence.id, author=silence.author,
        comment=silence.comment, until=silence.until, route=silence.route,
        category=silence.category, sink=silence.sink,
    )  # fmt: skip


def _client(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _json(value: object, status: int = 200) -> Response:
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    return Response(body, status, media_type="application/json")
