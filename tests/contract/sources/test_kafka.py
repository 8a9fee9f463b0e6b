"""The Kafka source against brokers: start, commit, hand-over, faults."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.structs import TopicPartition as TheirPlace

from router.events import Record, TopicPartition
from router.kafka import KafkaConnection
from router.kafka.admin import Committed, admin
from router.kafka.start import Note
from router.ledger import ProgressKey
from router.problems import ConfigError
from router.sandbox.broker import embedded_broker
from router.sandbox.process import free_port
from router.sources import CommitFailed
from tests.brokers import Broker, SecureListener, create_topic
from tests.contract.sources.builders import (
    Hearing,
    a_ledger,
    a_source,
    keep_reading,
    read_some,
    read_until,
    send,
    until,
)

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]

Unique = Callable[[str], str]


async def committed(broker: Broker, group: str, place: TopicPartition) -> Committed | None:
    async with admin(KafkaConnection(bootstrap=(broker.bootstrap,))) as opened:
        return (await opened.committed(group, [place])).get(place)


def needs(broker: Broker, *kinds: str) -> None:
    if broker.kind not in kinds:
        pytest.skip(f"{broker.kind} can't do this")


async def test_records_come_as_they_were_sent(broker: Broker, unique: Unique):
    topic, group = unique("t"), unique("g")
    await create_topic(broker, topic)
    second = int(time.time())
    headers = [("a", b"1"), ("b", b""), ("a", b"2")]
    await send(
        broker, topic, b"v", None, key=b"k", headers=headers, timestamp_ms=second * 1000 + 500
    )
    async with a_source(broker.bootstrap, topic, group) as source:
        records = await read_some(source, 2)
    assert records == [
        Record(topic, 0, 0, second + 0.5, b"k", b"v", tuple(headers)),
        Record(topic, 0, 1, second + 0.5, b"k", None, tuple(headers)),
    ]


async def test_a_new_group_starts_now_and_keeps_that_place(broker: Broker, unique: Unique):
    topic, group = unique("t"), unique("g")
    await create_topic(broker, topic)
    await send(broker, topic, b"old")
    hearing, ledger = Hearing(), a_ledger("ledger-1")
    place = TopicPartition(topic, 0)
    async with a_source(
        broker.bootstrap, topic, group, hearing=hearing, ledger=ledger, start="now"
    ) as source:
        await read_until(source, lambda: bool(hearing.owned))
        assert source.position(place) == 1
        assert source.is_joined
    await send(broker, topic, b"sent while it was down")
    kept = await committed(broker, group, place)
    assert kept is not None
    assert kept.offset == 1
    if broker.kind != "tansu":
        assert Note.parse(kept.metadata) == Note("ledger-1", 1)
    async with a_source(broker.bootstrap, topic, group, ledger=ledger, start="now") as source:
        assert [r.value for r in await read_some(source, 1)] == [b"sent while it was down"]


async def test_a_start_time_is_looked_up(broker: Broker, unique: Unique):
    needs(broker, "noida", "apache")
    topic = unique("t")
    await create_topic(broker, topic)
    first = int(time.time()) - 60
    for second in range(3):
        await send(broker, topic, b"%d" % second, timestamp_ms=(first + second) * 1000)
    start = datetime.fromtimestamp(first + 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    async with a_source(broker.bootstrap, topic, unique("g"), start=start) as source:
        assert [r.value for r in await read_some(source, 2)] == [b"1", b"2"]
    async with a_source(
        broker.bootstrap, topic, unique("h"), start="2999-01-01T00:00:00Z"
    ) as source:
        await read_until(source, lambda: source.position(TopicPartition(topic, 0)) == 3)


async def test_reading_resumes_at_the_committed_offset(broker: Broker, unique: Unique):
    topic, group = unique("t"), unique("g")
    await create_topic(broker, topic)
    await send(broker, topic, b"0", b"1", b"2")
    async with a_source(broker.bootstrap, topic, group) as source:
        await read_some(source, 3)
        assert source.position(TopicPartition(topic, 0)) == 3
        await source.commit({TopicPartition(topic, 0): 2})
    async with a_source(broker.bootstrap, topic, group) as source:
        assert [r.value for r in await read_some(source, 1)] == [b"2"]


async def test_a_batch_is_limited(broker: Broker, unique: Unique):
    topic = unique("t")
    await create_topic(broker, topic)
    await send(broker, topic, *[b"%d" % i for i in range(7)])
    async with a_source(broker.bootstrap, topic, unique("g")) as source:
        records: list[Record] = []
        with anyio.fail_after(20):
            while len(records) < 7:
                batch = await source.read(3, 0.2)
                assert len(batch) <= 3
                records += batch
    assert [r.offset for r in records] == list(range(7))


async def test_partitions_are_handed_over_after_a_last_commit(
    evicting_broker: Broker, unique: Unique
):
    """On noida a generation ends before its members have handed over: no commit is taken then."""
    broker, topic, group = evicting_broker, unique("t"), unique("g")
    await create_topic(broker, topic, 2)
    places = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    for partition in range(2):
        await send(broker, topic, b"0", b"1", partition=partition)
    first, second = Hearing(), Hearing()
    async with a_source(broker.bootstrap, topic, group, hearing=first) as one:

        async def commit_all(going: Sequence[TopicPartition]) -> None:
            await one.commit(dict.fromkeys(going, 1))

        first.on_revoke = commit_all
        await read_some(one, 4)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_reading, one, [])
            async with a_source(broker.bootstrap, topic, group, hearing=second) as two:
                records = await read_until(two, lambda: len(first.owned) == len(second.owned) == 1)
                records += await read_some(two, 1 - len(records))
                [gone] = second.owned
                with pytest.raises(CommitFailed, match="not ours"):
                    await one.commit({gone: 2})
            await until(lambda: len(first.owned) == 2)
            tasks.cancel_scope.cancel()
    assert first.heard[:3] == [
        ("assigned", tuple(places)),
        ("revoked", tuple(places)),
        ("assigned", tuple(sorted(set(places) - {gone}))),
    ]
    assert [(record.place, record.offset) for record in records] == [(gone, 1)]
    assert (one.counts["callback_failed"], one.counts["commit_failed"]) == (0, 1)


async def test_a_member_without_partitions_has_joined(broker: Broker, unique: Unique):
    topic, group = unique("t"), unique("g")
    await create_topic(broker, topic)
    async with a_source(broker.bootstrap, topic, group) as one:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_reading, one, [])
            async with a_source(broker.bootstrap, topic, group) as two:
                await read_until(two, lambda: one.is_joined and two.is_joined)
            tasks.cancel_scope.cancel()


async def test_a_listener_that_fails_is_counted_and_stops_nothing(broker: Broker, unique: Unique):
    topic, group = unique("t"), unique("g")
    await create_topic(broker, topic, 2)
    first, second = Hearing(), Hearing()

    async def fail(going: Sequence[TopicPartition]) -> None:
        raise RuntimeError("drain went wrong")

    first.on_revoke = fail
    async with a_source(broker.bootstrap, topic, group, hearing=first) as one:
        await read_until(one, lambda: len(first.owned) == 2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_reading, one, [])
            async with a_source(broker.bootstrap, topic, group, hearing=second) as two:
                await read_until(two, lambda: bool(second.owned))
            tasks.cancel_scope.cancel()
    assert one.counts["callback_failed"] >= 1


async def test_a_paused_partition_gives_nothing_and_loses_nothing(broker: Broker, unique: Unique):
    topic = unique("t")
    await create_topic(broker, topic)
    place, hearing = TopicPartition(topic, 0), Hearing()
    async with a_source(broker.bootstrap, topic, unique("g"), hearing=hearing) as source:
        await read_until(source, lambda: place in hearing.owned)
        source.pause([place])
        await send(broker, topic, b"0", b"1")
        assert await source.read(10, 1.0) == []
        source.resume([place])
        assert [r.offset for r in await read_some(source, 2)] == [0, 1]


async def test_read_comes_back_in_time_while_nothing_comes(broker: Broker, unique: Unique):
    topic, hearing = unique("t"), Hearing()
    await create_topic(broker, topic)
    async with a_source(broker.bootstrap, topic, unique("g"), hearing=hearing) as source:
        await read_until(source, lambda: bool(hearing.owned))
        with anyio.fail_after(1):
            assert await source.read(10, 0.3) == []


# The ledger ----------------------------------------------------------------------------------


async def test_offsets_of_another_ledger_are_refused(broker: Broker, unique: Unique):
    needs(broker, "noida", "apache")
    topic, group = unique("t"), unique("g")
    await create_topic(broker, topic)
    await send(broker, topic, b"0")
    async with a_source(broker.bootstrap, topic, group, ledger=a_ledger("one")) as source:
        await read_some(source, 1)
    hearing = Hearing()
    async with a_source(
        broker.bootstrap, topic, group, hearing=hearing, ledger=a_ledger("two")
    ) as source:
        with pytest.raises(ConfigError, match="--accept-new-ledger") as raised:
            await read_some(source, 1)
        assert not source.is_joined
    assert raised.value.problems[0].code == "E308"
    assert hearing.heard == []
    async with a_source(
        broker.bootstrap, topic, group, ledger=a_ledger("two"), accept_new_ledger=True
    ) as source:
        await read_some(source, 1)
    async with a_source(broker.bootstrap, topic, group, ledger=a_ledger("two")) as source:
        await read_some(source, 1)


async def test_a_memory_ledger_neither_writes_nor_checks_a_uuid(broker: Broker, unique: Unique):
    topic, group = unique("t"), unique("g")
    await create_topic(broker, topic)
    await send(broker, topic, b"0")
    for ledger in (a_ledger("one"), a_ledger()):
        async with a_source(broker.bootstrap, topic, group, ledger=ledger) as source:
            await read_some(source, 1)
    kept = await committed(broker, group, TopicPartition(topic, 0))
    assert kept is not None
    assert Note.parse(kept.metadata).ledger is None


async def test_expired_offsets_resume_by_the_ledger(broker: Broker, unique: Unique):
    topic, group, ledger = unique("t"), unique("g"), a_ledger()
    await create_topic(broker, topic)
    await send(broker, topic, b"0", b"1", b"2")
    await ledger.put_progress({ProgressKey(group, topic, 0): 2})
    async with a_source(broker.bootstrap, topic, group, ledger=ledger) as source:
        assert [r.value for r in await read_some(source, 1)] == [b"2"]
    assert source.counts["offsets_gone"] == 1


async def test_a_group_turned_back_is_read_again_with_an_alert(broker: Broker, unique: Unique):
    topic, group, ledger = unique("t"), unique("g"), a_ledger()
    await create_topic(broker, topic)
    await send(broker, topic, b"0", b"1", b"2")
    async with a_source(broker.bootstrap, topic, group) as source:
        await read_some(source, 3)
        await source.commit({TopicPartition(topic, 0): 1})
    await ledger.put_progress({ProgressKey(group, topic, 0): 3})
    async with a_source(broker.bootstrap, topic, group, ledger=ledger) as source:
        assert [r.value for r in await read_some(source, 2)] == [b"1", b"2"]
    assert source.counts["rewind"] == 1


# Topics that change --------------------------------------------------------------------------


async def test_a_partition_added_later_is_read_from_its_beginning(broker: Broker, unique: Unique):
    needs(broker, "noida", "apache")
    topic, group, hearing = unique("t"), unique("g"), Hearing()
    await create_topic(broker, topic)
    async with a_source(broker.bootstrap, topic, group, start="now") as source:
        await read_until(source, lambda: source.position(TopicPartition(topic, 0)) == 0)
    client = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await client.start()
    await client.create_partitions({topic: NewPartitions(total_count=2)})
    await client.close()
    await send(broker, topic, b"in the new one", partition=1)
    async with a_source(broker.bootstrap, topic, group, hearing=hearing, start="now") as source:
        assert [r.value for r in await read_some(source, 1)] == [b"in the new one"]
    assert source.counts["new_partition"] == 1


async def test_growth_is_noticed_while_running(broker: Broker, unique: Unique):
    needs(broker, "noida", "apache")
    topic, hearing = unique("t"), Hearing()
    await create_topic(broker, topic)
    async with a_source(
        broker.bootstrap, topic, unique("g"), hearing=hearing, start="now"
    ) as source:
        await read_until(source, lambda: bool(hearing.owned))
        client = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await client.start()
        await client.create_partitions({topic: NewPartitions(total_count=2)})
        await client.close()
        await send(broker, topic, b"in the new one", partition=1)
        assert [r.value for r in await read_some(source, 1)] == [b"in the new one"]


async def test_a_pattern_finds_topics_that_come_later(broker: Broker, unique: Unique):
    first, later, group = unique("t.1"), unique("t.2"), unique("g")
    await create_topic(broker, first)
    await send(broker, first, b"1")
    mark = first.rpartition(".")[2]
    async with a_source(
        broker.bootstrap, first, group, topics=[], pattern=rf"t\.\d\..*{mark}"
    ) as source:
        assert [r.value for r in await read_some(source, 1)] == [b"1"]
        await create_topic(broker, later)
        await send(broker, later, b"2")
        records = await read_until(source, lambda: source.position(TopicPartition(later, 0)) == 1)
        assert [r.value for r in records if r.topic == later] == [b"2"]


async def test_a_topic_that_comes_later_is_read_from_its_first_record(
    broker: Broker, unique: Unique
):
    """Also where topics that are there already are read from now on."""
    first, later, hearing = unique("t.1"), unique("t.2"), Hearing()
    await create_topic(broker, first)
    await send(broker, first, b"old")
    mark = first.rpartition(".")[2]
    async with a_source(
        broker.bootstrap,
        first,
        unique("g"),
        hearing=hearing,
        topics=[],
        pattern=rf"t\.\d\..*{mark}",
        start="now",
    ) as source:
        await read_until(source, lambda: bool(hearing.owned))
        await create_topic(broker, later)
        await send(broker, later, b"1", b"2")
        assert [r.value for r in await read_some(source, 2)] == [b"1", b"2"]


async def test_the_replay_topic_is_read_from_its_beginning(broker: Broker, unique: Unique):
    topic, replay = unique("t"), unique("replay")
    await create_topic(broker, topic)
    await create_topic(broker, replay)
    await send(broker, topic, b"old")
    await send(broker, replay, b"asked for")
    async with a_source(
        broker.bootstrap, topic, unique("g"), start="now", replay_topic=replay
    ) as source:
        assert [r.value for r in await read_some(source, 1)] == [b"asked for"]


async def test_retention_that_overtakes_reading_alerts_and_goes_on(broker: Broker, unique: Unique):
    needs(broker, "noida", "apache")
    topic, hearing = unique("t"), Hearing()
    place = TopicPartition(topic, 0)
    await create_topic(broker, topic)
    await send(broker, topic, *[b"%d" % i for i in range(5)])
    async with a_source(broker.bootstrap, topic, unique("g"), hearing=hearing) as source:
        await read_some(source, 5)
        source.pause([place])
        await send(broker, topic, *[b"%d" % i for i in range(5, 9)])
        client = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await client.start()
        await client.delete_records({TheirPlace(topic, 0): RecordsToDelete(before_offset=7)})
        await client.close()
        source.resume([place])
        assert [r.value for r in await read_some(source, 2)] == [b"7", b"8"]
        assert source.position(place) == 9
    assert source.counts["retention"] == 1
    assert hearing.offsets_lost == 2
    assert [what for what, _ in hearing.heard] == ["assigned", "revoked", "assigned"]


# Connections ---------------------------------------------------------------------------------


async def test_a_broker_that_comes_up_later_is_waited_for(unique: Unique):
    port, topic = free_port(), unique("t")
    async with a_source(f"127.0.0.1:{port}", topic, unique("g")) as source:
        assert await source.read(10, 0.3) == []
        assert not source.is_joined
        with pytest.raises(CommitFailed):
            await source.commit({TopicPartition(topic, 0): 1})
        async with embedded_broker(port=port) as running:
            broker = Broker("noida", running.bootstrap)
            await create_topic(broker, topic)
            await send(broker, topic, b"0")
            assert [r.value for r in await read_some(source, 1)] == [b"0"]
            assert source.is_joined


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_tls_and_sasl(
    broker: Broker, secure_listener: SecureListener, unique: Unique, mechanism: str
):
    needs(broker, "apache")
    topic = unique("t")
    await create_topic(broker, topic)
    await send(broker, topic, b"0")
    sasl = {"mechanism": mechanism, "username": "alice", "password": "alice-secret"}
    async with a_source(
        secure_listener.bootstrap,
        topic,
        unique("g"),
        tls={"ca_file": str(secure_listener.ca_file)},
        sasl=sasl,
    ) as source:
        assert [r.value for r in await read_some(source, 1)] == [b"0"]


async def test_a_wrong_password_keeps_it_from_joining(
    broker: Broker, secure_listener: SecureListener, unique: Unique
):
    needs(broker, "apache")
    sasl = {"mechanism": "PLAIN", "username": "alice", "password": "wrong"}
    async with a_source(
        secure_listener.bootstrap,
        unique("t"),
        unique("g"),
        tls={"ca_file": str(secure_listener.ca_file)},
        sasl=sasl,
    ) as source:
        assert await source.read(10, 1.5) == []
        assert not source.is_joined


async def test_a_broker_that_restarts_is_joined_again(unique: Unique, tmp_path: Path):
    port, topic, hearing = free_port(), unique("t"), Hearing()
    place = TopicPartition(topic, 0)
    async with a_source(f"127.0.0.1:{port}", topic, unique("g"), hearing=hearing) as source:
        async with embedded_broker(tmp_path, port) as running:
            await create_topic(Broker("noida", running.bootstrap), topic)
            await send(Broker("noida", running.bootstrap), topic, b"before")
            assert [r.value for r in await read_some(source, 1)] == [b"before"]
            await source.commit({place: 1})
        with anyio.fail_after(10):
            with pytest.raises(CommitFailed, match="within 3 s"):
                await source.commit({place: 1})
        async with embedded_broker(tmp_path, port) as running:
            broker = Broker("noida", running.bootstrap)
            await create_topic(broker, topic)
            await send(broker, topic, b"after")
            records = await read_until(source, lambda: len(hearing.heard) == 3)
            records += await read_some(source, 1 - len(records))
            assert {record.value for record in records} == {b"after"}
            await source.commit({place: records[-1].offset + 1})
    assert [what for what, _ in hearing.heard] == ["assigned", "revoked", "assigned"]
