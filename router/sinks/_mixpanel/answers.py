"""What Mixpanel's answers mean, for every record of a call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from router.messages import (
    Delivered,
    Halt,
    InDoubt,
    Outcome,
    Reason,
    Rejected,
    Retry,
    Scope,
)
from router.sinks._http import answer_text, json_body, retry_after
from router.sinks._mixpanel.records import Call, Item, Kind
from router.transport import HttpResponse

_LIMITED_S = 2.0
_LIMITED_MOST_S = 60.0
_FIELD = re.compile(r"[A-Za-z_$][\w$.]{0,60}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Refused:
    """A call was refused as a whole, and nothing says which of its records is to blame."""

    reason: Reason


def import_answer(
    items: Sequence[Item], response: HttpResponse, now: float
) -> Sequence[Outcome] | Refused:
    """What the answer to ``/import?strict=1`` means. ``now`` is seconds since the epoch."""
    if response.status not in (200, 400):
        return _refusal(items, response, now)
    match json_body(response):
        case {"failed_records": [*failed]} if failed:
            return _partly(items, response, failed)
        case dict() if response.status == 200:
            return [Delivered(entry.insert_id) for entry in items]
        case _ if response.status == 200:
            # What was imported already is recognised when it comes again.
            return [Retry(Reason("answer_unreadable", answer_text(response)))] * len(items)
        case _:
            return Refused(Reason("bad_request", answer_text(response)))


def engage_answer(call: Call, response: HttpResponse, now: float) -> Sequence[Outcome] | Refused:
    """What the answer to ``/engage?verbose=1`` means: it is 200 for invalid updates too."""
    count = len(call.items)
    if response.status != 200:
        return _refusal(call.items, response, now)
    match json_body(response):
        case 1 | {"status": 1}:
            return [Delivered()] * count
        case 0 | {"status": 0}:
            return Refused(Reason("update_invalid", "Mixpanel refused the profile update"))
        case _:
            reason = Reason("answer_unreadable", answer_text(response))
            is_addition = call.kind is Kind.ADDITIONS
            return [InDoubt(reason) if is_addition else Retry(reason)] * count


def _partly(
    items: Sequence[Item], response: HttpResponse, failed: Sequence[Any]
) -> Sequence[Outcome] | Refused:
    """Everything but the listed records was stored."""
    outcomes: list[Outcome] = [Delivered(entry.insert_id) for entry in items]
    places = {entry.insert_id: at for at, entry in enumerate(items)}
    for record in failed:
        at = _place(record, items, places)
        if at is None:
            return Refused(Reason("bad_request", answer_text(response)))
        field = str(record.get("field", ""))
        outcomes[at] = Rejected(Reason("record_invalid", field if _FIELD.fullmatch(field) else ""))
    return outcomes


def _place(record: Any, items: Sequence[Item], places: dict[str, int]) -> int | None:
    """Which item a failed record is: by its index, unless its id says another."""
    match record:
        case {"insert_id": str(given)} if given in places:
            return places[given]
        case {"index": int(index)} if 0 <= index < len(items) and not isinstance(index, bool):
            return index
        case _:
            return None


def _refusal(
    items: Sequence[Item], response: HttpResponse, now: float
) -> Sequence[Outcome] | Refused:
    text = answer_text(response)
    outcome: Outcome
    match response.status:
        case 401 | 403:
            outcome = Halt(Reason("credentials_refused", text))
        case 404 | 405 | 415:
            outcome = Halt(Reason("method_unknown", f"{text}; base_url may be wrong"))
        case 413:
            return Refused(Reason("too_large", text))
        case 429:
            asked = retry_after(response, now)
            return [_limited(text, entry.attempt, asked) for entry in items]
        case status if status >= 500 or status in (408, 425):
            outcome = Retry(Reason("provider_error", text), retry_after(response, now))
        case status if 300 <= status < 400:
            outcome = Halt(Reason("redirected", "base_url answers with a redirect"))
        case _:
            return Refused(Reason("refused", text))
    return [outcome] * len(items)


def _limited(text: str, attempt: int, asked: float | None) -> Retry:
    """Mixpanel names no time; it advises to double the wait from two seconds to a minute."""
    doubled = min(_LIMITED_MOST_S, _LIMITED_S * 2.0 ** min(attempt - 1, 16))
    after = doubled if asked is None else asked
    return Retry(Reason("rate_limited", text), after, Scope.SINK)
