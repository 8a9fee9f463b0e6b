"""The shipped configuration and templates are whole: they load, render and reach people."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from router.authoring.rehearsal import rehearse_event
from router.config.loading import environments, load_project
from router.config.project import Project
from router.directories._people import read_people
from router.events import Event
from router.messages import AnalyticsEvent, Target
from router.planning import Delivery, TableContent, plan, render, select
from router.recipients import Found, Unknown
from router.routing import evaluate
from router.sandbox import CarrotquestSettings, MixpanelSettings, telegram, webhook
from router.sandbox import max as max_
from router.sandbox.webapi import Credentials
from router.templating import Sample, Template, check_template

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "config"


@cache
def project(environment: str | None = "dev") -> Project:
    loaded = load_project(CONFIG, environment, environ={}, read_secrets=False)
    assert not loaded.problems, "\n".join(p.render() for p in loaded.problems)
    assert loaded.project is not None
    return loaded.project


def samples() -> list[tuple[Template, Sample]]:
    return [(t, sample) for t in project().templates.values() for sample in t.samples]


@pytest.mark.parametrize("environment", [None, "dev", "stage", "prod"])
def test_every_environment_loads_without_a_finding_and_without_secrets(
    environment: str | None,
) -> None:
    assert project(environment).routes


def test_the_sandboxes_secrets_are_all_that_development_needs() -> None:
    environ = {
        "TELEGRAM_TOKEN": telegram.TOKEN,
        "MAX_TOKEN": max_.TOKEN,
        "MIXPANEL_TOKEN": MixpanelSettings().token,
        "CARROTQUEST_TOKEN": CarrotquestSettings().token,
        "ACCOUNTING_SECRET": webhook.SECRET,
        "CRM_TOKEN": Credentials().bearer,
    }
    loaded = load_project(CONFIG, "dev", environ=environ)
    assert [p.render() for p in loaded.problems] == []


def test_these_are_the_environments() -> None:
    assert environments(CONFIG) == ["dev", "prod", "stage"]
    assert [project(name).production for name in environments(CONFIG)] == [False, True, False]


def test_every_sample_renders_in_every_channel_and_locale() -> None:
    for template in project().templates.values():
        assert [p.render() for p in check_template(template, project().tenants.brand)] == []
        assert set(template.locales.required) == {"en", "ru"}
        assert len(template.samples) >= 2


def test_every_route_is_shown_by_a_sample_event() -> None:
    events = [sample.view.event for _, sample in samples()]
    unseen = {
        route.id
        for route in project().routes.values()
        if not any(evaluate(route.match, event) for event in events)
    }
    assert unseen == set()


def test_sample_events_are_distinct_and_come_in_on_topics_that_are_read() -> None:
    events = [s.view.event for _, s in samples() if s.view.event.id != "sample"]
    assert len({e.id for e in events}) == len(events) >= 20
    assert {e.topic for e in events} == {"payments", "boards", "identity"}


def test_samples_describe_the_people_of_the_directory() -> None:
    people = read_people((CONFIG / "people.yaml").read_text("utf-8"), ".yaml").by_tenant[""]
    for template, sample in samples():
        recipient = sample.view.recipient
        if recipient is not None and template.name != "email-confirmation":
            person = people[recipient.id]
            for field in ("name", "email", "telegram", "max", "locale", "timezone"):
                assert getattr(recipient, field) == getattr(person, field), sample.name


def test_all_mails_share_one_look() -> None:
    layouts = [path.read_text("utf-8") for path in (ROOT / "templates").glob("*/email.html")]

    assert len(layouts) >= 8
    assert [text for text in layouts if "\nframe: standard\n" not in text] == []


def deliveries(event: Event) -> list[Delivery]:
    """Everything that the event comes to, fallbacks included."""
    people = read_people((CONFIG / "people.yaml").read_text("utf-8"), ".yaml").by_tenant[""]
    found: list[Delivery] = []
    for route in project().routes.values():
        if not evaluate(route.match, event):
            continue
        selected = select(route, event)
        drafts = selected.drafts
        planned = plan(route, event, drafts, [people.get(d.id) or Unknown(d.id) for d in drafts])
        assert (*selected.failures, *planned.failures, *planned.waiting) == ()
        queue = list(planned.deliveries)
        while queue:
            delivery = queue.pop()
            found.append(delivery)
            queue += delivery.fallbacks
    return found


def test_every_sample_event_can_be_delivered_by_its_routes() -> None:
    events = [s.view.event for _, s in samples() if s.view.event.id != "sample"]
    sinks: set[str] = set()
    for event in events:
        made = deliveries(event)
        assert made, event.id
        for delivery in made:
            render(delivery, project().templates, event.time, project().tenants)
            if delivery.barred is None:
                sinks.add(delivery.step.sink)
    assert sinks == {name for name, facts in project().sink_facts.items() if not facts.is_group}


def event_called(name: str) -> Event:
    (event,) = [s.view.event for _, s in samples() if s.view.event.id == name]
    return event


def test_pushes_go_to_every_device_through_its_platforms_sink() -> None:
    made = [d for d in deliveries(event_called("evt-pay-001")) if d.route.id == "payment-failed"]
    reached = {(d.step.sink, d.endpoint) for d in made if d.step.id == "mobile"}
    assert reached == {("phones", "anna-pixel"), ("phones", "anna-firefox")}
    english = deliveries(event_called("evt-pay-003"))
    assert [d.step.sink for d in english if d.step.id == "mobile"] == ["iphones"]


def test_a_person_without_the_app_is_reached_in_a_chat() -> None:
    made = {(d.route.id, d.step.id): d for d in deliveries(event_called("evt-pay-002"))}
    assert made["payment-failed", "mobile"].barred is not None
    assert made["payment-failed", "max"].target == Target("50001002", "max")
    assert made["payment-failed", "bot"].barred is not None
    fallback = made["payment-failed", "mail"]
    assert fallback.target == Target("timur@galiev.example", "email")
    ops = made["payment-failed-large", "bot"]
    assert ops.target is not None
    assert ops.target.address.startswith("-100")


@pytest.mark.anyio
async def test_a_rehearsal_tells_what_is_sent_now_from_what_stands_in() -> None:
    people = read_people((CONFIG / "people.yaml").read_text("utf-8"), ".yaml").by_tenant[""]

    class People:
        async def lookup(self, ids: Sequence[str], tenant: str = "") -> Sequence[Found]:
            return [people.get(id) or Unknown(id) for id in ids]

    event = event_called("evt-pay-002")
    told = await rehearse_event(project().rules(), event, People(), event.time)
    (route,) = [route for route in told.routes if route.route.id == "payment-failed"]
    assert [(line.step, str(line.verdict)) for line in route.lines] == [
        ("mobile", "suppressed"),
        ("max", "now"),
        ("bot", "suppressed"),
        ("mail", "if"),
    ]


def test_a_mention_is_pushed_to_the_newest_device_alone() -> None:
    made = deliveries(event_called("evt-com-002"))
    assert [d.endpoint for d in made if d.step.id == "mobile"] == ["anna-pixel"]


def test_analytics_know_every_event_and_no_texts_of_people() -> None:
    events = [s.view.event for _, s in samples() if s.view.event.id != "sample"]
    (product, _) = project().routes["product-analytics"].steps
    assert isinstance(product.content, TableContent)
    unknown = {e.type for e in events} - set(product.content.entries)
    assert unknown == {"email.confirmation_requested"}
    private = {"text", "message", "email", "ip", "code", "company", "tax_id", "name", "title"}
    for event in events:
        for delivery in deliveries(event):
            message = render(delivery, project().templates, event.time, project().tenants)
            if isinstance(message, AnalyticsEvent):
                assert message.properties
                assert private.isdisjoint(message.properties)


def test_authors_and_people_who_muted_a_card_are_left_out() -> None:
    event = event_called("evt-com-003")
    route = project().routes["comment-reply"]
    drafts = select(route, event).drafts
    people = read_people((CONFIG / "people.yaml").read_text("utf-8"), ".yaml").by_tenant[""]
    planned = plan(route, event, drafts, [people[draft.id] for draft in drafts])
    assert planned.deliveries == ()
    assert {member.recipient.id for member in planned.members} == {"u-1001", "u-1004"}
