"""Messages that are sent in several parts, such as a chat message longer than its channel allows.

All parts are one delivery: one row in the ledger, one claim at a time, one end. A delivered part
that others follow does not end it; it is scheduled again, due at once, with the remaining parts in
its blob. So the ledger says after each part what is left, in the write that concludes the part:

* No part is lost. The first part's write is what frees the record's offset; before it, Kafka
  brings the record again, after it, the schedule brings the rest, on whichever replica.
* A part comes twice only where any message may: its provider may have accepted it, and the
  process died before the write (or the answer was lost). The parts before it are not sent again.
* Parts come in order, since one is not taken up before the one before it was accepted.
* Lanes, gates and rates see a part as what it is, a message of its own to that chat.

A delivery for each part, chained by waiting rows, would do the same with as many rows, and would
need an answer to what a fallback, a replay or a count of deliveries means for a third of a message.
"""

from __future__ import annotations

from router.delivery.job import Job
from router.messages import ChatMessage, Reason
from router.planning import Arrived, Scheduled, Settlement


def after_part(job: Job, settlement: Settlement, now: float) -> Settlement:
    """What becomes of a delivery after an attempt: once a part has arrived, the next is due."""
    message = job.message
    if not isinstance(settlement, Arrived) or not isinstance(message, ChatMessage):
        return settlement
    following = message.next()
    if following is None:
        return settlement
    job.message = following
    job.attempts = 0
    job.is_repeat = False
    whole = following.part + len(following.rest)
    return Scheduled(now, Reason("next_part", f"part {following.part} of {whole}"))
