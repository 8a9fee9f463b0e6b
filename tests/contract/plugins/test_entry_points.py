"""What is installed beside the router is found by name, and a broken one is a problem in a line."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from router.authoring.schema import schema
from router.config import Loaded, load_project
from router.directories import KINDS as DIRECTORIES
from router.kinds import BrokenPlugin, UnknownKind
from router.messages import ChatMessage
from router.sinks import KINDS as SINKS
from tests.contract.plugins.distributions import PAGER, Site
from tests.contract.plugins.distributions import site as new_site

ROUTER = """
sources: {lines: {type: stdin}}
ledger: {type: memory}
include: [routes.yaml]
sinks:
  duty:
    type: pager
    region: eu
"""
ROUTES = """
routes:
  alarm:
    match: {type: alarm.raised}
    recipient: {id: data.user, attributes: {pager: data.pager}}
    category: alarms
    template: alarm
    deliver: [duty]
"""
TEMPLATE = {
    "template.yaml": "description: An alarm\nowner: ops\nlocales: {required: [en], default: en}\n"
    "variables:\n  room: {type: text, example: B12}\n",
    "samples/one.yaml": "variables: {room: b12}\n",
    "chat.html": "Alarm in {{ room | shout }}\n",
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return new_site(tmp_path, monkeypatch)


def load(site: Site, router: str = ROUTER) -> Loaded:
    """The project, with one route through the sink and a template that shouts."""
    tmp_path = site.folder.parent
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "router.yaml").write_text(router + "categories: {alarms: {description: Alarms}}\n")
    (folder / "routes.yaml").write_text(ROUTES)
    template = tmp_path / "templates" / "alarm"
    (template / "samples").mkdir(parents=True)
    for name, text in TEMPLATE.items():
        (template / name).write_text(text.replace("shout", site.filter))
    return load_project(folder / "router.yaml")


def found(loaded: Loaded) -> list[str]:
    return [problem.headline().rpartition("/")[2] for problem in loaded.problems]


def install_pager(site: Site, module: str = PAGER, **points: str) -> None:
    names = points or {"pager": "acme_pager:SINK"}
    site.install("acme-pager", {"router.sinks": names}, acme_pager=module)


def install_filter(site: Site, text: str) -> None:
    site.install(
        "acme-words",
        {"router.filters": {site.filter: "acme_words:shout"}},
        acme_words=textwrap.dedent(text),
    )


SHOUT = "def shout(text):\n    return text.upper() + '!'\n"


def test_a_sink_and_a_filter_of_plugins_are_used_like_built_in_ones(site: Site) -> None:
    install_pager(site)
    install_filter(site, SHOUT)
    loaded = load(site)
    assert found(loaded) == []
    assert loaded.project is not None
    assert loaded.project.sink_facts["duty"].address_kind == "pager"
    template = loaded.project.templates["alarm"]
    message = template.render("chat", template.samples[0].view)
    assert message == ChatMessage("Alarm in B12!")


def test_a_plugins_options_are_validated_at_their_place(site: Site) -> None:
    install_pager(site)
    install_filter(site, SHOUT)
    loaded = load(site, ROUTER.replace("region: eu", "regoin: eu"))
    assert found(loaded) == [
        'router.yaml:7:5: error S003: sink "duty" needs "region"',
        'router.yaml:8:5: error S002: unknown key "regoin" in sink "duty". Did you mean "region"? '
        "Keys: breaker, concurrency, rate, real, region, retry, target_rate, timeout, type",
    ]


def test_what_is_not_installed_is_named_with_what_is(site: Site) -> None:
    install_pager(site)
    loaded = load(site, ROUTER.replace("type: pager", "type: pagr"))
    [sink, filter_] = found(loaded)
    assert sink.startswith(
        'router.yaml:7:11: error S001: unknown type "pagr" of sink "duty". Did you mean "pager"?'
    )
    assert filter_.startswith(f'chat.html:1:18: error T123: unknown filter "{site.filter}".')


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (
            "import nowhere_to_be_found",
            "plugin acme_pager:SINK of acme-pager 1.2: ModuleNotFoundError: "
            "No module named 'nowhere_to_be_found'",
        ),
        ("def (", "plugin acme_pager:SINK of acme-pager 1.2: SyntaxError: invalid syntax"),
        (
            "1 / 0",
            "plugin acme_pager:SINK of acme-pager 1.2: ZeroDivisionError: division by zero",
        ),
        (
            "OTHER = 1",
            "plugin acme_pager:SINK of acme-pager 1.2: AttributeError: "
            "module 'acme_pager' has no attribute 'SINK'",
        ),
        ("SINK = 5", "plugin acme_pager:SINK of acme-pager 1.2 exports int, not a SinkType"),
        (
            PAGER.replace('SinkType("pager"', 'SinkType("beeper"'),
            'plugin acme_pager:SINK of acme-pager 1.2 exports a SinkType called "beeper"'
            ' under the name "pager"',
        ),
        (
            PAGER.replace('"pager", PagerConfig', '"pager", dict'),
            "plugin acme_pager:SINK of acme-pager 1.2 has a config that is not a subclass of"
            " SinkConfig",
        ),
        (
            PAGER.replace("_channel, ", "None, "),
            "plugin acme_pager:SINK of acme-pager 1.2 has a channel or an open that can't be"
            " called",
        ),
    ],
    ids=["import", "syntax", "exception", "nothing", "nonsense", "name", "config", "channel"],
)
def test_a_broken_sink_is_one_problem_at_its_type(site: Site, module: str, why: str) -> None:
    install_pager(site, module)
    install_filter(site, SHOUT)
    [problem] = found(load(site))
    assert problem.startswith(f'router.yaml:7:11: error S001: type "pager" can\'t be loaded: {why}')


@pytest.mark.parametrize("channel", ["return 'chat'", "raise KeyError('planted-secret')"])
def test_a_plugin_that_fails_on_its_options_is_a_problem_too(site: Site, channel: str) -> None:
    install_pager(site, PAGER.replace("return Channel.CHAT", channel))
    install_filter(site, SHOUT)
    [problem] = found(load(site))
    assert problem.startswith(
        'router.yaml:7:11: error S001: type "pager": its plugin failed on these options ('
    )
    assert "planted" not in problem


def test_two_plugins_of_one_name_are_not_chosen_between(site: Site) -> None:
    install_pager(site)
    site.install("other-pager", {"router.sinks": {"pager": "other:SINK"}}, other=PAGER)
    with pytest.raises(BrokenPlugin) as error:
        SINKS.load("pager")
    assert str(error.value) == (
        "two plugins have this name: acme_pager:SINK of acme-pager 1.2"
        " and other:SINK of other-pager 1.2"
    )


def test_a_plugin_can_not_take_the_place_of_a_built_in_kind(site: Site) -> None:
    install_pager(site, telegram="acme_pager:SINK")
    assert SINKS.load("telegram").config.__module__ == "router.sinks.telegram"


def test_plugins_are_listed_without_being_imported(site: Site) -> None:
    install_pager(site, "1 / 0")
    assert SINKS.plugins is not None
    [plugin] = [one for one in SINKS.plugins.installed() if one.name == "pager"]
    assert plugin.distribution == "acme-pager 1.2"
    assert "pager" in SINKS.all_names()
    assert "pager" not in SINKS.names()


def test_directories_come_by_entry_point(site: Site) -> None:
    site.install(
        "acme-staff",
        {"router.directories": {"staff": "acme_staff:DIRECTORY", "odd": "acme_staff:ODD"}},
        acme_staff="""
            from contextlib import asynccontextmanager

            from router.directories import DirectoryConfig, DirectoryType

            class StaffConfig(DirectoryConfig):
                \"\"\"The company's staff.\"\"\"

            @asynccontextmanager
            async def _open(config, *, clock):
                yield None

            DIRECTORY = DirectoryType("staff", StaffConfig, _open)
            ODD = StaffConfig
        """,
    )
    assert DIRECTORIES.load("staff").name == "staff"
    with pytest.raises(BrokenPlugin, match="exports ModelMetaclass, not a DirectoryType"):
        DIRECTORIES.load("odd")
    with pytest.raises(UnknownKind):
        DIRECTORIES.load("nobody")


def test_ledgers_and_sources_are_not_extended(site: Site) -> None:
    from router.ledger import KINDS as LEDGERS

    site.install("acme-ledger", {"router.ledger": {"stone": "acme_pager:SINK"}}, acme_pager=PAGER)
    with pytest.raises(UnknownKind):
        LEDGERS.load("stone")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("shout = 5", "exports int, not a function"),
        (
            """
            from jinja2 import pass_context

            @pass_context
            def shout(context, text):
                return text
            """,
            "exports a filter that asks for the template's context; filters get values alone",
        ),
        (
            "async def shout(text):\n    return text",
            "exports an async function; filters are plain ones",
        ),
    ],
)
def test_a_broken_filter_is_one_problem_where_it_is_used(site: Site, text: str, why: str) -> None:
    install_pager(site)
    install_filter(site, text)
    [problem] = found(load(site))
    assert problem == (
        f'chat.html:1:18: error T123: filter "{site.filter}" can\'t be loaded: '
        f"plugin acme_words:shout of acme-words 1.2 {why}"
    )


def test_the_schema_for_editors_knows_plugins_that_can_be_used(site: Site) -> None:
    install_pager(site)
    site.install("acme-horn", {"router.sinks": {"horn": "acme_horn:SINK"}}, acme_horn="SINK = 1")
    described = schema("router")
    kinds = described["properties"]["sinks"]["additionalProperties"]["properties"]["type"]
    assert "'pager'" in str(kinds)
    assert "'horn'" not in str(kinds)
    assert "region" in described["$defs"]["sinks.pager"]["properties"]
