"""Logs on standard error, written by a thread of their own so that a slow reader stalls nothing.

Call sites use stdlib loggers, or :func:`log` where a line has fields. One line for each outcome at
debug, for each problem at warning; ids, names and codes only, recipients by ``recipient_hash``.
"""

from __future__ import annotations

import atexit
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final, Literal, TextIO, cast, final

from router.config.settings import LogSettings
from router.telemetry.log_formats import Console, EcsJson, Format, router_fields
from router.telemetry.metrics import Metrics
from router.telemetry.redaction import Redactor

AUDIT: Final = logging.getLogger("router.audit")
"""Who changed what at run time; written whatever the level."""

_CHATTY = ("uvicorn", "aiokafka", "asyncio", "aiohttp", "mail.log", "kafka")
_REPEAT_WINDOW_S = 10.0
_ROOM = 10_000
_CLOSE_WAIT_S = 2.0
_LOOK_EVERY_S = 1.0

Result = Literal["success", "failure", "unknown"]


def log(
    logger: logging.Logger,
    level: int,
    action: str,
    message: str,
    *,
    outcome: Result | None = None,
    error: BaseException | None = None,
    **fields: Any,
) -> None:
    """Writes a line with fields.

    Args:
        logger, level: As in stdlib logging.
        action: What happened, as a stable name such as ``sink.halted`` (ECS ``event.action``).
        message: One line for people; the same text for the same problem.
        outcome: ECS ``event.outcome``.
        error: Its type, message and stack are added.
        fields: Shown as ``router.<name>``; never personal data.
    """
    if not logger.isEnabledFor(level):
        return
    shown: dict[str, Any] = {"event.action": action}
    if outcome is not None:
        shown["event.outcome"] = outcome
    shown |= fields
    trace = (type(error), error, error.__traceback__) if error is not None else None
    logger.log(level, "%s", message, exc_info=trace, extra={"router": shown})


def log_bug(logger: logging.Logger, message: str, error: BaseException) -> None:
    """An error that nobody foresaw in code that handles people's data: its type and where it was.

    Its own text is left out: it may quote what was being handled.
    """
    kind = type(error)
    bare = type(kind.__qualname__, (Exception,), {"__module__": kind.__module__})()
    bare = bare.with_traceback(error.__traceback__)
    logger.error("%s", message, exc_info=(type(bare), bare, error.__traceback__))


class _Nothing(Enum):
    NEW = auto()


@dataclass(slots=True)
class _Seen:
    until: float
    record: logging.LogRecord
    left_out: int = 0


@final
@dataclass(slots=True)
class RepeatLimit:
    """Lets one of equal warnings through in each window, and counts the others.

    Time is passed in. At most ``capacity`` different ones are remembered; more pass unlimited.
    """

    window_s: float = _REPEAT_WINDOW_S
    capacity: int = 1000
    _seen: dict[tuple[object, ...], _Seen] = field(default_factory=dict[tuple[object, ...], _Seen])

    def lets(self, record: logging.LogRecord, now: float) -> bool:
        """Whether this record is to be written; records below warning always are."""
        if record.levelno < logging.WARNING:
            return True
        fields = router_fields(record)
        key = (record.name, record.levelno, record.getMessage(), *map(str, fields.values()))
        seen = self._seen.get(key)
        if seen is not None and now < seen.until:
            seen.left_out += 1
            return False
        if seen is None and len(self._seen) >= self.capacity:
            return True
        if seen is not None and seen.left_out:
            _mark_repeated(record, seen.left_out)
        self._seen[key] = _Seen(now + self.window_s, _without_trace(record))
        return True

    def ended(self, now: float) -> Iterator[logging.LogRecord]:
        """Forgets windows that are over; gives, with its count, each record that was left out."""
        for key, seen in list(self._seen.items()):
            if now >= seen.until:
                del self._seen[key]
                if seen.left_out:
                    _mark_repeated(seen.record, seen.left_out)
                    seen.record.created = time.time()
                    yield seen.record


def _without_trace(record: logging.LogRecord) -> logging.LogRecord:
    return logging.makeLogRecord({**record.__dict__, "exc_info": None})


def _mark_repeated(record: logging.LogRecord, count: int) -> None:
    record.__dict__["router"] = {**router_fields(record), "repeated": count}


@final
class Logs(logging.Handler):
    """The one handler: a bounded queue and the thread that formats and writes.

    Attributes:
        redactor: Teach it secrets as they become known.
        dropped: Lines lost because the reader of the stream was too slow.
    """

    def __init__(
        self,
        stream: TextIO,
        format_: Format,
        redactor: Redactor,
        *,
        metrics: Metrics | None = None,
        room: int = _ROOM,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.redactor = redactor
        self.dropped = 0
        self._stream = stream
        self._format = format_
        self._metrics = metrics
        self._monotonic = monotonic
        self._repeats = RepeatLimit()
        self._queue: queue.Queue[logging.LogRecord | threading.Event | None] = queue.Queue(room)
        self._thread = threading.Thread(target=self._write_all, name="logs", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queues a record; the handler's lock is held by the caller."""
        if not self._repeats.lets(record, self._monotonic()):
            if self._metrics is not None:
                self._metrics.families.log_repeated.inc()
            return
        record.msg, record.args = record.getMessage(), None
        self._put(record)

    def flush(self) -> None:
        """Waits until everything logged so far is written, for two seconds at most."""
        if not self._thread.is_alive():
            return
        written = threading.Event()
        try:
            self._queue.put(written, timeout=_CLOSE_WAIT_S)
        except queue.Full:
            return
        written.wait(_CLOSE_WAIT_S)

    def close(self) -> None:
        """Writes what is queued and ends the thread; later records go nowhere. Safe to repeat."""
        logging.getLogger().removeHandler(self)
        super().close()
        if self._thread.is_alive():
            try:
                self._queue.put(None, timeout=_CLOSE_WAIT_S)
            except queue.Full:
                return
            self._thread.join(_CLOSE_WAIT_S)

    def _put(self, record: logging.LogRecord) -> None:
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1
            if self._metrics is not None:
                self._metrics.families.log_dropped.inc()

    def _write_all(self) -> None:
        reported, look_again = 0, self._monotonic() + _LOOK_EVERY_S
        while True:
            try:
                item = self._queue.get(timeout=_LOOK_EVERY_S)
            except queue.Empty:
                item = _Nothing.NEW
            match item:
                case _Nothing.NEW:
                    pass
                case None:
                    self._write_repeats(float("inf"))
                    return
                case threading.Event():
                    item.set()
                case _:
                    self._write(item)
            if (now := self._monotonic()) >= look_again:
                look_again = now + _LOOK_EVERY_S
                self._write_repeats(now)
                if self.dropped > reported:
                    self._write(_dropped_record(self.dropped - reported))
                    reported = self.dropped

    def _write_repeats(self, now: float) -> None:
        self.acquire()
        try:
            ended = list(self._repeats.ended(now))
        finally:
            self.release()
        for record in ended:
            self._write(record)

    def _write(self, record: logging.LogRecord) -> None:
        try:
            line = self._format(record).decode("utf-8")
        except Exception as error:
            line = f"a log record of {record.name} could not be formatted: {type(error).__name__}"
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self.dropped += 1
            return
        if self._metrics is not None:
            self._metrics.families.log_records.labels(record.levelname.lower()).inc()


def _dropped_record(count: int) -> logging.LogRecord:
    record = logging.makeLogRecord(
        {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING"}
    )
    record.msg = f"{count} log lines were dropped: the reader of standard error was too slow"
    record.__dict__["router"] = {"event.action": "logs.dropped", "lines": count}
    return record


def setup_logs(
    settings: LogSettings,
    stream: TextIO | None = None,
    *,
    redactor: Redactor | None = None,
    metrics: Metrics | None = None,
    version: str = "",
) -> Logs:
    """Sends all logging to ``stream`` (standard error), in the format asked for.

    Replaces the handlers of the root logger. Libraries that chat are shown from warning on, with
    debug from info on: their own debug lines hold whole records and requests. Flushed at the
    interpreter's exit; close it earlier if you like.
    """
    out = cast("TextIO", sys.stderr) if stream is None else stream
    redactor = redactor or Redactor()
    is_console = settings.format == "console" or (settings.format == "auto" and out.isatty())
    format_: Format = (
        Console(redactor, colour=out.isatty()) if is_console else EcsJson(redactor, version)
    )
    logs = Logs(out, format_, redactor, metrics=metrics)
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        if isinstance(handler, Logs):
            handler.close()
    root.addHandler(logs)
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(
            logging.INFO if level <= logging.DEBUG else logging.WARNING
        )
    AUDIT.setLevel(logging.INFO)
    logging.captureWarnings(True)
    atexit.register(logs.close)
    return logs
