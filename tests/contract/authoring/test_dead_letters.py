"""Dead letters listed, shown and replayed: from a file, and through a broker."""

from __future__ import annotations

import time
from pathlib import Path
from textwrap import dedent

import anyio
import anyio.to_thread
import orjson
import pytest

from router.clock import SystemClock
from router.delivery.input_rows import INPUTS
from router.delivery.job import unpack_record
from router.events import (
    Cut,
    DeadLetter,
    Record,
    dead_letter_to_kafka,
    dead_letter_to_line,
    unwrap_replay,
    wrap_replay,
)
from router.kafka.connection import KafkaConnection
from router.kafka.peek import opened_topic
from router.kafka.producer import producer
from router.ledger import KINDS, Row
from router.messages import Reason
from tests.brokers import Broker
from tests.contract.authoring.cli import Ran, run

KEY = bytes(range(16))
EVENT = b'{"id": "i", "type": "paid", "total": 5}'


def letter(
    offset: int = 0,
    *,
    at: float = 1_700_000_000.0,
    route: str | None = "paid",
    step: str | None = "mail",
    reason: str = "render_failed",
    cut: Cut | None = None,
    headers: tuple[tuple[str, bytes], ...] = (),
    hop: int = 0,
) -> DeadLetter:
    record = Record("orders", 0, offset, 1_699_999_999.0, b"k", EVENT, headers)
    return DeadLetter(
        record=record,
        reason=Reason(reason, "because"),
        stage="send" if step else "recipients",
        route=route,
        step=step,
        sink=step and "mail",
        delivery_key=KEY if step else None,
        attempts=1,
        identity="i",
        at=at,
        cut=cut,
        hop=hop,
    )


SQLITE = "{type: sqlite, path: ledger.db}"


def project(
    folder: Path, source: str, dead_letters: str = "", ledger: str = "{type: memory}"
) -> Path:
    text = f"""\
    include: [routes.yaml]
    sources:
      main: {source}
    ledger: {ledger}
    sinks:
      mail: {{type: console, channel: email}}
    {dead_letters}
    """
    (folder / "router.yaml").write_text(dedent(text))
    (folder / "routes.yaml").write_text(
        dedent("""\
        routes:
          paid-now:
            was: paid
            match: {type: paid}
            recipient: {id: data.id}
            template: note
            deliver: [mail]
        """)
    )
    note = folder.parent / "templates" / "note"
    note.mkdir(parents=True, exist_ok=True)
    (note / "template.yaml").write_text("locales: {required: [en], default: en}\n")
    (note / "email.txt").write_text("---\nsubject: Hello\n---\nHello\n")
    return folder / "router.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "config"
    made.mkdir()
    return made


def in_file(folder: Path, *letters: DeadLetter, ledger: str = "{type: memory}") -> Path:
    config = project(folder, "{type: stdin}", "dead_letters: {file: dead.jsonl}", ledger)
    lines = b"".join(dead_letter_to_line(one) + b"\n" for one in letters)
    (folder / "dead.jsonl").write_bytes(lines)
    return config


def test_a_file_of_dead_letters_is_listed_by_filter(folder: Path) -> None:
    config = in_file(folder, letter(0), letter(1, route="other"), letter(2, reason="refused"))
    ran = run("dead-letters", "list", "-c", config, "--route", "paid", "--output", "json")
    assert [one["id"] for one in ran.json["dead_letters"]] == ["1", "3"]
    ran = run("dead-letters", "list", "-c", config, "--reason", "refused")
    assert "2 dead letters" not in ran.out
    assert ran.out.startswith("3  2023-11-14T22:13:20.000Z  refused  paid/mail → mail")


def test_only_the_newest_are_listed(folder: Path) -> None:
    config = in_file(folder, *(letter(number) for number in range(5)))
    ran = run("dead-letters", "list", "-c", config, "--limit", "2")
    assert [line.split()[0] for line in ran.out.splitlines()[:2]] == ["4", "5"]
    assert "5 dead letters" in ran.out
    assert "3 older ones left out" in ran.out


def test_age_is_a_filter(folder: Path) -> None:
    config = in_file(folder, letter(0, at=1.0), letter(1, at=4e9))
    ran = run("dead-letters", "list", "-c", config, "--since", "2h", "--output", "json")
    assert [one["id"] for one in ran.json["dead_letters"]] == ["2"]
    assert run("dead-letters", "list", "-c", config, "--since", "yesterday").code == 2
    ran = run("dead-letters", "list", "-c", config, "--until", "2h", "--output", "json")
    assert [one["id"] for one in ran.json["dead_letters"]] == ["1"]
    between = ("--since", "2026-01-01T00:00:00Z", "--until", "2096-10-02T00:00:00Z")
    ran = run("dead-letters", "list", "-c", config, *between, "--output", "json")
    assert ran.json["total"] == 0


def test_no_file_is_no_dead_letter(folder: Path) -> None:
    config = project(folder, "{type: stdin}", "dead_letters: {file: dead.jsonl}")
    ran = run("dead-letters", "list", "-c", config)
    assert (ran.code, ran.out.startswith("0 dead letters in ")) == (0, True)


def test_one_is_shown_with_its_original(folder: Path) -> None:
    config = in_file(folder, letter(7))
    ran = run("dead-letters", "show", "1", "-c", config, "--output", "json")
    assert ran.json["original"]["value"] == orjson.loads(EVENT)
    assert ran.json["original"]["offset"] == 7
    assert ran.json["delivery_key"] == KEY.hex()
    assert "render_failed: because" in run("dead-letters", "show", "1", "-c", config).out
    assert run("dead-letters", "show", "9", "-c", config).code == 1
    assert run("dead-letters", "show", "x/0", "-c", config).code == 2


def test_without_kafka_a_replay_goes_into_the_ledger_once(folder: Path) -> None:
    config = in_file(folder, letter(), letter(1, route="gone"), ledger=SQLITE)
    tried = run("dead-letters", "replay", "-c", config, "--all", "--dry-run")
    assert "1 dead letter would go to the ledger" in tried.out
    assert not (folder / "ledger.db").exists()
    ran = run("dead-letters", "replay", "-c", config, "--all", "--output", "json")
    assert ran.json["replayed"] == ["1"]
    assert ran.json["skipped"] == [{"id": "2", "why": 'there is no route "gone" any more'}]
    again = run("dead-letters", "replay", "-c", config, "--route", "paid", "--output", "json")
    assert again.json["replayed"] == []
    assert "it was replayed before" in again.json["skipped"][0]["why"]


def test_without_kafka_what_was_replayed_eight_times_is_left(folder: Path) -> None:
    config = in_file(folder, letter(hop=7), letter(1, hop=8), ledger=SQLITE)
    ran = run("dead-letters", "replay", "-c", config, "--all", "--output", "json")
    assert ran.json["replayed"] == ["1"]
    why = "it has been replayed 8 times: it goes in circles"
    assert ran.json["skipped"] == [{"id": "2", "why": why}]


async def rows_in(path: Path) -> list[Row]:
    kind = KINDS.load("sqlite")
    opened = kind.open(kind.config(type="sqlite", path=str(path)), owner="x", clock=SystemClock())
    async with opened as ledger:
        return list(await ledger.due({INPUTS: 100}, 1.0))


def test_what_goes_into_the_ledger_is_due_at_its_rate_and_names_its_delivery(folder: Path) -> None:
    config = in_file(folder, *(letter(number) for number in range(3)), ledger=SQLITE)
    ran = run("dead-letters", "replay", "-c", config, "--all", "--rate", "1/m")
    assert "3 dead letters replayed through the ledger" in ran.out
    [row] = anyio.run(rows_in, folder / "ledger.db")
    assert row.blob is not None
    head, record = unpack_record(row.blob)
    assert (head["route"], head["ids"], head["source"]) == ("paid-now", ["i"], "main")
    assert head["replay"] == [["paid-now"], KEY.hex(), 1]
    assert record.offset == 0


def test_a_ledger_that_a_daemon_has_or_that_is_in_memory_takes_no_replay(folder: Path) -> None:
    config = in_file(folder, letter())
    ran = run("dead-letters", "replay", "-c", config, "--all")
    assert (ran.code, "in the daemon's memory" in ran.err) == (3, True), ran
    config = in_file(folder, letter(), ledger=SQLITE)

    async def with_a_daemon() -> Ran:
        kind = KINDS.load("sqlite")
        settings = kind.config(type="sqlite", path=str(folder / "ledger.db"))
        async with kind.open(settings, owner="daemon", clock=SystemClock()):
            replay = ("dead-letters", "replay", "-c", config, "--all")
            return await anyio.to_thread.run_sync(lambda: run(*replay))

    ran = anyio.run(with_a_daemon)
    assert (ran.code, "while the daemon is stopped" in ran.err) == (3, True), ran


def test_a_replay_of_everything_has_to_be_asked_for(folder: Path) -> None:
    ran = run("dead-letters", "replay", "-c", in_file(folder, letter()))
    assert ran.code == 2
    assert "--all" in ran.err


# Through a broker ------------------------------------------------------------------------------


async def run_aside(*args: str | Path) -> Ran:
    return await anyio.to_thread.run_sync(lambda: run(*args))


async def on_topic(broker: Broker, folder: Path, *letters: DeadLetter) -> tuple[Path, str, str]:
    """The project, its dead-letter topic with these letters, and its replay topic."""
    dead, replay = f"dead-{folder.parent.name}", f"replay-{folder.parent.name}"
    source = f"{{type: kafka, bootstrap: '{broker.bootstrap}', topics: [orders], group: g}}"
    section = f"dead_letters: {{topic: {dead}, replay_topic: {replay}}}"
    config = project(folder, source, section)
    async with producer(KafkaConnection(bootstrap=(broker.bootstrap,))) as opened:
        await opened.publish(dead, [dead_letter_to_kafka(one) for one in letters])
    return config, dead, replay


async def replays(broker: Broker, topic: str) -> list[Record]:
    async with opened_topic(KafkaConnection(bootstrap=(broker.bootstrap,)), topic) as opened:
        return [record async for record in opened.stored()]


@pytest.mark.anyio
@pytest.mark.kafka
async def test_letters_of_a_topic_are_listed_and_shown(broker: Broker, folder: Path) -> None:
    config, dead, _ = await on_topic(broker, folder, letter(1), letter(2, route="other"))
    ran = await run_aside("dead-letters", "list", "-c", config, "--route", "paid", "-o", "json")
    assert [one["id"] for one in ran.json["dead_letters"]] == [f"{dead}/0/0"]
    ran = await run_aside("dead-letters", "show", f"{dead}/0/1", "-c", config, "-o", "json")
    assert (ran.json["route"], ran.json["original"]["offset"]) == ("other", 2)
    assert (await run_aside("dead-letters", "show", f"{dead}/0/9", "-c", config)).code == 1


@pytest.mark.anyio
@pytest.mark.kafka
async def test_a_replay_asks_for_the_dead_delivery_under_the_routes_new_name(
    broker: Broker, folder: Path
) -> None:
    config, _, topic = await on_topic(broker, folder, letter(5), letter(6, step=None))
    ran = await run_aside("dead-letters", "replay", "-c", config, "--route", "paid")
    assert (ran.code, ran.out) == (0, f"2 dead letters replayed through {topic}\n")
    found = [unwrap_replay(record) for record in await replays(broker, topic)]
    (first, asked), (second, asked_second) = [one for one in found if isinstance(one, tuple)]
    assert (first.topic, first.offset, asked.hop) == ("orders", 5, 1)
    assert (asked.routes, asked.delivery_key) == (frozenset({"paid-now"}), KEY)
    assert (second.offset, asked_second.routes) == (6, frozenset({"paid-now"}))
    assert asked_second.delivery_key is None


@pytest.mark.anyio
@pytest.mark.kafka
async def test_what_can_not_be_replayed_is_told(broker: Broker, folder: Path) -> None:
    _, _, again = wrap_replay(letter(3).record, [], None, 2)
    letters = (
        letter(1, cut=Cut(10**7, "00")),
        letter(2, route="gone"),
        letter(3, headers=again),
    )
    config, _, topic = await on_topic(broker, folder, *letters)
    ran = await run_aside("dead-letters", "replay", "-c", config, "--all", "-o", "json")
    assert ran.code == 1
    whys = [one["why"] for one in ran.json["skipped"]]
    assert whys == [
        "only the beginning of the original was kept",
        'there is no route "gone" any more',
    ]
    (record,) = await replays(broker, topic)
    unwrapped = unwrap_replay(record)
    assert isinstance(unwrapped, tuple)
    assert unwrapped[1].hop == 3


@pytest.mark.anyio
@pytest.mark.kafka
async def test_a_dry_run_publishes_nothing(broker: Broker, folder: Path) -> None:
    config, _, topic = await on_topic(broker, folder, letter(1))
    ran = await run_aside("dead-letters", "replay", "-c", config, "--all", "--dry-run")
    assert f"1 dead letter would go to {topic}" in ran.out
    assert await replays(broker, topic) == []


@pytest.mark.anyio
@pytest.mark.kafka
async def test_a_replay_keeps_its_rate(broker: Broker, folder: Path) -> None:
    config, _, topic = await on_topic(broker, folder, *(letter(number) for number in range(3)))
    started = time.monotonic()
    ran = await run_aside("dead-letters", "replay", "-c", config, "--all", "--rate", "2/s")
    assert (ran.code, len(await replays(broker, topic))) == (0, 3)
    assert time.monotonic() - started >= 1
    assert (await run_aside("dead-letters", "replay", "-c", config, "--rate", "2/0s")).code == 2
