"""One router for several: each has its own sinks, people and limits, and never another's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from time import monotonic, time
from typing import Any

import pytest

from router.authoring.lint import lint
from router.authoring.rehearsed import Verdict
from router.clock import SystemClock
from router.config import Loaded, Project, load_project
from router.delivery import Reporting
from router.directories import KINDS as DIRECTORIES
from router.events import Feedback, Record
from router.ledger import Kind
from router.messages import Delivered, Outcome, Parcel, Reason, Rejected, Retry
from router.recipients import Recipient
from router.values import Secret
from tests.contract.planning.builders import People, lay_out, record, rehearsed
from tests.contract.planning.running import Ran, Sent, ledger_file, memory_ledger, run

pytestmark = pytest.mark.anyio

SINKS = """\
mail:
  type: smtp
  host: mail.group.example
  from: hello@group.example
  username: group
  password: !env GROUP_SMTP
bot: {type: telegram, token: !env GROUP_BOT}
fcm: {type: console, channel: push}
phones: {type: by_platform, android: fcm}
"""
ROUTES = """\
paid:
  match: {type: order.paid}
  recipient: {id: data.user_id}
  template: paid
  deliver: [mail, {sink: bot, fallback_for: mail}]
noted:
  match: {type: order.paid, data.note: {exists: true}}
  recipient: {id: data.user_id}
  template: paid
  deliver: [mail]
"""
TENANTS = """\
brand: {name: Group}
tenants: {by: data.tenant, include: [tenants/*.yaml]}
"""
FILES = {
    "templates/paid/template.yaml": "description: Paid\n",
    "templates/paid/email.txt": "---\nsubject: Paid\n---\nThank you\n",
    "templates/paid/chat.html": "Thank you\n",
    "templates/paid/push.txt": "---\ntitle: Paid\n---\nThank you\n",
}
ACME = """\
brand: {name: Acme}
sinks:
  mail: {from: hello@acme.example, username: acme, password: !env ACME_SMTP}
"""
ENVIRON = {"GROUP_SMTP": "group-secret", "ACME_SMTP": "acme-secret", "GROUP_BOT": "1:" + "A" * 35}
SHARED = {"acme": ACME, "globex": "brand: {name: Globex}\n"}


def loaded(
    root: Path,
    tenants: Mapping[str, str] = SHARED,
    *,
    section: str = TENANTS,
    routes: str = ROUTES,
    files: Mapping[str, str] = {},
    environment: str | None = None,
) -> Loaded:
    for old in root.glob("config/tenants/*.yaml"):
        old.unlink()
    written = {f"config/tenants/{name}.yaml": text for name, text in tenants.items()}
    config = lay_out(root, SINKS, routes, {**FILES, **written, **files})
    router = config / "router.yaml"
    router.write_text(router.read_text("utf-8") + dedent(section), "utf-8")
    return load_project(config, environment, environ=ENVIRON)


def project(root: Path, tenants: Mapping[str, str] = SHARED, **options: Any) -> Project:
    found = loaded(root, tenants, **options)
    assert found.project is not None, [problem.render() for problem in found.problems]
    return found.project


def paid(tenant: str | None, number: int = 1, user: str = "u1", **data: Any) -> Record:
    """``number`` tells events apart."""
    body = {"id": f"order-{number}", "user_id": user, "tenant": tenant, **data}
    return record("order.paid", body, at=time(), offset=number)


EVERYBODY = People({"u1": Recipient("u1", email="u1@x.example", telegram="1001")})


async def sent_of(found: Project, *records: Record, sent: Sent | None = None) -> tuple[Ran, Sent]:
    sent = sent or Sent()
    async with memory_ledger() as ledger:
        return await run(found, records, sent, EVERYBODY, ledger), sent


# Configuration -----------------------------------------------------------------------------------


def test_a_tenants_sink_is_the_projects_with_its_options_over_it(tmp_path: Path) -> None:
    found = project(tmp_path)
    own, shared = dict(found.sinks["mail@acme"]), dict(found.sinks["mail"])
    assert {name for name in own if own[name] != shared[name]} == {"sender", "username", "password"}
    assert own["password"] == Secret("acme-secret")
    assert found.tenants.named["acme"].sinks == {"mail": "mail@acme"}
    assert found.tenants.named["acme"].brand == {"name": "Acme"}
    assert set(found.sinks) == {"mail", "bot", "fcm", "mail@acme"}


def test_an_overlay_changes_single_tenants(tmp_path: Path) -> None:
    overlay = """\
    production: true
    brand: {phone: "112"}
    tenants:
      default: acme
      named:
        acme: {sinks: {mail: {host: mail.acme.example, from: null, username: staging}}}
        globex: null
    """
    acme = ACME.replace("sinks:", "  # its own\nsinks:")
    files = {"config/env/prod.yaml": overlay}
    problems = loaded(tmp_path, {**SHARED, "acme": acme}, files=files, environment="prod").problems
    assert [str(p.headline()) for p in problems] == []
    found = project(tmp_path, files=files, environment="prod")
    mail = found.sinks["mail@acme"].model_dump()
    assert (mail["host"], mail["username"]) == ("mail.acme.example", "staging")
    assert mail["sender"] == found.sinks["mail"].model_dump()["sender"]
    assert list(found.tenants.named) == ["acme"]
    assert found.tenants.default == "acme"
    assert found.tenants.named["acme"].brand == {"name": "Acme", "phone": "112"}


def test_only_what_changed_of_a_tenant_is_another_part(tmp_path: Path) -> None:
    before = project(tmp_path).part_hashes
    rotated = ENVIRON | {"ACME_SMTP": "another"}
    after = load_project(tmp_path / "config", environ=rotated).project
    assert after is not None
    changed = {name for name, part in after.part_hashes.items() if before[name] != part}
    assert changed == {"sinks.mail@acme"}
    renamed = project(tmp_path, SHARED | {"globex": "brand: {name: Globex Inc}\n"}).part_hashes
    assert {n for n, part in renamed.items() if before[n] != part} == {"tenants.globex"}


def test_a_thousand_tenants_load_in_seconds(tmp_path: Path) -> None:
    many = {f"t{n}": ACME.replace("acme.example", f"t{n}.example") for n in range(1000)}
    lay = loaded(tmp_path, many)
    started = monotonic()
    again = load_project(tmp_path / "config", environ=ENVIRON)
    assert monotonic() - started < 10
    assert lay.project is not None
    assert again.project is not None
    assert len(again.project.sinks) == 1003


def test_what_holds_for_all_is_found_once(tmp_path: Path) -> None:
    many = {f"t{n}": ACME for n in range(5)}
    found = loaded(tmp_path, many)
    assert found.project is not None
    codes = Counter(p.code for p in lint(found, is_run=True))
    assert codes["S407"] == len({"mail", "bot"})
    assert codes["S401"] == len({"fcm", "phones"})


# Sending -----------------------------------------------------------------------------------------


async def test_each_goes_through_its_own_sink_or_the_shared_one(tmp_path: Path) -> None:
    ran, sent = await sent_of(project(tmp_path), paid("acme", 1), paid("globex", 2))
    assert sorted(sent.addresses) == [("mail", "u1@x.example"), ("mail@acme", "u1@x.example")]
    assert ran.metrics.balance(sink="mail@acme").delivered == 1


async def test_an_unknown_tenant_is_one_dead_letter_and_nothing_is_sent(tmp_path: Path) -> None:
    found = project(tmp_path)
    ran, sent = await sent_of(
        found, paid("acne", 1, note="two routes match"), paid(None, 2), record("order.lost")
    )
    assert sent.parcels == []
    told = {(letter.reason.code, letter.stage) for letter in ran.letters.letters}
    assert told == {("unknown_tenant", "tenant")}
    assert [letter.record.offset for letter in ran.letters.letters] == [1, 2]
    assert 'no tenant "acne"; the nearest is "acme"' in ran.letters.letters[0].reason.text
    shown = ran.metrics.render().decode()
    assert 'router_events_total{outcome="unknown_tenant",topic="payments"} 2.0' in shown
    assert 'router_events_total{outcome="unmatched",topic="payments"} 1.0' in shown


async def test_who_names_no_tenant_is_the_defaults(tmp_path: Path) -> None:
    section = TENANTS.replace("include", "default: acme, include")
    _, sent = await sent_of(project(tmp_path, section=section), paid(None))
    assert [sink for sink, _ in sent.addresses] == ["mail@acme"]


async def test_the_same_event_and_person_of_two_tenants_is_two_deliveries(tmp_path: Path) -> None:
    """Nor do limits of one count for the other."""
    routes = """\
    paid:
      match: {type: order.paid}
      recipient: {id: data.user_id}
      template: paid
      deliver: [mail]
      policy: {throttle: {limit: 1, per: 1h}, dedupe: {key: data.id, window: 1h}}
    """
    found = project(tmp_path, routes=routes)
    records = [paid("acme", 1), paid("globex", 1), paid("acme", 2), paid("globex", 2)]
    ran, sent = await sent_of(found, *records)
    assert sorted(sink for sink, _ in sent.addresses) == ["mail", "mail@acme"]
    refused = [r.reason.code for r in ran.rows if r.reason is not None]
    assert refused == ["throttled", "throttled"]


async def test_an_address_that_died_for_one_lives_for_the_other(tmp_path: Path) -> None:
    found = project(tmp_path, {"acme": "brand: {}\n", "globex": "brand: {}\n"})

    def dead(sink: str, parcel: Parcel) -> Outcome:
        if sink == "mail":
            return Rejected(Reason("unregistered"), recipient_gone=True)
        return Delivered()

    async with memory_ledger() as ledger:
        await run(found, [paid("acme", 1)], Sent(dead), EVERYBODY, ledger)
        for tenant, way in (("acme", "bot"), ("globex", "mail")):
            sent = Sent()
            await run(found, [paid(tenant, 2)], sent, EVERYBODY, ledger)
            assert [sink for sink, _ in sent.addresses] == [way]


async def test_a_group_leads_to_a_tenants_own_member(tmp_path: Path) -> None:
    routes = """\
    paid:
      match: {type: order.paid}
      recipient: {id: data.user_id, devices: data.devices}
      template: paid
      deliver: [phones]
    """
    tenants = SHARED | {"acme": "sinks: {fcm: {colour: never}}\n"}
    devices = [{"id": "d", "token": "t", "platform": "android"}]
    _, sent = await sent_of(
        project(tmp_path, tenants, routes=routes),
        paid("acme", 1, devices=devices),
        paid("globex", 2, devices=devices),
    )
    assert sorted(sink for sink, _ in sent.addresses) == ["fcm", "fcm@acme"]


async def test_the_tenant_is_told_in_dead_letters_and_feedback(tmp_path: Path) -> None:
    class Heard:
        def __init__(self) -> None:
            self.feedback: list[Feedback] = []

        async def publish(self, items: Any, /) -> None:
            self.feedback += items

    heard = Heard()
    sent = Sent(lambda sink, parcel: Rejected(Reason("bad_request")))
    async with memory_ledger() as ledger:
        ran = await run(
            project(tmp_path),
            [paid("acme")],
            sent,
            EVERYBODY,
            ledger,
            reporting=Reporting(heard, ("rejected",), 100),
            until=lambda: len(heard.feedback) > 0,
        )
    assert {letter.tenant for letter in ran.letters.letters} == {"acme"}
    assert {one.data["tenant"] for one in heard.feedback} == {"acme"}


async def test_what_waits_for_a_tenant_that_is_gone_is_parked(tmp_path: Path) -> None:
    """It goes once the tenant is back; nobody else's sink is used meanwhile."""
    sent = Sent(lambda sink, parcel: Retry(Reason("busy"), after=0.0))
    async with ledger_file(tmp_path / "ledger.db") as ledger:
        await run(project(tmp_path), [paid("acme")], sent, EVERYBODY, ledger)
        assert {sink for sink, _ in sent.addresses} == {"mail@acme"}
        gone = project(tmp_path, {"globex": SHARED["globex"]})
        meanwhile = Sent()
        ran = await run(gone, [paid("acme", 2)], meanwhile, EVERYBODY, ledger)
        assert meanwhile.parcels == []
        assert [letter.reason.code for letter in ran.letters.letters] == ["unknown_tenant"]
        back = Sent()
        await run(
            project(tmp_path), [], back, EVERYBODY, ledger, until=lambda: len(back.parcels) > 0
        )
        assert [sink for sink, _ in back.addresses] == ["mail@acme"]
        assert not [r for r in await ledger.rows(kind=Kind.DELIVERY) if r.state == "dead"]


async def test_a_rate_that_a_tenant_sets_is_its_own(tmp_path: Path) -> None:
    """With the same credentials too: one tenant's low rate holds up nobody else."""
    slow = "sinks: {mail: {rate: 1/1h}}\n"
    found = project(tmp_path, {"acme": slow, "globex": "brand: {}\n"})
    records = [paid(tenant, n) for n in range(3) for tenant in ("acme", "globex")]
    sent = Sent()
    async with memory_ledger() as ledger:
        await run(found, records, sent, EVERYBODY, ledger, until=lambda: len(sent.to("mail")) == 3)
    assert len(sent.to("mail@acme")) == 1


# People ------------------------------------------------------------------------------------------

PEOPLE = """\
- {id: u1, tenant: acme, email: u1@acme.example}
- {id: u1, tenant: globex, email: u1@globex.example}
- {id: u2, tenant: acme, email: u2@acme.example}
- {id: u3, email: u3@group.example}
"""


async def test_a_tenant_finds_its_own_people_and_everybodys(tmp_path: Path) -> None:
    (tmp_path / "people.yaml").write_text(PEOPLE, "utf-8")
    kind = DIRECTORIES.load("file")
    config = kind.config.model_validate({"type": "file", "path": str(tmp_path / "people.yaml")})
    found: dict[str, list[str | None]] = {}
    async with kind.open(config, clock=SystemClock()) as directory:
        for tenant in ("acme", "globex", ""):
            answers = await directory.lookup(["u1", "u2", "u3"], tenant)
            found[tenant] = [getattr(one, "email", None) for one in answers]
    assert found == {
        "acme": ["u1@acme.example", "u2@acme.example", "u3@group.example"],
        "globex": ["u1@globex.example", None, "u3@group.example"],
        "": [None, None, "u3@group.example"],
    }


# Rehearsal ---------------------------------------------------------------------------------------


def test_a_dry_run_shows_whose_an_event_is(tmp_path: Path) -> None:
    found = project(tmp_path)
    events = rehearsed(found, paid("acme", 1), paid("acne", 2), people=EVERYBODY.people, now=time())
    assert [event.tenant for event in events] == ["acme", ""]
    [line, *_] = events[0].routes[0].lines
    assert (line.verdict, line.sink) == (Verdict.NOW, "mail@acme")
    assert events[1].dead is not None
    assert events[1].dead.code == "unknown_tenant"
    assert events[1].routes == ()
