"""Each command as an operator runs it: what it prints and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import orjson
import pytest

from router.kafka.connection import KafkaConnection
from router.kafka.producer import producer
from tests.brokers import Broker
from tests.contract.authoring.builders import ROUTER, ROUTES, replaced, write_project
from tests.contract.authoring.cli import run
from tests.contract.authoring.test_dead_letters import run_aside

ROOT = Path(__file__).parents[2]
PAID = '{"id": "e1", "type": "order.paid", "user": "u1", "total": 5}\n'
ROUTER_BIN = Path(sys.executable).with_name("router")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path)


@pytest.fixture
def events(tmp_path: Path) -> Path:
    file = tmp_path / "events.jsonl"
    file.write_text(PAID)
    return file


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


# check -----------------------------------------------------------------------------------------


def test_check_passes_the_shipped_project_strictly(shipped: None) -> None:
    ran = run("check", "--strict")
    assert (ran.code, ran.err) == (0, "")
    assert "templates × en ru" in ran.out
    assert [line.split()[0] for line in ran.out.splitlines()[:4]] == [
        "base",
        "dev",
        "prod",
        "stage",
    ]


def test_check_counts_warnings_only_if_told_to(project: Path) -> None:
    write_project(
        project.parent, router=replaced(ROUTER, ("sinks:", "sinks:\n      x: {type: console}"))
    )
    ran = run("check", "-c", project)
    assert ran.code == 0
    assert "warning S401: no route uses sink" in ran.err
    assert "base  1 warning" in ran.out
    assert run("check", "-c", project, "--strict").code == 1


def test_check_tells_which_environments_have_a_problem(project: Path) -> None:
    (project / "env/dev.yaml").write_text("logs: {level: loud}\n")
    ran = run("check", "-c", project)
    assert ran.code == 1
    assert "      in dev\n" in ran.err
    assert "base  fine\ndev   1 error\n1 route, 1 sink, 1 template × en, 1 category\n" in ran.out


def test_check_reads_secrets_only_of_the_environment_that_is_named(project: Path) -> None:
    (project / "env/dev.yaml").write_text("admin: {token: !env NOT_SET_ANYWHERE}\n")
    assert run("check", "-c", project).code == 0
    assert "NOT_SET_ANYWHERE is not set" in run("check", "-c", project, "-e", "dev").err
    assert run("check", "-c", project, "-e", "dev", "--offline").code == 0


def test_check_speaks_to_programs(project: Path) -> None:
    write_project(project.parent, routes=replaced(ROUTES, ("[mail]", "[mial]")))
    found = run("check", "-c", project, "--format", "json").json
    assert found["problems"][0]["code"] == "R101"
    assert found["problems"][0]["environments"] == ["base", "dev"]
    assert found["environments"][0] == {"name": "base", "errors": 1, "warnings": 0}
    annotation = run("check", "-c", project, "--format", "github").out
    assert annotation.startswith("::error file=")
    assert ',line=7,col=15,title=R101::unknown sink "mial".' in annotation
    sarif = run("check", "-c", project, "--format", "sarif").json
    (result,) = sarif["runs"][0]["results"]
    assert result["ruleId"] == sarif["runs"][0]["tool"]["driver"]["rules"][0]["id"] == "R101"
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 7


def test_check_of_nothing_is_a_problem(tmp_path: Path) -> None:
    ran = run("check", "-c", tmp_path / "none.yaml")
    assert ran.code == 1
    assert "can't read" in ran.err
    assert "name it with -c" in ran.err


# dry-run ---------------------------------------------------------------------------------------


def test_dry_run_shows_what_would_be_sent(project: Path, events: Path) -> None:
    ran = run("dry-run", events, "-c", project)
    assert ran.code == 0
    assert "order.paid  e1" in ran.out
    assert "NOW            mail → ann@example.com" in ran.out
    assert "subject: Thanks" in ran.out
    assert "Total 5" in ran.out
    assert ran.out.endswith("1 event\n1 NOW\nmail: 1\nNothing was sent\n")


def test_dry_run_reads_standard_input_and_tells_bad_lines_by_number(project: Path) -> None:
    ran = run("dry-run", "-", "-c", project, "--no-content", stdin=PAID + "{oops\n\n" + PAID)
    assert ran.code == 1
    assert "<stdin>:2\n  DEAD  no event: invalid_json" in ran.out
    assert "<stdin>:4" in ran.out
    assert "Total" not in ran.out


def test_dry_run_takes_a_sample_with_its_recipient(project: Path) -> None:
    sample = project.parent / "templates/note/samples/first.yaml"
    (project / "people.yaml").write_text("[]")
    ran = run("dry-run", sample, "-c", project)
    assert "mail → a@example.com" in ran.out


def test_dry_run_asks_the_people_it_is_given(project: Path, events: Path, tmp_path: Path) -> None:
    people = tmp_path / "others.yaml"
    people.write_text("u1: {email: other@example.com}\n")
    assert "other@example.com" in run("dry-run", events, "-c", project, "--people", people).out
    people.write_text("u2: {emial: x}\n")
    ran = run("dry-run", events, "-c", project, "--people", people)
    assert (ran.code, 'Did you mean "email"?' in ran.err) == (2, True)


def test_dry_run_speaks_to_programs(project: Path) -> None:
    unknown = PAID.replace("u1", "nobody")
    ran = run("dry-run", "-", "-c", project, "-o", "json", stdin=PAID + unknown)
    first, second = ran.json["events"]
    (delivery,) = first["routes"][0]["deliveries"]
    assert (delivery["verdict"], delivery["target"]) == ("now", "ann@example.com")
    assert delivery["message"]["subject"] == "Thanks"
    assert second["routes"][0]["deliveries"][0]["reason"]["code"] == "recipient_unknown"
    assert (ran.code, ran.json["summary"]["verdicts"]["dead"]) == (1, 1)


def test_dry_run_tries_events_at_another_time(project: Path, events: Path) -> None:
    ran = run("dry-run", events, "-c", project, "--at", "2099-01-01T00:00:00Z")
    assert "SUPPRESSED by  mail → ann@example.com  expired" in ran.out
    assert run("dry-run", events, "-c", project, "--at", "noon").code == 2


def test_mistakes_of_usage_end_with_2_and_what_to_do(project: Path, events: Path) -> None:
    for args, said in (
        (("dry-run",), "give a file of events"),
        (("dry-run", "none.jsonl"), "can't read none.jsonl"),
        (("dry-run", events, "--source", "mian"), 'Did you mean "main"?'),
        (("dry-run", "--topic", "t"), "there is no Kafka source"),
        (("explain", events, "--route", "piad"), 'Did you mean "paid"?'),
        (("render", "noet"), 'Did you mean "note"?'),
        (("render", "note", "--sample", "frist"), 'Did you mean "first"?'),
        (("render", "note", "--channel", "push"), 'there is no channel "push"'),
    ):
        ran = run(*args, "-c", project)
        assert (ran.code, said in ran.err) == (2, True), (args, ran.err)


@pytest.mark.anyio
@pytest.mark.kafka
async def test_dry_run_reads_a_topic_without_committing(broker: Broker, tmp_path: Path) -> None:
    topic = f"orders-{tmp_path.name}"
    connection = KafkaConnection(bootstrap=(broker.bootstrap,))
    async with producer(connection) as opened:
        await opened.publish(topic, [(None, PAID.encode(), ())] * 3)
    source = f"{{type: kafka, bootstrap: '{broker.bootstrap}', topics: [{topic}], group: g}}"
    config = write_project(tmp_path, router=replaced(ROUTER, ("{type: stdin}", source)))
    ran = await run_aside("dry-run", "--topic", topic, "--max", "2", "-c", config, "-o", "json")
    assert [one["from"] for one in ran.json["events"]] == [f"{topic}/0/0", f"{topic}/0/1"]
    missing = await run_aside("dry-run", "--topic", "not-there", "-c", config)
    assert (missing.code, missing.err) == (3, "there is no topic not-there\n")


def test_a_cluster_that_does_not_answer_ends_with_3(tmp_path: Path) -> None:
    source = "{type: kafka, bootstrap: '127.0.0.1:1', topics: [t], group: g}"
    config = write_project(tmp_path, router=replaced(ROUTER, ("{type: stdin}", source)))
    ran = run("dry-run", "--topic", "t", "-c", config)
    assert (ran.code, ran.err.startswith("t can't be read: ")) == (3, True)


# explain ---------------------------------------------------------------------------------------


def test_explain_shows_each_predicate_with_what_it_found(project: Path) -> None:
    other = "\n      large:\n        match: {type: order.paid, data.total: {gte: 100}}\n"
    other += "        recipient: {id: data.user}\n        template: note\n        deliver: [mail]\n"
    other += "      lost:\n        match: {type: order.lost}\n"
    other += "        recipient: {id: data.user}\n        template: note\n        deliver: [mail]\n"
    write_project(project.parent, routes=ROUTES.rstrip() + other)
    ran = run("explain", "-", "-c", project, stdin=PAID)
    assert ran.code == 0
    routes = f"{project}/routes.yaml"
    assert f"paid  matches  {routes}:3" in ran.out
    assert f"  ✓ type: order.paid  is order.paid (text)  {routes}:4" in ran.out
    assert "NOW            mail → ann@example.com" in ran.out
    assert f"large  1 predicate away  {routes}:8" in ran.out
    assert f"  ✗ data.total: {{gte: 100}}  is 5 (number)  {routes}:9" in ran.out
    assert "  lost  1 away: type: order.lost" in ran.out
    assert "✗ type: order.lost" in run("explain", "-", "-c", project, "--all", stdin=PAID).out


def test_explain_speaks_to_programs(project: Path, events: Path) -> None:
    (route,) = run("explain", events, "-c", project, "-o", "json").json["routes"]
    assert (route["route"], route["matched"], route["away"]) == ("paid", True, 0)
    assert route["predicates"]["actual_type"] == "text"
    assert route["deliveries"][0]["verdict"] == "now"


def test_explain_takes_one_event(project: Path) -> None:
    assert run("explain", "-", "-c", project, stdin=PAID * 2).code == 2
    bad = run("explain", "-", "-c", project, stdin="{\n")
    assert (bad.code, bad.err.startswith("<stdin>:1: no event: invalid_json")) == (1, True)


# render ----------------------------------------------------------------------------------------


def test_render_shows_and_writes_every_case(project: Path, tmp_path: Path) -> None:
    ran = run("render", "note", "-c", project)
    assert (ran.code, "first · email · en" in ran.out, "Total 5" in ran.out) == (0, True, True)
    ran = run("render", "templates/note/", "-c", project, "--out", tmp_path / "out")
    written = tmp_path / "out/note"
    assert (written / "first.en.email.txt").read_text().startswith("Subject: Thanks\n\nTotal 5")
    assert orjson.loads((written / "first.en.email.json").read_bytes())["subject"] == "Thanks"
    (case,) = run("render", "note", "-c", project, "-o", "json").json["cases"]
    assert case["message"]["subject"] == "Thanks"


def test_render_ends_with_1_where_a_case_fails(project: Path) -> None:
    sample = project.parent / "templates/note/samples/first.yaml"
    sample.write_text("variables: {total: many}\n")
    ran = run("render", "note", "-c", project)
    assert (ran.code, "T162" in ran.out) == (1, True)


# schema, sinks, completion, help ---------------------------------------------------------------


def test_schema_is_printed_and_written(tmp_path: Path) -> None:
    assert run("schema", "routes").json["title"] == "routes/*.yaml"
    run("schema", "--write", tmp_path / "s")
    assert {file.name for file in (tmp_path / "s").iterdir()} >= {"router.json", "sample.json"}


def test_sinks_lists_types_and_options() -> None:
    assert "smtp " in run("sinks").out
    assert "  host  text  compulsory\n" in run("sinks", "smtp").out
    options = run("sinks", "smtp", "-o", "json").json["options"]
    security = next(option for option in options if option["name"] == "security")
    assert security["default"] == "starttls"
    assert 'Did you mean "smtp"?' in run("sinks", "smpt").err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(shell: str) -> None:
    assert "_ROUTER_COMPLETE" in run("completion", shell).out


COMMANDS = ("demo", "init", "check", "dry-run", "explain", "render", "run", "sinks", "dead-letters",
            "sandbox", "schema", "completion")  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(command: str) -> None:
    ran = run(command, "--help")
    assert ran.code == 0
    assert "Examples:" in ran.out
    assert f"router {command}" in ran.out


# init ------------------------------------------------------------------------------------------


def test_a_new_project_is_clean_and_shows_what_it_would_send(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run("init", tmp_path / "mine")
    assert ran.code == 0
    assert ran.out.count("  router ") == 3
    monkeypatch.chdir(tmp_path / "mine")
    assert Path(".gitignore").exists()
    assert Path(".github/workflows/router.yml").exists()
    check = run("check", "--strict")
    assert (check.code, check.err) == (0, "")
    dry = run("dry-run", "events.jsonl")
    assert dry.code == 0
    assert "subject: Order A-1042 is on its way" in dry.out
    assert "subject: Заказ A-1043 в пути" in dry.out


def test_init_leaves_what_is_there_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    ran = run("init", tmp_path)
    assert (ran.code, "--force" in ran.err) == (2, True)
    assert run("init", tmp_path, "--force").code == 0
    assert (tmp_path / "file").read_text() == "mine"


# Processes -------------------------------------------------------------------------------------


def test_a_new_project_runs_and_ends(tmp_path: Path) -> None:
    run("init", tmp_path)
    anywhere = {"ADMIN_LISTEN": "127.0.0.1:0", "PROBES_LISTEN": "127.0.0.1:0"}
    for count in (3, 0):
        ran = subprocess.run(
            [ROUTER_BIN, "run", "-e", "dev"],
            cwd=tmp_path,
            env={**os.environ, **anywhere},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout.count("order.shipped") == count


def test_help_is_quick_and_piped_output_plain(project: Path) -> None:
    started = time.monotonic()
    subprocess.run([ROUTER_BIN, "--help"], check=True, capture_output=True)
    assert time.monotonic() - started < 2
    ran = subprocess.run(
        [ROUTER_BIN, "check", "-c", project], check=True, capture_output=True, text=True
    )
    assert "\x1b" not in ran.stdout


@pytest.fixture
def sandbox() -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [ROUTER_BIN, "sandbox"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    yield process
    process.kill()
    process.wait()


def test_the_sandbox_tells_its_addresses_until_it_is_stopped(
    sandbox: subprocess.Popen[str],
) -> None:
    assert sandbox.stdout is not None
    lines: list[str] = []
    for line in sandbox.stdout:
        lines.append(line)
        if line.startswith("inbox page: http://127.0.0.1:") or "can't listen" in line:
            break
    if "can't listen" in lines[-1]:
        assert sandbox.wait(10) == 3
        return
    sandbox.send_signal(signal.SIGINT)
    assert sandbox.wait(10) == 0
