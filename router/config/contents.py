"""Links what a step sends: a template's message, a request written in YAML, or the event."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from router.config.analytics import ANALYTICS_KEYS, link_analytics
from router.config.analytics import KINDS as ANALYTICS_KINDS
from router.config.compiling import compile_value
from router.config.fields import Fields
from router.messages import Channel
from router.nodes import Node
from router.planning import (
    Content,
    PayloadContent,
    RequestContent,
    SinkFacts,
    TemplateContent,
    layout_of,
)
from router.problems import Position, Problems, did_you_mean
from router.templating import Template, Value

REQUEST_KEYS = ("method", "path", "params", "query", "headers", "json", "form", "text")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
_BODIES = ("json", "form", "text")
_PLACE = re.compile(r"\{([^{}]*)\}")
_FIXED_REQUEST = frozenset({"webhook"})
"""Sinks whose specification fixes the request; only its body is the template's."""


@dataclass(frozen=True, slots=True)
class Templates:
    """The project's templates.

    Attributes:
        loaded: Those without mistakes.
        names: All, so that a broken template isn't called unknown too.
    """

    loaded: Mapping[str, Template]
    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A template that a route or step names, and the variables given with it."""

    name: str
    at: Position


@dataclass(frozen=True, slots=True)
class ContentLinker:
    """Links the contents of one route's steps.

    Attributes:
        chosen: The route's template, for steps that name none.
        is_named: The route names one, be it known or not.
        variables: The route's ``with:``, below the step's own.
    """

    templates: Templates
    chosen: Chosen | None
    is_named: bool
    variables: Node | None
    problems: Problems

    def link(
        self, fields: Fields, facts: SinkFacts, at: Position, *, per_recipient: bool
    ) -> Content | None:
        """What the step sends, or None after a problem.

        Args:
            at: Where the step names its sink.
        """
        if facts.channel is Channel.ANALYTICS:
            return self._analytics(fields, facts, at, per_recipient=per_recipient)
        for key in ANALYTICS_KEYS:
            if fields.node.get(key) is not None:
                message = f'sink "{facts.name}" sends {facts.channel} messages and takes no {key}:'
                self.problems.error("R220", message, fields.node.key_at(key))
        request = fields.mapping("request")
        own = choose_template(fields, self.templates, self.problems)
        if fields.node.get("request") is not None:
            return self._request(request, own, fields, facts)
        if fields.node.get("template") is not None and own is None:
            return None
        chosen = own or self.chosen
        layout = layout_of(facts.channel)
        if chosen is None:
            if facts.channel is Channel.REQUEST:
                return PayloadContent()
            if not self.is_named:
                message = (
                    f'sink "{facts.name}" sends {facts.channel} messages: template: is missing'
                )
                self.problems.error("T004", message, at)
            return None
        template = self.templates.loaded.get(chosen.name)
        if template is None:
            return None
        if layout is None or layout not in template.layouts:
            if facts.channel is Channel.REQUEST and own is None:
                return PayloadContent()
            self._no_layout(chosen.name, template, facts, own.at if own else at)
            return None
        return TemplateContent(chosen.name, self._variables(template, fields))

    def _analytics(
        self, fields: Fields, facts: SinkFacts, at: Position, *, per_recipient: bool
    ) -> Content | None:
        for key in ("template", "with", "request"):
            if fields.node.get(key) is not None:
                message = f'sink "{facts.name}" is for analytics and takes no {key}:'
                self.problems.error("R220", message, fields.node.key_at(key))
        if not any(fields.node.get(key) is not None for key in ANALYTICS_KINDS):
            message = f'sink "{facts.name}" is for analytics; write track:, map: or profile:'
            self.problems.error("R202", message, at)
            return None
        return link_analytics(fields, at, per_recipient=per_recipient)

    def _no_layout(self, name: str, template: Template, facts: SinkFacts, at: Position) -> None:
        layouts = ", ".join(sorted(template.layouts)) or "none"
        wanted = layout_of(facts.channel) or str(facts.channel)
        self.problems.error(
            "T002",
            f'template "{name}" has no {wanted} layout, which sink "{facts.name}" needs.'
            f" Layouts: {layouts}",
            at,
        )

    def _variables(self, template: Template, fields: Fields) -> dict[str, Value]:
        own = fields.mapping("with")
        if own is not None:
            check_variables(own, template, self.problems)
        return {
            name: compile_value(value, value.at, self.problems)
            for given in (self.variables, own)
            for name, value in (given.items() if given else ())
            if name in template.variables
        }

    def _request(
        self, node: Node | None, own: Chosen | None, fields: Fields, facts: SinkFacts
    ) -> Content | None:
        at = fields.node.key_at("request")
        if facts.channel is not Channel.REQUEST or facts.type in _FIXED_REQUEST:
            message = f'sink "{facts.name}" ({facts.type}) takes no request:'
            self.problems.error("R216", message, at)
            return None
        if own is not None:
            message = "a step has a template: or a request:, not both"
            self.problems.error("R216", message, at, ((own.at, "the template"),))
        if node is None:
            return None
        return link_request(Fields(node, "request", self.problems))


def choose_template(fields: Fields, templates: Templates, problems: Problems) -> Chosen | None:
    """The template that a route or step names, or None (after a problem, if it is unknown)."""
    name = fields.text("template")
    if name is None:
        return None
    at = fields.node.locate(["template"])
    if name not in templates.names:
        hint = did_you_mean(name, list(templates.names), "Templates")
        problems.error("T001", f'unknown template "{name}".{hint}', at)
        return None
    return Chosen(name, at)


def check_variables(given: Node, template: Template, problems: Problems) -> None:
    """Every name in a ``with:`` must be one that the template declares."""
    for name, entry in given.entries.items():
        if name not in template.variables and not name.startswith("x-"):
            hint = did_you_mean(name, list(template.variables), "Variables")
            message = f'template "{template.name}" declares no variable "{name}".{hint}'
            problems.error("T003", message, entry.key_at)


def link_request(fields: Fields) -> RequestContent:
    """A request from its mapping; every mistake is added to the fields' problems."""
    fields.allow(REQUEST_KEYS)
    problems = fields.problems
    bodies = [key for key in _BODIES if fields.node.get(key) is not None]
    if len(bodies) > 1:
        message = f"a request has one body: {' or '.join(bodies)}"
        problems.error("R216", message, fields.node.key_at(bodies[1]))
    path = fields.text("path") or ""
    params = _values(fields, "params")
    _check_places(fields, path, params)
    json = fields.node.get("json")
    text = fields.node.get("text")
    return RequestContent(
        method=fields.choice("method", _METHODS) or "POST",
        path=path,
        params=params,
        query=_values(fields, "query"),
        headers=_values(fields, "headers"),
        json=None if json is None else compile_value(json, json.at, problems),
        form=_values(fields, "form") if "form" in bodies else None,
        text=None if text is None else compile_value(text, text.at, problems),
    )


def _values(fields: Fields, key: str) -> dict[str, Value]:
    node = fields.mapping(key)
    entries = node.items() if node else ()
    return {name: compile_value(one, one.at, fields.problems) for name, one in entries}


def _check_places(fields: Fields, path: str, params: Mapping[str, Value]) -> None:
    at = fields.node.locate(["path"])
    if "{{" in path:
        message = "path: is literal; write {name} and give its value under params:"
        fields.problems.error("R216", message, at)
        return
    places = _PLACE.findall(path)
    for name in places:
        if name not in params:
            message = f'path: has {{{name}}}, but params: does not give "{name}"'
            fields.problems.error("R216", message, at)
    given = fields.node.get("params")
    for name in params:
        if name not in places and given is not None:
            message = f"path: has no place {{{name}}} for this parameter"
            fields.problems.error("R216", message, given.key_at(name))
