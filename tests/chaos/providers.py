"""A provider refuses, hangs, answers nonsense, or asks for time."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import anyio
import orjson

from router.ledger import State
from router.sandbox import ANY_TARGET, Fault, Received, Sandbox, answer, bad_gateway, lost_answer
from tests.chaos.proxy import proxy
from tests.chaos.scenario import Run, Scenario
from tests.chaos.site import Report, Site, order_of
from tests.chaos.trial import Trial, trial
from tests.system.processes import Daemon, eventually
from tests.system.projects import Env, File, api_sink, write_template
from tests.system.topics import order

_QUICK = {
    "timeout": "1s",
    "retry": {"first": "300ms", "cap": "1s"},
    "breaker": {"half_open": "1s"},
}
_PATIENT = _QUICK | {"breaker": {"at_least": 100_000}}
_CHATS = 5
_HALTED = {"sink": "api", "scope": "sink", "cause": "halt"}


# Faults that each call meets once ----------------------------------------------------------------


def meeting(fault: Fault, *, times: int = 1, may_repeat: bool = False) -> Run:
    """Each delivery's first calls meet the fault.

    Args:
        may_repeat: The provider takes the message on all the same.
    """

    async def run(site: Site) -> Report:
        count = site.size(60)
        async with trial(site, sink=_PATIENT) as t:
            on = dict.fromkeys(range(1, times + 1), fault)
            for number in range(count):
                t.box.http.faults.plan(f"/orders/o-{number}", on=on)
            await t.replicas("one")
            await t.publish(count)
            t.fault_ends()
            await t.drained()
            if may_repeat:
                t.excuse_orders(t.times, "the answer was lost")
            report = await t.end()
        assert report.books.states == {State.DELIVERED: count}
        assert (report.books.repeats > 0) == may_repeat, f"{report.books.repeats} repeats"
        return report

    return run


# Faults of the whole provider --------------------------------------------------------------------


async def unreachable(site: Site) -> Report:
    """Nobody listens for a while: the breaker opens, and a probe closes it again."""
    count = site.size(60)
    async with AsyncExitStack() as stack:
        t = await stack.enter_async_context(trial(site, sink=_QUICK))
        port = int(t.box.addresses["http"].rpartition(":")[2])
        between = await stack.enter_async_context(proxy(port))
        sink = api_sink(t.box, **_QUICK) | {"base_url": f"http://127.0.0.1:{between.port}"}
        t.sections = {**t.sections, "sinks": {"api": sink}}
        (running,) = await t.replicas("one")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(t.publish, count, 30)
            await t.arrivals(count // 4)
            between.cut()
            await _opens_its_breaker(running, t)
            await anyio.sleep(site.seconds(2))
            await between.mend()
            t.fault_ends()
        await t.drained()
        await _closes_its_breaker(running, t)
        t.excuse_orders(t.times, "its connection was cut amid the request")
        report = await t.end()
    assert report.books.counted < count // 4, "what was not under way is in doubt"
    return report


async def hanging(site: Site) -> Report:
    """It takes requests and says nothing: each is in doubt, and sent again."""
    count = site.size(60)
    async with trial(site, sink=_QUICK) as t:
        (running,) = await t.replicas("one")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(t.publish, count, 30)
            await t.arrivals(count // 4)
            t.box.http.faults.plan(ANY_TARGET, always=Fault("stall", seconds=30))
            await _opens_its_breaker(running, t)
            t.box.http.faults.clear()
            t.fault_ends()
        await t.drained()
        await _closes_its_breaker(running, t)
        report = await t.end()
    assert report.books.counted > 0
    return report


async def _opens_its_breaker(running: Daemon, t: Trial) -> None:
    async def is_open() -> bool:
        return await running.total("router_sink_breaker_opened_total") > 0

    await eventually(is_open, "the breaker opens", t.site.patience_s)


async def _closes_its_breaker(running: Daemon, t: Trial) -> None:
    async def is_closed() -> bool:
        return await running.total("router_sink_breaker_state") == 0

    await eventually(is_closed, "the breaker closes", t.site.patience_s)


async def storm_of_401(site: Site) -> Report:
    """The token is wrong: the sink halts and keeps everything, and the right token resumes it."""
    count = site.size(80)
    async with trial(site) as t:
        secret = site.folder / "token"
        secret.write_text("wrong")
        auth = {"type": "bearer", "token": File(str(secret))}
        t.sections = {**t.sections, "sinks": {"api": api_sink(t.box, auth=auth, **_QUICK)}}
        (running,) = await t.replicas("one")
        await t.publish(count)

        async def keeps_all() -> bool:
            halted = await running.total("router_sink_gates_closed", **_HALTED)
            return halted == 1 and await t.states() == {State.SCHEDULED: count}

        await eventually(keeps_all, "halted, everything in the schedule", site.patience_s)
        await anyio.sleep(site.seconds(1))
        asked = len(t.box.record.refused)
        assert asked < count // 2, f"{asked} calls with a wrong token"
        secret.write_text(t.box.credentials["http_bearer"])
        assert (await running.call("POST", "/-/reload", admin=True))[0] == 200
        t.fault_ends()
        await t.drained()
        t.details["calls"] = f"{asked} with the wrong token"
        report = await t.end()
    assert report.books.states == {State.DELIVERED: count}, "nothing died"
    assert report.books.repeats == report.books.counted == 0
    return report


def limited(seconds: float, headers: Mapping[str, str]) -> Run:
    """One call is answered 429: nothing goes for so long, and everything afterwards."""

    async def run(site: Site) -> Report:
        count = site.size(60)
        async with trial(site, sink=_QUICK | {"concurrency": 1}) as t:
            t.box.http.faults.plan("/orders/o-10", on={1: answer(429, headers=headers)})
            await t.replicas("one")
            await t.publish(count)
            t.fault_ends()
            await t.drained()
            pause = _longest_pause(list(t.box.record))
            t.details["pause"] = f"{pause:.1f} s"
            report = await t.end()
        assert pause >= seconds - 0.5, f"it waited {pause:.1f} s only"
        assert report.books.repeats == report.books.counted == 0
        return report

    return run


def _longest_pause(entries: list[Received]) -> float:
    times = [entry.at for entry in entries]
    return max(after - before for before, after in pairwise(times))


# Telegram ----------------------------------------------------------------------------------------


def _chat_event(number: int) -> bytes:
    return order(number, chat=str(100 + number % _CHATS))


def _bot(box: Sandbox) -> Mapping[str, Any]:
    sink = {
        "type": "telegram",
        "base_url": box.addresses["telegram"],
        "token": Env("BOT_TOKEN"),
        "real": False,
    }
    route = {
        "match": {"type": "order.paid"},
        "recipient": {"id": "data.chat", "telegram": "data.chat"},
        "deliver": [{"sink": "bot", "template": "note"}],
    }
    return {"templates": "templates", "sinks": {"bot": sink | _PATIENT}, "routes": {"paid": route}}


async def _start_bot(t: Trial) -> Daemon:
    project = t.project("one")
    write_template(project, "note", {"chat.html": "Order {{ data.id }}\n"})
    (running,) = await t.start_all([project])
    return running


async def limited_chat(site: Site) -> Report:
    """One chat has to wait: the others do not."""
    wait_s = 4
    body = {
        "ok": False,
        "error_code": 429,
        "description": f"Too Many Requests: retry after {wait_s}",
        "parameters": {"retry_after": wait_s},
    }
    async with trial(site, sections=_bot, event=_chat_event) as t:
        t.box.telegram.faults.plan("100", on={1: answer(429, orjson.dumps(body).decode())})
        await _start_bot(t)
        # Telegram's limits allow a chat one message a second, and a burst.
        await t.publish(_CHATS * 2)
        t.fault_ends()
        await t.drained()
        others = [e.at for e in t.box.record if e.recipient != "100"]
        theirs = [e.at for e in t.box.record if e.recipient == "100"]
        t.details["waited"] = f"{min(theirs) - min(others):.1f} s"
        report = await t.end()
    assert min(theirs) - min(others) >= wait_s - 1
    assert min(theirs) > sorted(others)[_CHATS - 2], "the others waited too"
    assert report.books.repeats == report.books.counted == 0
    return report


def unreadable(fault: Fault) -> Run:
    """A chat message is taken on, and the answer can't be read: it may come twice."""

    async def run(site: Site) -> Report:
        async with trial(site, sections=_bot, event=_chat_event) as t:
            t.box.telegram.faults.plan("101", on={1: fault})
            await _start_bot(t)
            await t.publish(_CHATS * 2)
            t.fault_ends()
            await t.drained()
            t.excuse_orders({order_of(e) for e in t.box.record if e.recipient == "101"}, "cut off")
            return await t.end()

    return run


SCENARIOS = [
    Scenario("provider-refuses", "the provider refuses connections for a while", unreachable),
    Scenario("provider-hangs", "the provider takes requests and never answers", hanging),
    Scenario(
        "provider-answers-late",
        "each first answer comes after the timeout",
        meeting(lost_answer("stall", seconds=3), may_repeat=True),
    ),
    Scenario(
        "provider-closes",
        "each first connection is closed once the message is accepted",
        meeting(lost_answer("close"), may_repeat=True),
    ),
    Scenario(
        "provider-resets",
        "each first connection is reset before the message is accepted",
        meeting(Fault("reset")),
    ),
    Scenario(
        "provider-502",
        "each delivery meets two HTML pages of a proxy",
        meeting(bad_gateway(), times=2),
    ),
    Scenario("provider-401", "the token is wrong until it is put right", storm_of_401),
    Scenario(
        "provider-429",
        "one 429 that says how long to wait",
        limited(3, {"Retry-After": "3"}),
    ),
    Scenario("provider-429-bare", "one 429 that does not say how long", limited(60, {})),
    Scenario("provider-429-chat", "one chat of many has to wait", limited_chat),
    Scenario(
        "provider-truncates", "half of an answer's JSON is missing", unreadable(Fault("truncate"))
    ),
    Scenario("provider-cuts", "the connection ends amid an answer", unreadable(Fault("cut"))),
]
