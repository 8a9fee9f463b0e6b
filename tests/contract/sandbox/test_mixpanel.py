"""The Mixpanel look-alike: strict imports, silent engage and track, reports and the raw log."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import orjson
import pytest
from anyio.to_thread import run_sync
from mixpanel import Consumer, Mixpanel, MixpanelException, ServiceAccountCredentials

from router.clock import ManualClock
from router.messages import Channel
from router.sandbox import MixpanelSettings, Sandbox, SandboxSettings, sandbox
from tests.contract.sandbox.builders import Reply, call

pytestmark = pytest.mark.anyio

NOW = 1_767_323_045.0


def still(**settings: Any) -> SandboxSettings:
    """A sandbox whose time is NOW."""
    return SandboxSettings(clock=ManualClock(NOW), mixpanel=MixpanelSettings(**settings))


def event(name: str = "Paid", insert_id: str = "a-1", **properties: Any) -> dict[str, Any]:
    base = {"time": NOW, "distinct_id": "u-1", "$insert_id": insert_id}
    return {"event": name, "properties": {**base, **properties}}


def basic(user: str, password: str = "") -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(user, password)}


async def imported(
    box: Sandbox,
    events: object,
    query: str = "strict=1",
    headers: Mapping[str, str] | None = None,
    raw: bytes | None = None,
) -> Reply:
    given = {
        **basic(box.credentials["mixpanel_token"]),
        "Content-Type": "application/json",
        **(headers or {}),
    }
    body = orjson.dumps(events) if raw is None else raw
    url = f"{box.addresses['mixpanel']}/import?{query}"
    return await call("POST", url, headers=given, data=body)


async def test_events_are_kept() -> None:
    async with sandbox(still()) as box:
        reply = await imported(box, [event(amount=5), event("Ж", "a-2")])
        first, _ = box.record
    assert reply.json == {"code": 200, "num_records_imported": 2, "status": "OK"}
    assert (first.channel, first.recipient, first.title) == (Channel.ANALYTICS, "u-1", "Paid")
    assert orjson.loads(first.text)["amount"] == 5
    assert first.key == "a-1"


async def test_gzip_is_decoded_and_then_measured() -> None:
    packed = {"Content-Encoding": "gzip"}
    async with sandbox(still(most_bytes=2000)) as box:
        small = gzip.compress(orjson.dumps([event()]))
        large = gzip.compress(orjson.dumps([event(pad="x" * 2000)]))
        assert len(large) < 2000
        assert (await imported(box, None, headers=packed, raw=small)).status == 200
        assert (await imported(box, None, headers=packed, raw=large)).status == 413
        assert (await imported(box, None, headers=packed, raw=b"[]")).status == 400


async def test_two_megabytes_are_taken_and_more_are_not() -> None:
    async with sandbox(still()) as box:
        fits = [event(insert_id=f"a-{n}", pad="x" * 990_000) for n in range(2)]
        assert (await imported(box, fits)).status == 200
        assert (await imported(box, [*fits, event(pad="x" * 30_000)])).status == 413


async def test_2000_events_are_taken_and_more_are_not() -> None:
    async with sandbox(still()) as box:
        events = [event(insert_id=f"a-{n}") for n in range(2001)]
        assert (await imported(box, events[:2000])).json["num_records_imported"] == 2000
        refused = await imported(box, events)
    assert refused.status == 400
    assert "failed_records" not in refused.json


async def test_newline_delimited_json_is_read_too() -> None:
    async with sandbox(still()) as box:
        raw = b"\n".join(orjson.dumps(event(insert_id=f"a-{n}")) for n in range(3))
        ndjson = {"Content-Type": "application/x-ndjson"}
        assert (await imported(box, None, headers=ndjson, raw=raw)).status == 200
        assert len(box.record) == 3


WIDE = {f"p{n}": n for n in range(255)}


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ([], ""),
        ({"properties": {}}, "event"),
        ({"event": "", "properties": {}}, "event"),
        ({"event": "x"}, "properties"),
        (event(time="now"), "properties.time"),
        (event(time=31_535_999), "properties.time"),
        (event(time=NOW + 3601), "properties.time"),
        (event(time=(NOW + 3601) * 1000), "properties.time"),
        (event(distinct_id=None), "properties.distinct_id"),
        (event(distinct_id=7), "properties.distinct_id"),
        (event(distinct_id="Anonymous"), "properties.distinct_id"),
        (event(distinct_id="00000000-0000-0000-0000-000000000000"), "properties.distinct_id"),
        (event(insert_id=""), "properties.$insert_id"),
        (event(insert_id="x" * 37), "properties.$insert_id"),
        (event(insert_id="a_1"), "properties.$insert_id"),
        (event(**WIDE), "properties"),
        (event(nested=WIDE), "properties"),
        (event(listed=[0] * 255), "properties"),
        (event(pad="x" * 1_000_000), "event"),
    ],
)
async def test_a_bad_record_is_named_and_the_good_ones_stay(bad: Any, field: str) -> None:
    async with sandbox(still()) as box:
        reply = await imported(box, [event("Good"), bad, event("Too", "a-2")])
        assert [entry.title for entry in box.record] == ["Good", "Too"]
    assert reply.status == 400
    assert reply.json["num_records_imported"] == 2
    [record] = reply.json["failed_records"]
    assert (record["index"], record["field"]) == (1, field)


@pytest.mark.parametrize(
    "good",
    [
        event(distinct_id=""),
        event(time=NOW + 3599),
        event(time=31_536_000),
        event(insert_id="x" * 36),
        event(time=round(NOW * 1000)),
    ],
)
async def test_what_stands_on_the_edge_is_taken(good: dict[str, Any]) -> None:
    async with sandbox(still()) as box:
        assert (await imported(box, [good])).status == 200


async def test_without_strict_bad_records_vanish() -> None:
    async with sandbox(still()) as box:
        reply = await imported(box, [event(), event(insert_id="")], query="")
    assert (reply.status, reply.json["num_records_imported"]) == (200, 1)


@pytest.mark.parametrize(
    ("user", "password", "query", "status"),
    [
        ("token", "", "strict=1", 200),
        ("token", "x", "strict=1", 401),
        ("wrong", "", "strict=1", 401),
        ("account", "secret", "strict=1&project_id=2195193", 200),
        ("account", "secret", "strict=1&project_id=1", 401),
        ("account", "secret", "strict=1", 401),
        ("account", "wrong", "strict=1&project_id=2195193", 401),
    ],
)
async def test_credentials(user: str, password: str, query: str, status: int) -> None:
    async with sandbox(still()) as box:
        known = {
            "token": box.credentials["mixpanel_token"],
            "account": box.credentials["mixpanel_username"],
            "secret": box.credentials["mixpanel_secret"],
        }
        headers = basic(known.get(user, user), known.get(password, password))
        reply = await imported(box, [event()], query, headers)
        assert len(box.record) == (status == 200)
    assert reply.status == status


async def test_a_repeat_is_in_the_log_and_not_in_the_report() -> None:
    async with sandbox(still()) as box:
        for _ in range(2):
            await imported(box, [event()])
        for other in (
            event("Other"),
            event(insert_id="a-2"),
            event(time=NOW + 1),
            event(distinct_id="u-2"),
        ):
            await imported(box, [other])
        assert len(box.mixpanel.raw) == 6
        assert len(box.mixpanel.report) == 5
        assert len(box.record.of("mixpanel")) == 6


async def test_seconds_and_milliseconds_are_the_same_time() -> None:
    async with sandbox(still()) as box:
        await imported(box, [event(), event(time=round(NOW * 1000))])
        assert len(box.mixpanel.report) == 1


async def test_a_limit_over_the_minute_names_no_time_to_wait() -> None:
    clock = ManualClock(NOW)
    api = MixpanelSettings(events_per_minute=2)
    async with sandbox(SandboxSettings(clock=clock, mixpanel=api)) as box:
        assert (await imported(box, [event(), event()])).status == 200
        limited = await imported(box, [event()])
        assert limited.status == 429
        assert "Retry-After" not in limited.headers
        clock.advance(60)
        assert (await imported(box, [event()])).status == 200


async def engaged(box: Sandbox, updates: object, verbose: str = "?verbose=1", **h: str) -> Reply:
    headers = {"Content-Type": "application/json", **h}
    url = f"{box.addresses['mixpanel']}/engage{verbose}"
    return await call("POST", url, headers=headers, data=orjson.dumps(updates))


def update(box: Sandbox, person: str = "u-1", **operation: Any) -> dict[str, Any]:
    named = {f"${name}": value for name, value in operation.items()}
    return {"$token": box.credentials["mixpanel_token"], "$distinct_id": person, **named}


class TestEngage:
    async def test_operations(self) -> None:
        async with sandbox() as box:
            updates = [
                update(box, set={"plan": "pro", "old": 1}),
                update(box, set_once={"plan": "free", "first": 1}),
                update(box, add={"n": 2}),
                update(box, add={"n": -1}),
                update(box, append={"tags": "a"}),
                update(box, append={"tags": "a"}),
                update(box, union={"tags": ["a", "b"]}),
                update(box, remove={"tags": "a"}),
                update(box, unset=["old"]),
            ]
            reply = await engaged(box, updates)
            assert reply.json == {"status": 1, "error": None}
            expected = {"plan": "pro", "first": 1, "n": 1, "tags": ["b"]}
            assert box.mixpanel.profiles["u-1"] == expected
            await engaged(box, [update(box, delete="")])
            assert box.mixpanel.profiles["u-1"] == {}

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"$token": ""}, "$token, missing or empty"),
            ({"$distinct_id": ""}, "$distinct_id, missing or empty"),
            ({"$set": [1]}, "$set is of the wrong type"),
            ({"$add": {"n": 1}}, "update must have exactly one operation"),
            ({"$set": {"x": "x" * 1_000_000}}, "update is larger than 1MB"),
        ],
    )
    async def test_errors_come_with_status_200(self, change: dict[str, Any], error: str) -> None:
        async with sandbox() as box:
            updates = [{**update(box, set={"a": 1}), **change}, update(box, "u-2", set={"a": 1})]
            reply = await engaged(box, updates)
            assert list(box.mixpanel.profiles) == ["u-2"]
            terse = await engaged(box, updates, verbose="")
        assert (reply.status, reply.json) == (200, {"status": 0, "error": error})
        assert (terse.status, terse.body) == (200, b"0")

    async def test_a_token_of_no_project_is_dropped_without_a_word(self) -> None:
        async with sandbox() as box:
            reply = await engaged(box, [{**update(box, set={"a": 1}), "$token": "other"}])
            assert not box.mixpanel.profiles
            assert box.record.refused[0].why == "dropped: token of no known project"
        assert reply.json["status"] == 1

    async def test_gzip_is_not_understood(self) -> None:
        async with sandbox() as box:
            reply = await engaged(box, [update(box, set={"a": 1})], **{"Content-Encoding": "gzip"})
        assert reply.json["status"] == 0

    async def test_2001_updates_are_too_many(self) -> None:
        async with sandbox() as box:
            reply = await engaged(box, [update(box, set={"a": 1})] * 2001)
        assert reply.json["status"] == 0


class TestOfficialClient:
    """The vendor's package, pointed here by its addresses alone."""

    async def run(self, box: Sandbox, use: Callable[[Mixpanel], None], **options: Any) -> None:
        base = box.addresses["mixpanel"]
        consumer = Consumer(
            events_url=f"{base}/track",
            people_url=f"{base}/engage",
            import_url=f"{base}/import",
            retry_limit=0,
            request_timeout=5,
            **options,
        )
        await run_sync(use, Mixpanel(box.credentials["mixpanel_token"], consumer))

    async def test_tracks(self) -> None:
        async with sandbox() as box:
            await self.run(box, lambda client: client.track("u-1", "Paid", {"amount": 5}))
            (entry,) = box.record
        assert (entry.recipient, entry.title) == ("u-1", "Paid")
        assert orjson.loads(entry.text)["amount"] == 5

    async def test_tracks_nothing_that_is_older_than_five_days_and_never_hears_of_it(
        self,
    ) -> None:
        async with sandbox() as box:
            old = {"time": 1_500_000_000}
            await self.run(box, lambda client: client.track("u-1", "Paid", old))
            assert len(box.record) == 0

    async def test_imports_by_a_service_account(self) -> None:
        async with sandbox() as box:
            account = ServiceAccountCredentials(
                box.credentials["mixpanel_username"],
                box.credentials["mixpanel_secret"],
                box.credentials["mixpanel_project"],
            )
            await self.run(
                box,
                lambda client: client.import_data(None, "u-1", "Paid", 1_500_000_000),
                credentials=account,
            )
            assert [identity.event for identity in box.mixpanel.raw] == ["Paid"]

    async def test_changes_profiles(self) -> None:
        def use(client: Mixpanel) -> None:
            client.people_set("u-1", {"plan": "pro"}, {"$ip": "0", "$ignore_time": True})
            client.people_increment("u-1", {"n": 2})
            client.people_union("u-1", {"tags": ["a"]})
            client.people_unset("u-1", ["plan"])

        async with sandbox() as box:
            await self.run(box, use)
            assert box.mixpanel.profiles["u-1"] == {"n": 2, "tags": ["a"]}

    async def test_hears_of_errors(self) -> None:
        def use(client: Mixpanel) -> None:
            with pytest.raises(MixpanelException, match=r"\$distinct_id"):
                client.people_set("", {"plan": "pro"})

        async with sandbox() as box:
            await self.run(box, use)
