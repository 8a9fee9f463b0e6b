"""What is written for people and machines to read."""

import io
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from router.config.settings import LogSettings
from router.telemetry import AUDIT, Logs, Metrics, Redactor, log, log_bug, setup_logs
from router.telemetry.log_formats import EcsJson
from router.telemetry.logs import RepeatLimit
from router.values import Secret

LOGGER = logging.getLogger("router.delivery")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_left_as_found() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if isinstance(handler, Logs):
            handler.close()
    root.handlers, root.level = handlers, level
    logging.captureWarnings(False)


def written(logs: Logs, stream: io.StringIO) -> list[dict[str, Any]]:
    logs.flush()
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def json_logs(level: Any = "debug", **options: Any) -> tuple[Logs, io.StringIO]:
    stream = io.StringIO()
    return setup_logs(LogSettings(format="json", level=level), stream, **options), stream


def test_json_lines_have_ecs_names() -> None:
    logs, stream = json_logs(version="1.2.3")
    log(LOGGER, logging.WARNING, "sink.halted", "sink halted", outcome="failure", sink="mail")
    (line,) = written(logs, stream)
    assert line.pop("@timestamp").endswith("Z")
    assert line == {
        "log.level": "warning",
        "message": "sink halted",
        "log.logger": "router.delivery",
        "event.action": "sink.halted",
        "event.outcome": "failure",
        "router.sink": "mail",
        "service.name": "router",
        "service.version": "1.2.3",
        "ecs.version": "8.11",
    }


def test_an_error_shows_its_type_message_and_stack() -> None:
    logs, stream = json_logs()
    try:
        raise ZeroDivisionError("by nought")
    except ZeroDivisionError as error:
        log(LOGGER, logging.ERROR, "bug", "it broke", error=error)
    (line,) = written(logs, stream)
    assert line["error.type"] == "ZeroDivisionError"
    assert line["error.message"] == "by nought"
    assert "test_logs.py" in line["error.stack_trace"]


def test_auto_is_coloured_text_on_a_terminal_and_json_elsewhere() -> None:
    terminal = Terminal()
    setup_logs(LogSettings(), terminal).flush()
    LOGGER.warning("on a terminal")
    logging.getLogger().handlers[0].flush()
    assert "\x1b[33mWARNING" in terminal.getvalue()
    logs, stream = setup_logs(LogSettings(), pipe := io.StringIO()), pipe
    LOGGER.warning("in a pipe")
    assert written(logs, stream)[0]["message"] == "in a pipe"


def test_a_message_can_not_forge_a_second_console_line() -> None:
    stream = io.StringIO()
    logs = setup_logs(LogSettings(format="console"), stream)
    LOGGER.info("real\n12:00:00.000 ERROR forged\x1b[31m")
    logs.flush()
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("spelling", ['pa/ss wörd"1', "pa%2Fss%20w%C3%B6rd%221", 'pa/ss wörd\\"1'])
def test_known_secrets_are_scrubbed_in_every_spelling(spelling: str) -> None:
    logs, stream = json_logs()
    logs.redactor.learn([Secret('pa/ss wörd"1')])
    log(LOGGER, logging.INFO, "x", f"used {spelling} there", note=[{"deep": spelling}])
    try:
        raise ValueError(spelling)
    except ValueError:
        LOGGER.exception("failed")
    lines = written(logs, stream)
    assert lines[0]["message"] == "used *** there"
    assert lines[0]["router.note"] == [{"deep": "***"}]
    assert lines[1]["error.message"] == "***"
    assert spelling not in lines[1]["error.stack_trace"]


def test_personal_data_and_credentials_are_scrubbed_wherever_they_stand() -> None:
    logs, stream = json_logs()
    LOGGER.info("550 no such user anna.k+1@acme.example here")
    LOGGER.info("POST https://api.telegram.org/bot123456:AAE-x_y/sendMessage")
    LOGGER.info("header Authorization: Bearer eyJhbGciOi.x.y")
    LOGGER.info("via http://user:pass@proxy:3128")
    log(LOGGER, logging.INFO, "x", "fields", email="a@b.example", token="t", recipient="u-17")
    text = "".join(str(line) for line in written(logs, stream))
    for private in ("anna", "AAE", "eyJ", "user:pass", "a@b", "u-17"):
        assert private not in text


def test_equal_warnings_are_written_once_and_then_with_their_count() -> None:
    metrics = Metrics()
    logs, stream = json_logs(metrics=metrics)
    for _ in range(5):
        log(LOGGER, logging.WARNING, "sink.retry", "sink answers 503", sink="mail")
    log(LOGGER, logging.WARNING, "sink.retry", "sink answers 503", sink="chat")
    logs.close()
    lines = [orjson.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["router.sink"], line.get("router.repeated")) for line in lines] == [
        ("mail", None),
        ("chat", None),
        ("mail", 4),
    ]
    assert "router_log_repeated_total 4.0" in metrics.render().decode()


def record(message: str, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("router", level, __file__, 1, message, None, None)


def test_after_the_window_a_repeated_warning_passes_again_with_the_count() -> None:
    limit = RepeatLimit(window_s=10)
    assert limit.lets(record("a"), now=0)
    assert not limit.lets(record("a"), now=9.9)
    again = record("a")
    assert limit.lets(again, now=10)
    assert again.__dict__["router"] == {"repeated": 1}


def test_info_lines_are_never_left_out() -> None:
    limit = RepeatLimit()
    assert all(limit.lets(record("a", logging.INFO), now=0) for _ in range(3))


def test_a_flood_of_different_warnings_does_not_grow_memory() -> None:
    limit = RepeatLimit(capacity=10)
    assert all(limit.lets(record(str(n)), now=0) for n in range(1000))
    repeated = [n for n in range(1000) if not limit.lets(record(str(n)), now=1)]
    assert repeated == list(range(10))


class Stuck(io.StringIO):
    """A reader that takes nothing until it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def write(self, text: str) -> int:
        self.go.wait(10)
        return super().write(text)


def test_a_stuck_reader_costs_lines_and_never_blocks_the_caller() -> None:
    stream, metrics = Stuck(), Metrics()
    redactor = Redactor()
    logs = Logs(stream, EcsJson(redactor), redactor, metrics=metrics, room=5)
    for number in range(20):
        logs.handle(record(f"line {number}", logging.INFO))
    assert logs.dropped >= 14
    stream.go.set()
    logs.close()
    assert stream.getvalue().count('"message":"line ') == 20 - logs.dropped


def test_everything_logged_before_close_is_written() -> None:
    logs, stream = json_logs()
    for number in range(500):
        LOGGER.info("line %s", number)
    logs.close()
    assert stream.getvalue().count("\n") == 500


@pytest.mark.parametrize("library", ["aiokafka.producer", "aiohttp.client", "mail.log"])
def test_libraries_never_show_their_debug_lines_which_hold_payloads(library: str) -> None:
    logs, stream = json_logs("debug")
    logging.getLogger(library).debug("Sending (value=b'...')")
    LOGGER.debug("of our own")
    assert [line["message"] for line in written(logs, stream)] == ["of our own"]


def test_a_flush_after_close_does_not_wait() -> None:
    # logging.shutdown flushes handlers that are closed already
    logs, _ = json_logs()
    logs.close()
    began = time.monotonic()
    logs.flush()
    assert time.monotonic() - began < 1


def test_audit_lines_are_written_whatever_the_level() -> None:
    logs, stream = json_logs(level="error")
    LOGGER.info("not this")
    log(AUDIT, logging.INFO, "config.reload", "reload asked for")
    assert [line["message"] for line in written(logs, stream)] == ["reload asked for"]


def test_lines_are_counted_by_level() -> None:
    metrics = Metrics()
    logs, _ = json_logs(metrics=metrics)
    LOGGER.info("one")
    LOGGER.error("two")
    logs.flush()
    assert 'router_log_records_total{level="error"} 1.0' in metrics.render().decode()


def test_a_bug_is_told_without_what_it_was_about() -> None:
    logs, stream = json_logs()
    people = {"name": "Anna".upper()}
    try:
        people[people["name"]]
    except KeyError as error:
        log_bug(LOGGER, "a sink has a bug", error)
    (line,) = written(logs, stream)
    assert (line["error.type"], line["error.message"]) == ("KeyError", "")
    assert "test_a_bug_is_told" in line["error.stack_trace"]
    assert "ANNA" not in stream.getvalue()
