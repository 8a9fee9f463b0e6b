"""The admin server and the probes, over real sockets."""

import base64
import gzip
import logging
import signal
import threading
import time

import anyio
import orjson
import pytest
from starlette.applications import Starlette

from router.admin import Address, ReloadReport, admin_app, check_admin, probe_app, serve
from router.admin.overview import render_overview
from router.config.settings import AdminSettings
from router.problems import ConfigError, Position, Problem, Source
from router.telemetry import Metrics
from router.values import Secret
from tests.contract.admin.builders import Reloads, StatedHealth, ask, overview, running

pytestmark = pytest.mark.anyio
TOKEN = Secret("open-sesame")


def admin(
    *,
    reloads: Reloads | None = None,
    token: Secret | None = None,
    health: StatedHealth | None = None,
    **changes: object,
) -> Starlette:
    return admin_app(
        health or StatedHealth(),
        lambda: b"up 1\n",
        reload=reloads or Reloads(),
        overview=lambda: overview(**changes),
        token=token,
    )


def probes(health: StatedHealth | None = None) -> Starlette:
    return probe_app(health or StatedHealth(), Metrics("1.2.3").render)


async def test_probes_answer_200_when_fine_and_503_with_the_reason_when_not() -> None:
    health = StatedHealth(ready=(False, "the ledger does not answer"))
    async with running(probes(health)) as address:
        healthy, ready = await ask(address, "/-/healthy"), await ask(address, "/-/ready")
    assert healthy.status == 200
    assert orjson.loads(healthy.body) == {"status": "healthy", "detail": "all parts run"}
    assert ready.status == 503
    assert orjson.loads(ready.body)["detail"] == "the ledger does not answer"


async def test_metrics_are_prometheus_text_gzipped_only_if_asked() -> None:
    async with running(probes()) as address:
        plain = await ask(address, "/metrics")
        packed = await ask(address, "/metrics", accept_encoding="br, gzip;q=0.5")
        refused = await ask(address, "/metrics", accept_encoding="gzip;q=0")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b'router_build_info{version="1.2.3"} 1.0' in plain.body
    assert packed.headers["content-encoding"] == "gzip"
    assert b"router_build_info" in gzip.decompress(packed.body)
    assert "content-encoding" not in refused.headers


async def test_a_slow_scrape_does_not_hold_up_the_loop_or_the_probes() -> None:
    go = threading.Event()

    def slow() -> bytes:
        go.wait(5)
        return b""

    async with running(probe_app(StatedHealth(), slow)) as address:
        async with anyio.create_task_group() as tg:
            tg.start_soon(ask, address, "/metrics")
            assert (await ask(address, "/-/healthy")).status == 200
            go.set()


async def test_the_probe_listener_offers_nothing_to_operators() -> None:
    async with running(probes()) as address:
        assert (await ask(address, "/")).status == 404
        assert (await ask(address, "/-/reload", "POST")).status == 404


async def test_a_reload_answers_what_changed() -> None:
    reloads = Reloads(ReloadReport("applied", "abc123", changed=("sinks.mail",)))
    async with running(admin(reloads=reloads)) as address:
        answer = await ask(address, "/-/reload", "POST")
    assert answer.status == 200
    assert orjson.loads(answer.body) == {
        "result": "applied",
        "config_hash": "abc123",
        "changed": ["sinks.mail"],
        "problems": [],
    }


async def test_a_refused_reload_shows_every_problem() -> None:
    at = Position(Source.of("config/router.yaml", "sinks:\n"), 1, 1)
    problem = Problem("R101", 'unknown sink "mial"', at)
    reloads = Reloads(ReloadReport("refused", "abc123", problems=(problem,)))
    async with running(admin(reloads=reloads)) as address:
        answer = await ask(address, "/-/reload", "POST")
    assert answer.status == 422
    assert orjson.loads(answer.body)["problems"] == [problem.as_dict()]


async def test_a_second_reload_at_the_same_time_is_told_so() -> None:
    reloads = Reloads(go=anyio.Event())
    async with running(admin(reloads=reloads)) as address, anyio.create_task_group() as tg:
        tg.start_soon(ask, address, "/-/reload", "POST")
        with anyio.fail_after(5):
            while not reloads.calls:
                await anyio.lowlevel.checkpoint()
        assert (await ask(address, "/-/reload", "POST")).status == 409
        assert reloads.go is not None
        reloads.go.set()
    assert reloads.calls == 1


async def test_every_reload_call_is_in_the_audit_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "router.audit")
    async with running(admin(token=TOKEN)) as address:
        await ask(address, "/-/reload", "POST")
        await ask(address, "/-/reload", "POST", authorization="Bearer open-sesame")
    lines = [r for r in caplog.records if r.name == "router.audit"]
    assert [line.__dict__["router"]["event.outcome"] for line in lines] == ["failure", "success"]
    assert "open-sesame" not in caplog.text


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer open-sesam", "Bearer open-sesame2", "bearer\topen-sesame", "Basic x",
     "Token open-sesame", "Basic " + base64.b64encode(b"ops:open-sesame").decode()],
)  # fmt: skip
async def test_a_reload_needs_the_bearer_token(authorization: str) -> None:
    reloads = Reloads()
    async with running(admin(reloads=reloads, token=TOKEN)) as address:
        answer = await ask(address, "/-/reload", "POST", authorization=authorization)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert reloads.calls == 0


async def test_the_page_takes_the_token_as_a_browsers_password_too() -> None:
    basic = "Basic " + base64.b64encode(b"anyone:open-sesame").decode()
    async with running(admin(token=TOKEN)) as address:
        assert (await ask(address, "/")).status == 401
        assert (await ask(address, "/", authorization=basic)).status == 200
        assert (await ask(address, "/", authorization="Bearer open-sesame")).status == 200
        assert (await ask(address, "/-/ready")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"host": "rebound.example:9090"},
    ],
)
async def test_a_web_page_of_another_site_can_not_reload(headers: dict[str, str]) -> None:
    reloads = Reloads()
    async with running(admin(reloads=reloads)) as address:
        answer = await ask(address, "/-/reload", "POST", **headers)
    assert answer.status == 403
    assert reloads.calls == 0


async def test_a_body_is_read_only_as_far_as_it_is_short() -> None:
    reloads = Reloads()
    async with running(admin(reloads=reloads)) as address:
        assert (await ask(address, "/-/reload", "POST", body=b"x" * 100)).status == 200
        assert (await ask(address, "/-/reload", "POST", body=b"x" * 100_000)).status == 413
    assert reloads.calls == 1


async def test_errors_are_json_with_the_security_headers() -> None:
    async with running(admin()) as address:
        missing, wrong = await ask(address, "/nope"), await ask(address, "/-/reload")
    assert orjson.loads(missing.body) == {"error": {"status": 404, "message": "Not Found"}}
    assert wrong.status == 405
    assert "POST" in wrong.headers["allow"]
    for answer in (missing, wrong):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in answer.headers


async def test_a_bug_answers_500_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> bytes:
        raise RuntimeError("the secret inside")

    async with running(probe_app(StatedHealth(), broken)) as address:
        answer = await ask(address, "/metrics")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert "the secret inside" in caplog.text


async def test_the_page_shows_sinks_with_their_state_and_no_script() -> None:
    async with running(admin(notices=("the last reload was refused",))) as address:
        answer = await ask(address, "/")
    page = answer.body.decode()
    for text in ("1.2.3", "stage", "abcdef012345", "1 h 1 min", "mail", "halted", "unauthorized",
                 "the last reload was refused"):  # fmt: skip
        assert text in page
    assert "<script" not in page
    assert "style-src 'sha256-" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(40.0, "up 40 s"), (150.0, "up 2 min"), (3700.0, "up 1 h 1 min"), (90_000.0, "up 1 d 1 h")],
)
def test_the_page_speaks_plainly(seconds: float, shown: str) -> None:
    page = render_overview(overview(uptime_s=seconds, counts={"in_flight": 1}))
    assert shown in page
    assert "in flight" in page


async def test_names_on_the_page_are_escaped() -> None:
    async with running(admin(environment="<img src=x>")) as address:
        page = (await ask(address, "/")).body.decode()
    assert "<img" not in page
    assert "&lt;img src=x&gt;" in page


async def test_cancelling_lets_a_request_under_way_finish_and_frees_the_port() -> None:
    reloads = Reloads(go=anyio.Event())
    statuses: list[int] = []
    async with anyio.create_task_group() as callers:

        async def call(address: Address) -> None:
            statuses.append((await ask(address, "/-/reload", "POST")).status)

        async with running(admin(reloads=reloads)) as address:
            callers.start_soon(call, address)
            with anyio.fail_after(5):
                while not reloads.calls:
                    await anyio.lowlevel.checkpoint()
            assert reloads.go is not None
            reloads.go.set()
    assert statuses == [200]
    async with running(admin(), str(address)) as again:
        assert again == address


async def test_shutdown_is_bounded_although_a_request_hangs() -> None:
    reloads = Reloads(go=anyio.Event())
    async with anyio.create_task_group() as callers:

        async def call(address: Address) -> None:
            await ask(address, "/-/reload", "POST")

        started = time.monotonic()
        async with running(admin(reloads=reloads)) as address:
            callers.start_soon(call, address)
            with anyio.fail_after(5):
                while not reloads.calls:
                    await anyio.lowlevel.checkpoint()
        assert time.monotonic() - started < 4
        callers.cancel_scope.cancel()


async def test_the_processes_signal_handlers_are_left_alone() -> None:
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    async with running(probes()) as address:
        await ask(address, "/-/healthy")
        assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


async def test_an_address_in_use_is_a_configuration_error() -> None:
    async with running(probes()) as address:
        with pytest.raises(ConfigError) as caught:
            await serve(probes(), str(address))
    assert caught.value.problems[0].code == "E301"
    assert str(address) in caught.value.problems[0].message


@pytest.mark.parametrize(
    "text", ["9090", ":9090", "localhost", "::1:9090", "h:99999", "h:x", "h:²"]
)
def test_a_wrong_address_is_a_problem(text: str) -> None:
    (problem,) = check_admin(AdminSettings(probes=text))  # pyright: ignore[reportCallIssue]
    assert problem.code == "S301"
    assert problem.message.startswith("admin.probes")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.9.9.9"])
def test_without_a_token_loopback_will_do(host: str) -> None:
    settings = AdminSettings(listen=f"{host}:9090")  # pyright: ignore[reportCallIssue]
    assert check_admin(settings) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "10.0.0.5", "admin.internal"])
def test_without_a_token_any_other_address_is_refused(host: str) -> None:
    settings = AdminSettings(listen=f"{host}:9090")  # pyright: ignore[reportCallIssue]
    (problem,) = check_admin(settings)
    assert problem.code == "S302"
    with_token = AdminSettings(listen=f"{host}:9090", token=TOKEN)  # pyright: ignore[reportCallIssue]
    assert check_admin(with_token) == []
