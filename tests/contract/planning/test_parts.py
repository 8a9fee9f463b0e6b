"""A chat message in several parts: one delivery, whose parts come in order and get lost never."""

from __future__ import annotations

from pathlib import Path
from time import time

import pytest

from router.config import Project
from router.messages import (
    ChatMessage,
    Delivered,
    InDoubt,
    Outcome,
    Parcel,
    Reason,
    Rejected,
    Retry,
)
from router.recipients import Recipient
from tests.contract.planning.builders import People, lines_of, load, record
from tests.contract.planning.running import Crash, Sent, ledger_file, memory_ledger, run

pytestmark = pytest.mark.anyio

THREE = ["The first part is this.", "The second one.", "The third one is."]
PEOPLE = People({"u1": Recipient("u1", telegram="42", email="u1@acme.example")})
EVENT = record("payment.failed", {"user_id": "u1"}, at=time())


def project(root: Path, *, in_doubt: str = "resend") -> Project:
    return load(
        root,
        """\
        bot: {type: console, channel: chat, retry: {first: 1ms, cap: 1ms}}
        mail: {type: console, channel: email}
        """,
        f"""\
        failed:
          match: {{type: payment.failed}}
          recipient: {{id: data.user_id}}
          template: failed
          deliver:
            - {{sink: bot, in_doubt: {in_doubt}}}
            - {{sink: mail, fallback_for: bot}}
        """,
        {
            "templates/failed/template.yaml": (
                "description: F\nchannels: {chat: {max_length: 32, overflow: split}}\n"
            ),
            "templates/failed/chat.html": " ".join(THREE),
            "templates/failed/email.txt": "---\nsubject: F\n---\nall\n",
        },
    )


def texts(sent: Sent) -> list[str]:
    return [p.message.html for p in sent.to("bot") if isinstance(p.message, ChatMessage)]


async def test_parts_are_sent_in_order_under_keys_of_their_own(tmp_path: Path) -> None:
    sent = Sent()
    async with memory_ledger() as ledger:
        ran = await run(project(tmp_path), [EVENT], sent, PEOPLE, ledger)

    assert texts(sent) == THREE
    assert len({parcel.key for parcel in sent.to("bot")}) == 3
    assert {str(row.state) for row in ran.rows} == {"delivered", "suppressed"}
    balance = ran.metrics.balance()
    assert balance.delivered == 1


async def test_a_part_that_is_refused_for_now_is_tried_again_alone(tmp_path: Path) -> None:
    answers: list[Outcome] = [Delivered(), Retry(Reason("busy")), Delivered(), Delivered()]
    sent = Sent(lambda sink, parcel: answers.pop(0))
    async with memory_ledger() as ledger:
        await run(project(tmp_path), [EVENT], sent, PEOPLE, ledger)

    assert texts(sent) == [THREE[0], THREE[1], THREE[1], THREE[2]]
    assert sent.to("bot")[1].key == sent.to("bot")[2].key
    assert [parcel.attempt for parcel in sent.to("bot")] == [1, 1, 2, 1]


async def test_a_refused_part_ends_the_delivery_and_starts_its_fallback(tmp_path: Path) -> None:
    def answer(sink: str, parcel: Parcel) -> Outcome:
        refused = sink == "bot" and "second" in str(parcel.message)[:60]
        return Rejected(Reason("refused")) if refused else Delivered()

    sent = Sent(answer)
    async with memory_ledger() as ledger:
        ran = await run(project(tmp_path), [EVENT], sent, PEOPLE, ledger)

    assert texts(sent) == THREE[:2]
    assert len(sent.to("mail")) == 1
    assert [letter.step for letter in ran.letters.letters] == ["bot"]


@pytest.mark.parametrize("broken", [0, 1, 2])
async def test_after_a_crash_only_the_part_under_way_may_come_twice(
    tmp_path: Path, broken: int
) -> None:
    def crash(sink: str, parcel: Parcel) -> Outcome:
        if len(sent.parcels) == broken + 1:
            raise Crash
        return Delivered()

    loaded = project(tmp_path)
    sent = Sent(crash)
    with pytest.raises(BaseExceptionGroup):
        async with ledger_file(tmp_path / "ledger.db", "first") as ledger:
            await run(loaded, [EVENT], sent, PEOPLE, ledger, until=lambda: False)
    assert texts(sent) == THREE[: broken + 1]

    # Kafka brings the record again where its offset was not settled: before the first part was.
    again = [EVENT] if broken == 0 else []
    expected = [*THREE[: broken + 1], *THREE[broken:]]
    sent.answer = lambda sink, parcel: Delivered()
    async with ledger_file(tmp_path / "ledger.db", "second") as ledger:
        ran = await run(
            loaded, again, sent, PEOPLE, ledger, until=lambda: len(texts(sent)) >= len(expected)
        )

    assert texts(sent) == expected
    assert {str(row.state) for row in ran.rows} == {"delivered", "suppressed"}


async def test_at_most_once_holds_for_each_part(tmp_path: Path) -> None:
    answers: list[Outcome] = [Delivered(), InDoubt(Reason("lost"))]
    sent = Sent(lambda sink, parcel: answers.pop(0))
    async with memory_ledger() as ledger:
        ran = await run(project(tmp_path, in_doubt="dead_letter"), [EVENT], sent, PEOPLE, ledger)

    assert texts(sent) == THREE[:2]
    assert [letter.reason.code for letter in ran.letters.letters] == ["in_doubt"]


def test_all_parts_are_one_line_of_a_rehearsal(tmp_path: Path) -> None:
    chat, _ = lines_of(project(tmp_path), EVENT, PEOPLE.people)
    assert isinstance(chat.message, ChatMessage)
    assert [part.html for part in (chat.message, *chat.message.rest)] == THREE
