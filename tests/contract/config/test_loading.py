"""A project read from files: includes, overlays, defaults, secrets, hashes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from router.config import Loaded, Project, environments, load_project
from router.messages import Channel, Target
from router.planning import (
    Cause,
    PayloadContent,
    RequestContent,
    Route,
    Step,
    TemplateContent,
)

BASE = Path(__file__).parents[2] / "config" / "base"
ENVIRON = {
    "BOT_TOKEN": "123456:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "PARTNER_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(BASE, tmp_path, dirs_exist_ok=True)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text).removeprefix("\n"), "utf-8")


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text("utf-8") + dedent(text).removeprefix("\n"), "utf-8")


def project(root: Path, environment: str | None = None, **options: object) -> Project:
    loaded = load(root, environment, **options)
    assert loaded.project is not None, [p.headline() for p in loaded.problems]
    return loaded.project


def load(root: Path, environment: str | None = None, **options: object) -> Loaded:
    arguments: dict[str, object] = {"environ": ENVIRON} | options
    return load_project(root, environment, **arguments)  # type: ignore[arg-type]


def messages(loaded: Loaded) -> list[str]:
    return [f"{problem.code} {problem.message}" for problem in loaded.problems]


def route(root: Path, text: str, **options: object) -> Route:
    """The one route of a project whose only file of routes has this text."""
    write(root / "config/routes/payments.yaml", text)
    (found,) = project(root, **options).routes.values()
    return found


def steps(root: Path, deliver: str, head: str = "", **options: object) -> Mapping[str, Step]:
    """The steps of a route with this ``deliver:`` list."""
    lines = [
        *("routes:", "  r:", "    match: {type: a}", "    recipient: {id: data.user_id}"),
        *("    template: payment-failed",),
        *(f"    {line}" for line in dedent(head).strip("\n").split("\n") if line),
        "    deliver:",
        *(f"      {line}" for line in dedent(deliver).strip("\n").split("\n")),
    ]
    found = route(root, "\n".join(lines) + "\n", **options)
    return {step.id: step for step in found.steps}


# Links ---------------------------------------------------------------------------------------


def test_a_project_is_linked(root: Path) -> None:
    found = project(root)
    assert list(found.sinks) == ["mail", "mobile", "ops", "partner", "crm", "product", "growth"]
    assert found.sink_facts["mail"].channel is Channel.EMAIL
    assert found.sink_facts["mobile"].is_real is False
    assert found.directory.type == "event"
    linked = found.routes["payment-failed"]
    assert (linked.category, linked.owner) == ("billing", "billing-team")
    by_id = {step.id: step for step in linked.steps}
    assert by_id["mobile"].content == TemplateContent("payment-failed")
    assert by_id["mail"].fallback_for == "mobile"
    assert by_id["mail"].causes == {Cause.UNREACHABLE, Cause.REJECTED}
    assert by_id["ops"].to == Target("-1001", "telegram")
    assert by_id["partner"].content == PayloadContent()
    assert isinstance(by_id["crm"].content, RequestContent)
    assert [s.id for s in linked.steps if s.per_recipient] == ["mobile", "mail"]
    assert linked.selection is not None
    assert linked.selection.fields["id"].text == "data.user_id"


def test_every_part_has_its_place(root: Path) -> None:
    places = load(root).places
    for name in ("sinks.mail", "categories.billing", "routes.payment-failed", "ledger"):
        at = places[name]
        assert at.source.lines[at.line - 1][at.column - 1 :].startswith(name.split(".")[-1])
    assert places["routes.payment-failed.mail"].line == 11
    assert places["templates.payment-failed"].file.endswith("payment-failed/template.yaml")


def test_a_route_without_personal_steps_selects_nobody(root: Path) -> None:
    found = route(
        root, "routes: {r: {match: {type: a}, recipient: {id: data.id}, deliver: [partner]}}\n"
    )
    assert found.selection is None


def test_a_list_of_recipients_is_linked(root: Path) -> None:
    found = route(
        root,
        """
        routes:
          r:
            match: {type: a}
            template: payment-failed
            recipients:
              each: data.watchers
              id: item.id
              email: item.email
              except: data.author_id
              where: {item.active: true}
              max: 1000
              attributes: {slack: item.slack}
            deliver: [mail]
        """,
    )
    selection = found.selection
    assert selection is not None
    assert {name: path.text for name, path in selection.fields.items()} == {
        "id": "item.id",
        "email": "item.email",
        "slack": "item.slack",
    }
    assert selection.each is not None
    assert selection.excluded is not None
    assert (selection.each.text, selection.excluded.text) == ("data.watchers", "data.author_id")
    assert selection.where is not None
    assert selection.maximum == 1000


def test_with_of_a_step_goes_before_that_of_its_route(root: Path) -> None:
    found = steps(
        root,
        '- mobile\n- {sink: mail, with: {amount: {minor: 1, currency: "{{ data.currency }}"}}}',
        'with: {amount: "{{ data.sum }}"}',
    )
    for name, text in (("mobile", "{{ data.sum }}"), ("mail", "{{ data.currency }}")):
        content = found[name].content
        assert isinstance(content, TemplateContent)
        assert text in str(content.variables["amount"].literal)


def test_requests_may_run_per_recipient(root: Path) -> None:
    found = steps(root, "- {sink: crm, per: recipient, request: {path: /x}}")
    assert found["crm"].per_recipient


# Defaults ------------------------------------------------------------------------------------


def test_expiry_without_a_word_depends_on_the_channel(root: Path) -> None:
    found = steps(root, "- mobile\n- mail\n- {sink: ops, to: {chat: 5}}\n- partner")
    expires = {name: step.expires for name, step in found.items()}
    assert expires == {"mobile": 86400, "mail": 3 * 86400, "ops": 86400, "partner": None}


def test_the_nearest_default_wins(root: Path) -> None:
    append(
        root / "config/router.yaml",
        """
          urgent: {description: Now, expires: 3h}
          calm: {description: Later}
        defaults: {expires: 1h, in_doubt: dead_letter, owner: all, on_unknown: wait}
        """,
    )
    text = """
        defaults: {expires: 2h, owner: file}
        routes:
          of-file:
            match: {type: a}
            recipient: {id: id}
            template: payment-failed
            deliver: [mail]
          of-category:
            match: {type: a}
            recipient: {id: id}
            template: payment-failed
            category: urgent
            deliver: [mail]
          of-route:
            match: {type: a}
            recipient: {id: id}
            template: payment-failed
            category: urgent
            owner: route
            on_unknown: suppress
            policy: {expires: 4h, in_doubt: resend}
            deliver: [mail, {sink: mobile, expires: never}]
        """
    write(root / "config/routes/payments.yaml", text)
    routes = project(root).routes
    found = {name: (r.steps[0].expires, r.owner, r.on_unknown) for name, r in routes.items()}
    assert found == {
        "of-file": (7200, "file", "wait"),
        "of-category": (10800, "file", "wait"),
        "of-route": (14400, "route", "suppress"),
    }
    assert routes["of-route"].steps[1].expires is None
    assert routes["of-file"].steps[0].in_doubt == "dead_letter"
    assert routes["of-route"].steps[0].in_doubt == "resend"


# Files ---------------------------------------------------------------------------------------


def test_the_path_may_be_the_file_or_a_folder_above(root: Path) -> None:
    for path in (root, root / "config", root / "config/router.yaml"):
        assert project(path).root == (root / "config").as_posix()


def test_files_that_were_read_are_listed_once(root: Path) -> None:
    names = [Path(name).relative_to(root).as_posix() for name in project(root).files]
    assert names[:2] == ["config/router.yaml", "templates/payment-failed/chat.html"]
    assert "config/routes/payments.yaml" in names
    assert len(names) == len(set(names))


def test_a_file_that_two_patterns_name_is_read_once(root: Path) -> None:
    router = root / "config/router.yaml"
    text = router.read_text("utf-8").replace("[routes/*.yaml]", "[routes/pay*.yaml, routes/*.yaml]")
    router.write_text(text, "utf-8")
    assert list(project(root).routes) == ["payment-failed"]


def test_a_part_of_a_file_may_stand_in_another(root: Path) -> None:
    write(
        root / "config/maps/match.yaml", "type: payment.failed\ndata.amont: {gte: 5}\nnope.x: 1\n"
    )
    write(
        root / "config/routes/payments.yaml",
        "routes: {r: {match: !include maps/match.yaml, deliver: [partner]}}\n",
    )
    (problem,) = load(root).problems
    assert problem.at is not None
    assert problem.at.file.endswith("config/maps/match.yaml")
    assert problem.at.line == 3


def test_a_link_that_leads_out_is_refused(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.yaml"
    outside.write_text("routes: {}\n", "utf-8")
    (root / "config/routes/link.yaml").symlink_to(outside)
    assert [p.code for p in load(root).problems] == ["E010"]


def test_links_inside_are_followed(root: Path) -> None:
    """A mounted ConfigMap is made of links."""
    data = root / "config/..data"
    data.mkdir()
    (root / "config/routes/payments.yaml").rename(data / "payments.yaml")
    (root / "config/routes/payments.yaml").symlink_to("../..data/payments.yaml")
    assert list(project(root).routes) == ["payment-failed"]


@pytest.mark.parametrize("path", ["nowhere", "nowhere/router.yaml"])
def test_a_project_that_is_not_there_is_a_problem(tmp_path: Path, path: str) -> None:
    (problem,) = load(tmp_path / path).problems
    assert problem.code == "E009"


# Environments --------------------------------------------------------------------------------


def test_overlays_are_listed(root: Path) -> None:
    write(root / "config/env/dev.yaml", "production: false\n")
    assert environments(root) == ["dev", "prod"]


def test_an_overlay_is_laid_over(root: Path) -> None:
    write(
        root / "config/env/dev.yaml",
        """
        divert: {email: qa@acme.io, push: suppress, telegram: "-1001", max: suppress}
        sinks:
          mail: {type: console, channel: email}
          partner: null
          hook: !new {type: console, channel: request}
        """,
    )
    routes = root / "config/routes/payments.yaml"
    routes.write_text(routes.read_text("utf-8").replace("- partner", "- hook"), "utf-8")
    found = project(root, "dev")
    assert found.environment == "dev"
    assert found.production is False
    assert found.sink_facts["mail"].type == "console"
    assert set(found.sinks) == {"mail", "mobile", "ops", "crm", "product", "growth", "hook"}
    assert found.divert is not None
    assert found.divert.targets == {Channel.EMAIL: "qa@acme.io", Channel.PUSH: None}
    assert found.divert.by_kind == {"telegram": "-1001", "max": None}


def test_an_unknown_environment_is_a_problem(root: Path) -> None:
    (message,) = messages(load(root, "prd"))
    assert message == 'E004 there is no environment "prd". Did you mean "prod"? Environments: prod'


def test_a_value_that_the_overlay_replaces_needs_no_variable(root: Path) -> None:
    write(
        root / "config/env/dev.yaml",
        """
        sinks:
          ops: {type: console, channel: chat}
          partner: {type: console, channel: request}
        """,
    )
    assert project(root, "dev", environ={}).sink_facts["ops"].type == "console"


# Variables and secrets -----------------------------------------------------------------------


def test_the_process_environment_is_the_default(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    assert load_project(root).project is not None


def test_secrets_may_be_left_unread(root: Path) -> None:
    found = project(root, environ={}, read_secrets=False)
    assert "token=***" in repr(found.sinks["ops"])


def test_a_secret_from_a_file_ends_before_the_line_end(root: Path) -> None:
    write(root / "config/secrets/bot", ENVIRON["BOT_TOKEN"] + "\n")
    router = root / "config/router.yaml"
    text = router.read_text("utf-8").replace("!env BOT_TOKEN", "!file secrets/bot")
    router.write_text(text, "utf-8")
    assert project(root).sinks["ops"].token.reveal() == ENVIRON["BOT_TOKEN"]  # type: ignore[attr-defined]


def test_offline_a_project_needs_no_environment(root: Path) -> None:
    router = root / "config/router.yaml"
    text = router.read_text("utf-8")
    text = text.replace("mail.acme.io", "${SMTP_HOST}\n    port: ${SMTP_PORT}\n    timeout: ${T}")
    router.write_text(text, "utf-8")
    assert load(root).project is None
    found = load(root, environ={}, read_secrets=False, offline=True)
    assert messages(found) == []
    assert found.project is not None


def test_an_unquoted_variable_in_a_match_is_typed(root: Path) -> None:
    text = """
        routes:
          r:
            match:
              data.amount: ${MIN}
            deliver: [partner]
        """
    (operand,) = {route(root, text, environ=ENVIRON | {"MIN": "5"}).match.operand}  # type: ignore[union-attr]
    assert operand == 5
    assert type(operand) is int


# Hashes --------------------------------------------------------------------------------------


def test_the_same_content_has_the_same_hash(root: Path, tmp_path: Path) -> None:
    first = project(root)
    append(root / "config/router.yaml", "# a comment\n")
    again = project(root)
    assert first.hash == again.hash
    assert first.part_hashes == again.part_hashes


def test_only_what_changed_has_another_hash(root: Path) -> None:
    before = project(root)
    router = root / "config/router.yaml"
    router.write_text(router.read_text("utf-8").replace("mail.acme.io", "mx.acme.io"), "utf-8")
    after = project(root)
    changed = {k for k, v in after.part_hashes.items() if before.part_hashes[k] != v}
    assert changed == {"sinks.mail"}
    assert before.hash != after.hash


def test_a_rotated_secret_changes_its_sink(root: Path) -> None:
    before = project(root)
    rotated = ENVIRON | {"BOT_TOKEN": ENVIRON["BOT_TOKEN"].replace("A", "B")}
    after = project(root, environ=rotated)
    changed = {k for k, v in after.part_hashes.items() if before.part_hashes[k] != v}
    assert changed == {"sinks.ops"}


def test_a_template_changes_the_routes_that_use_it(root: Path) -> None:
    other = "routes: {other: {match: {type: b}, deliver: [partner]}}\n"
    write(root / "config/routes/other.yaml", other)
    before = project(root).routes
    append(root / "templates/payment-failed/chat.html", "<i>soon</i>\n")
    after = project(root).routes
    assert [name for name in after if after[name].digest != before[name].digest] == [
        "payment-failed"
    ]


# Extensions ----------------------------------------------------------------------------------


def test_extension_keys_hold_anchors_at_every_level(root: Path) -> None:
    append(root / "config/router.yaml", "x-slow: &slow {timeout: 30s}\n")
    found = route(
        root,
        """
        x-big: &big {gte: 10000}
        routes:
          x-base: &base {template: payment-failed, recipient: {id: data.user_id}}
          r:
            <<: *base
            x-note: anything
            match: {type: a, data.amount: *big}
            deliver: [{sink: mail, x-note: anything}]
        """,
    )
    assert found.id == "r"
    assert isinstance(found.steps[0].content, TemplateContent)
