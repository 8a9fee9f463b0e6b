"""Each finding, on a project that is clean but for the one thing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from router.authoring.check import check_project
from router.authoring.codes import CODES
from router.problems import Severity
from tests.contract.authoring.builders import (
    LAYOUT,
    ROUTER,
    ROUTES,
    SAMPLE,
    replaced,
    write_project,
)

MATCH = "match: {type: order.paid}"
DELIVER = "deliver: [mail]"
SMTP = "{type: smtp, host: mail.example.com, from: a@example.com, security: none}"
ONE_MORE = """
      other:
        match: {type: order.paid}
        recipient: {id: data.user}
        template: note
        deliver: [mail]
    """


def routes(*changes: tuple[str, str]) -> dict[str, Any]:
    return {"routes": replaced(ROUTES, *changes)}


def router(*changes: tuple[str, str]) -> dict[str, Any]:
    return {"router": replaced(ROUTER, *changes)}


def two_sinks(step: str) -> dict[str, Any]:
    return router(
        ("sinks:", "sinks:\n      hook: {type: webhook, url: https://x.example, unsigned: true}")
    ) | routes((DELIVER, f"deliver: [mail, {step}]"))


def found(folder: Path, environment: str | None = None, **parts: Any) -> list[str]:
    """``code message`` of every finding; ``environment`` picks those of one."""
    config = write_project(folder, **parts)
    report = check_project(config)
    problems = [
        (problem, names)
        for problem, names in report.problems
        if environment is None or environment in names
    ]
    for problem, _ in problems:
        assert problem.severity is Severity.WARNING or problem.code == "S302"
        assert problem.at is not None, problem.headline()
    return [f"{problem.code} {problem.message}" for problem, _ in problems]


def test_the_project_below_all_cases_is_clean(tmp_path: Path) -> None:
    assert found(tmp_path) == []


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a route that never matches": (
        routes((MATCH, "match: {type: order.paid, data.total: {gt: 5, lt: 3}}")),
        "R301",
        'route "paid" can never match: nothing is data.total: {gt: 5} and data.total: {lt: 3}',
    ),
    "a route that repeats another": (
        {"routes": ROUTES.rstrip() + ONE_MORE},
        "R302",
        'route "other" sends the same to the same people as "paid"',
    ),
    "a fallback of the same address": (
        router(("sinks:", f"sinks:\n      smtp: {{{SMTP[1:-1]}, real: false}}"))
        | routes(
            (
                DELIVER,
                "deliver: [smtp, {sink: mail, fallback_for: smtp, causes: [unreachable]},"
                " {id: two, sink: smtp, fallback_for: smtp, causes: [unreachable]}]",
            )
        ),
        "R303",
        'fallback "two" helps nobody: who has no email address for "smtp" has none for it either',
    ),
    "a fallback of a fixed address": (
        routes(
            (
                DELIVER,
                "deliver: [{id: a, sink: mail, per: event, to: {email: x@example.com}}, {id: b,"
                " sink: mail, to: {email: y@example.com}, fallback_for: a, causes: [unreachable]}]",
            )
        ),
        "R303",
        'fallback "b" can never start: "a" sends to a fixed address and is never unreachable',
    ),
    "a number compared with text": (
        routes((MATCH, "match: {type: order.paid, data.size: {gte: 10}}")),
        "R304",
        "data.size: {gte: 10} compares with a number, but data.size is text in every sample, such"
        ' as "42": never equal',
    ),
    "text compared with a number": (
        routes((MATCH, 'match: {type: order.paid, data.total: "5"}')),
        "R304",
        'data.total: "5" compares with text, but data.total is a number in every sample, such as'
        " 5: never equal",
    ),
    "a list compared with one value": (
        routes((MATCH, "match: {type: order.paid, data.tags: new}")),
        "R305",
        "data.tags is a list in every sample; write data.tags: {any_of: [new]}",
    ),
    "one value compared as a list": (
        routes((MATCH, "match: {type: order.paid, data.size: {any_of: ['42']}}")),
        "R305",
        'data.size is text in every sample, and any_of is for lists; write data.size: ["42"]',
    ),
    "a path sent as it is written": (
        routes(("template: note", "template: note\n        with: {total: data.total}")),
        "R306",
        '"data.total" is sent as these 10 characters; for the value write "{{ data.total }}"',
    ),
    "a throttle below which nothing is left to refuse": (
        routes((DELIVER, "policy: {throttle: {limit: 2, per: 1h}}\n        deliver: [mail]"))
        | router(
            (
                "orders: {description: Orders}",
                "orders: {description: Orders, throttle: {limit: 50, per: 1d}}",
            )
        ),
        "R312",
        "a throttle of limit 50 within 1d never refuses anything: those below it (route:paid) let"
        " through 48 in that time; write a limit below 48",
    ),
    "a cancel_on that waits for a misspelt type": (
        routes(
            (
                DELIVER,
                "policy: {delay: 1h, cancel_on: {match: {type: order.payd}, same: data.user}}\n"
                "        deliver: [mail]",
            )
        ),
        "R313",
        'cancel_on of route "paid" waits for events of type "order.payd", which no route and no'
        ' sample has. Did you mean "order.paid"?',
    ),
    "an urgent message in order behind bulk": (
        {
            "routes": """\
            defaults: {category: orders}
            routes:
              fast:
                match: {type: order.paid}
                recipient: {id: data.user}
                template: note
                policy: {ordering: key, priority: urgent}
                deliver: [mail]
              slow:
                match: {type: order.sold}
                recipient: {id: data.user}
                template: note
                policy: {ordering: key, priority: bulk}
                deliver: [mail]
            """
        },
        "R314",
        'step "mail" of route "fast" is urgent, but waits for the bulk messages of route "slow": in'
        ' sink "mail" both are in order of their key; write ordering: none, or the same priority',
    ),
    "holds that outlast the message together": (
        routes(
            (
                DELIVER,
                'policy: {delay: 3h, quiet_hours: {from: "22:00", to: "08:00"}, expires: 12h}\n'
                "        deliver: [mail]",
            )
        ),
        "R311",
        'step "mail" may be kept back for 13h (delay 3h, quiet hours 10h), but its messages expire'
        " after 12h: some never arrive; write an expires: above 13h",
    ),
    "nobody to send to": (
        router(
            ("    directory: {type: file, path: people.yaml}\n", ""),
            ("{type: console, channel: email}", f"{{{SMTP[1:-1]}, real: false}}"),
        ),
        "R307",
        'step "mail" reaches nobody: there is no directory, and the route takes no email address'
        " from the event; write email: under recipient:",
    ),
    "an expiry beyond the ledger's memory": (
        routes((DELIVER, "deliver: [{sink: mail, expires: 30d}]")),
        "R308",
        'step "mail" may send for 30d after the event, but the ledger forgets after 7d: an event'
        " read again later would be sent again; raise ledger.retention",
    ),
    "a template that nothing uses": (
        {
            "more": {
                "templates/lost/template.yaml": "locales: {required: [en], default: en}\n",
                "templates/lost/email.txt": "---\nsubject: Lost\n---\nLost\n",
            }
        },
        "T201",
        'no route uses template "lost"',
    ),
    "a variable that no sample has": (
        {
            "template": "locales: {required: [en], default: en}\n"
            "variables: {total: {type: integer}, note: {type: text, optional: true}}\n",
            "layout": "---\nsubject: Thanks\n---\n{{ total }}{% if note %}{{ note }}{% endif %}\n",
        },
        "T202",
        'no sample of "note" has note: what depends on it is never seen; add it to a sample',
    ),
    "a field that no sample has": (
        {"layout": LAYOUT.replace("{{", "{% if total > 9 %}{{ data.x }}{% endif %}{{")},
        "T202",
        'no sample of "note" has data.x',
    ),
    "a sink that nothing uses": (
        router(("sinks:", "sinks:\n      lost: {type: console}")),
        "S401",
        'no route uses sink "lost"',
    ),
    "a category of no route": (
        router(("categories:", "categories:\n      lost: {description: Lost}")),
        "S402",
        'no route belongs to category "lost"',
    ),
    "a webhook without signature": (
        two_sinks("hook"),
        "S403",
        'webhook "hook" is not signed: its receiver can\'t tell the router from anybody else; give'
        " it secrets:",
    ),
    "a memory ledger in production": (
        {"overlays": {"prod": "production: true\nledger: {type: memory}\n"}},
        "S405",
        "a production environment with a memory ledger: after every restart, events are sent again"
        " and waiting messages are lost; write type: sqlite",
    ),
    "own outputs among a source's topics": (
        router(
            ("{type: stdin}", "{type: kafka, bootstrap: 'k:9092', group: g, pattern: 'router.*'}")
        ),
        "S408",
        'the pattern of source "main" takes in router.dead-letters, where the router writes dead'
        " letters: they would come back as events",
    ),
    "a sink that publishes to a source": (
        router(
            ("{type: stdin}", "{type: kafka, bootstrap: 'k:9092', group: g, topics: [orders]}"),
            (
                "sinks:",
                "sinks:\n      out: {type: kafka, bootstrap: 'j:9092,k:9092', topic: orders}",
            ),
        )
        | routes((DELIVER, "deliver: [mail, {sink: out, request: {json: {a: 1}}}]")),
        "S409",
        'sink "out" publishes on orders, which source "main" reads: each record comes back as an'
        " event, and may go round for ever",
    ),
    "a password that anybody can read": (
        router(
            (
                "sinks:",
                "sinks:\n      relay: {type: smtp, host: h.example, from: a@example.com,"
                " username: u, password: in-the-file}",
            )
        ),
        "S410",
        "this secret can be read in the file; write !env NAME or !file PATH",
    ),
    "a tenant's password that anybody can read": (
        {
            "router": replaced(
                ROUTER,
                (
                    "sinks:",
                    "tenants: {by: data.tenant, include: [tenants/*.yaml]}\n    sinks:\n"
                    "      relay: {type: smtp, host: h.example, from: a@example.com, username: u,"
                    " password: !env RELAY}",
                ),
            ),
            "more": {"config/tenants/acme.yaml": "sinks: {relay: {password: in-the-file}}\n"},
        },
        "S410",
        "this secret can be read in the file; write !env NAME or !file PATH",
    ),
    "a variable as a shell writes it": (
        router(("path: ledger.db", "path: $LEDGER_PATH")),
        "S412",
        '"$LEDGER_PATH" is text; for the variable write ${LEDGER_PATH}',
    ),
    "a file of people with a mistake": (
        {"more": {"config/people.yaml": "u1: {nmae: Ann, email: ann@example.com}\n"}},
        "S411",
        'people.yaml: line 1: unknown field "nmae". Did you mean "name"? Fields: attributes,'
        " devices, email, endpoints, id, locale, max, name, preferences, telegram, tenant,"
        " timezone; until it is mended, everybody's messages wait",
    ),
    "a person of an unknown time zone and locale": (
        {
            "more": {
                "config/people.yaml": "u1: {email: ann@example.com, timezone: Europe/Moskow}\n"
                "u2: {locale: russian, timezone: Europe/Oslo}\nu3: {locale: pt_br}\n"
            }
        },
        "S411",
        'people.yaml: line 1: unknown time zone "Europe/Moskow", which counts as none. Did you'
        ' mean "Europe/Moscow"?; line 2: "russian" is not a locale, and counts as none',
    ),
    "a file of people that is not there": (
        router(("people.yaml", "persons.yaml")),
        "S411",
        "persons.yaml: it can't be read: No such file or directory; until it is mended, everybody's"
        " messages wait",
    ),
    "a digest that is not told of": (
        routes(("template: note", "template: note\n        policy: {digest: {window: 15m}}")),
        "R309",
        'route "paid" has a digest, and template "note" never reads digest: it tells of the newest'
        " event only",
    ),
    "nothing that could be cancelled": (
        routes(
            (
                "template: note",
                "template: note\n        policy: {cancel_on: {match: {type: b}, same: data.id}}",
            )
        ),
        "R310",
        'route "paid" has cancel_on, but sends at once: only what is retried can be cancelled;'
        " write delay: or a digest",
    ),
    "a delay beyond the expiry": (
        routes(("template: note", "template: note\n        policy: {delay: 2h, expires: 1h}")),
        "R311",
        'step "mail" waits 2h, but its messages expire after 1h: none is ever sent',
    ),
    "quiet hours beyond the expiry": (
        routes(
            (
                "template: note",
                'template: note\n        policy: {expires: 6h, quiet_hours: {from: "22:00", to:'
                ' "08:00"}}',
            )
        ),
        "R311",
        'step "mail" is kept back for up to 10h by quiet hours, but its messages expire after 6h:'
        " those of the evening never arrive; write a longer expires:, or quiet_hours: none",
    ),
    "a digest that nothing collects": (
        {"layout": "---\nsubject: T\n---\n{{ total }} {{ digest.count if digest else 1 }}\n"},
        "T203",
        'template "note" reads digest, and no route that uses it has a digest',
    ),
}
OF_ENVIRONMENTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "mail as plain text": (
        {"overlays": {"dev": f"sinks: {{mail: {{{SMTP[1:-1]}, real: false}}}}\n"}},
        "S404",
        'sink "mail" speaks plain text to mail.example.com: mail can be read on the way; write'
        " security: starttls",
    ),
    "real people without a divert": (
        {"overlays": {"dev": "sinks: {mail: {real: true}}\n"}},
        "S407",
        'sink "mail" writes to real people, and this environment is not production: true; write'
        " divert: {email: …}, or real: false in the sink",
    ),
    "an ephemeral ledger with real sinks": (
        {
            "overlays": {
                "dev": "production: true\nledger: {ephemeral: true}\nsinks: {mail: {real: true}}\n"
            }
        },
        "S406",
        "the ledger is ephemeral, but there are real sinks: with the disk go waiting messages and"
        " the memory of what was sent",
    ),
}


@pytest.mark.parametrize(("parts", "code", "message"), CASES.values(), ids=CASES)
def test_finding(tmp_path: Path, parts: dict[str, Any], code: str, message: str) -> None:
    assert f"{code} {message}" in found(tmp_path, **parts)


@pytest.mark.parametrize(
    ("parts", "code", "message"), OF_ENVIRONMENTS.values(), ids=OF_ENVIRONMENTS
)
def test_finding_about_one_environment(
    tmp_path: Path, parts: dict[str, Any], code: str, message: str
) -> None:
    assert found(tmp_path, "dev", **parts) == [f"{code} {message}"]
    assert found(tmp_path, "base", **parts) == []


def test_every_code_has_a_case() -> None:
    assert {code for _, code, _ in (CASES | OF_ENVIRONMENTS).values()} == CODES.keys()


def test_a_password_is_masked_in_whatever_line_a_finding_shows(tmp_path: Path) -> None:
    parts, _, _ = CASES["a password that anybody can read"]
    shown = [
        problem.render() for problem, _ in check_project(write_project(tmp_path, **parts)).problems
    ]
    assert any("password: ***********}" in text for text in shown)
    assert not any("in-the-file" in text for text in shown)


# What must not be found ------------------------------------------------------------------------


QUIET: dict[str, dict[str, Any]] = {
    "people who are where the router runs": router(("people.yaml", "/not/here/people.yaml")),
    "samples of several kinds": {
        "samples": {
            "first": SAMPLE,
            "second": SAMPLE.replace('"42"', "42").replace(
                "recipient: {id: u1", "recipient: {id: u2"
            ),
        }
    }
    | routes((MATCH, "match: {type: order.paid, data.size: {gte: 10}}")),
    "samples of other events": routes((MATCH, "match: {type: order.lost, data.tags: new}")),
    "a path within a sentence": {
        "template": "locales: {required: [en], default: en}\n"
        "variables: {total: {type: integer}, note: {type: text, optional: true}}\n",
        "layout": "---\nsubject: Thanks\n---\n{{ total }}\n",
    }
    | routes(("template: note", "template: note\n        with: {note: see data.total}")),
    "a route that is switched off": routes(
        (MATCH, "mode: off\n        match: {type: order.paid, data.total: {gt: 5, lt: 3}}")
    ),
    "diverted real mail": {
        "overlays": {
            "dev": "divert: {email: qa@example.com}\nsinks: {mail: {real: true}}\n",
        }
    },
    "a diverted messenger": {
        "overlays": {
            "dev": 'divert: {telegram: "-1001"}\n'
            "sinks: {mail: {type: telegram, token: !env TOKEN, real: true}}\n",
        },
        "more": {"templates/note/chat.html": "Total {{ total }}\n"},
    },
    "a topic of the same name on another cluster": router(
        ("{type: stdin}", "{type: kafka, bootstrap: 'k:9092', group: g, topics: [orders]}"),
        ("sinks:", "sinks:\n      out: {type: kafka, bootstrap: 'j:9092', topic: orders}"),
    )
    | routes((DELIVER, "deliver: [mail, {sink: out, request: {json: {a: 1}}}]")),
    "plain text on this machine": {
        "overlays": {
            "dev": "sinks: {mail: {type: smtp, host: 127.0.0.1, from: a@example.com,"
            " security: none, real: false}}\n"
        }
    },
    "an ephemeral ledger of a laptop": {"overlays": {"dev": "ledger: {ephemeral: true}\n"}},
}


@pytest.mark.parametrize("parts", QUIET.values(), ids=QUIET)
def test_what_is_meant_is_not_found(tmp_path: Path, parts: dict[str, Any]) -> None:
    assert found(tmp_path, **parts) == []


def test_a_base_without_overlays_is_an_environment(tmp_path: Path) -> None:
    config = write_project(
        tmp_path,
        **router(
            ("{type: console, channel: email}", "{type: console, channel: email, real: true}")
        ),
    )
    (config / "env/dev.yaml").unlink()
    assert [problem.code for problem, _ in check_project(config).problems] == ["S407"]


def test_an_open_admin_server_is_an_error_at_its_place(tmp_path: Path) -> None:
    config = write_project(tmp_path, overlays={"dev": 'admin: {listen: "0.0.0.0:9090"}\n'})
    ((problem, names),) = check_project(config).problems
    assert (problem.code, problem.severity, names) == ("S302", Severity.ERROR, ("dev",))
    assert problem.at is not None
    assert str(problem.at).endswith("env/dev.yaml:1:17")


def test_a_path_is_pointed_at_where_it_stands(tmp_path: Path) -> None:
    config = write_project(
        tmp_path,
        **routes(("template: note", "template: note\n        with:\n          total: data.total")),
    )
    problem = next(p for p, _ in check_project(config).problems if p.code == "R306")
    assert problem.at is not None
    assert (problem.at.line, problem.at.column, problem.at.length) == (8, 14, 10)
