"""What HTTP sinks share: failures of the wire, `Retry-After`, and what may be told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.messages import Halt, Outcome, Reason, Rejected, Retry, Scope
from router.sinks._http import answer_text, not_sent, retry_after
from router.transport import HttpResponse
from tests.unit.sinks.builders import NOW, answer


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("connection_refused", Retry(Reason("connection_refused"))),
        ("dns_failed", Retry(Reason("dns_failed"))),
        ("certificate_invalid", Retry(Reason("certificate_invalid"))),
        ("tls_failed", Retry(Reason("tls_failed"))),
        ("pool_timeout", Retry(Reason("pool_timeout"))),
        ("connect_timeout", Retry(Reason("connect_timeout"), 60, Scope.ENDPOINT)),
        ("dns_timeout", Retry(Reason("dns_timeout"), 60, Scope.ENDPOINT)),
        ("address_refused", Halt(Reason("address_refused"))),
        ("invalid_request", Rejected(Reason("invalid_request"))),
    ],
)
def test_what_did_not_leave(code: str, expected: Outcome) -> None:
    assert not_sent(Reason(code)) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("99999999999999999999", 3600),
        ("Fri, 02 Jan 2026 03:05:05 GMT", 60),
        ("Fri, 02 Jan 2026 03:00:00 GMT", 0),
        ("Fri, 02 Jan 2099 03:00:00 GMT", 3600),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        ("tomorrow", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after(answer(503, retry_after=text), NOW) == seconds


@given(st.text(max_size=40))
def test_retry_after_reads_any_text(text: str) -> None:
    seconds = retry_after(answer(503, retry_after=text), NOW)
    assert seconds is None or 0 <= seconds <= 3600


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (answer(422, {"code": "contact_unknown"}), "HTTP 422 contact_unknown"),
        (answer(422, {"error": {"code": "E.BAD"}}), "HTTP 422 E.BAD"),
        (answer(502, b"<html>", content_type="text/html; charset=utf-8"), "HTTP 502 text/html"),
        (answer(500, b"oops"), "HTTP 500"),
        (answer(404, b"no_service"), "HTTP 404 no_service"),
        (answer(404, b"no_service for anna"), "HTTP 404"),
        (answer(404, b"a_" + b"b" * 60), "HTTP 404"),
        (answer(500, b"oops", content_type="x anna@example.com"), "HTTP 500"),
        (answer(400, {"message": "no user anna@example.com"}), "HTTP 400"),
        (answer(400, {"code": "no user Anna"}), "HTTP 400"),
        (answer(400, {"code": "tok_4242424242"}), "HTTP 400"),
        (answer(400, ["a"]), "HTTP 400"),
    ],
)
def test_only_codes_are_told_of_an_answer(response: HttpResponse, text: str) -> None:
    assert answer_text(response) == text
