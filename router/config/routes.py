"""Links routes: from the mappings of route files to what planning works with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from router.config.compiling import compile_expression
from router.config.components import NAME_RULE, is_name
from router.config.contents import (
    Chosen,
    ContentLinker,
    Templates,
    check_variables,
    choose_template,
)
from router.config.defaults import (
    ELSEWHERE,
    POLICY_KEYS,
    Categories,
    Layer,
    read_layer,
    read_on_unknown,
    read_policy,
)
from router.config.fields import Fields, a_kind
from router.config.hashing import digest_of
from router.config.lines import STEP_KEYS, read_lines
from router.config.policy_checks import check_policies
from router.config.route_policies import Levels, RoutePolicyLinker, bypass_of
from router.config.scalars import Raw
from router.config.selections import link_selection
from router.config.steps import Sinks, StepLinker
from router.nodes import Entry, Node
from router.planning import (
    ENDPOINT,
    Category,
    Route,
    Selection,
    Step,
    TableContent,
    TemplateContent,
)
from router.problems import Position, Problems
from router.routing import AllOf, Condition, Operator, Predicate, parse_condition, parse_path
from router.values import Secret

ROUTES_FILE_KEYS = ("routes", "defaults")
ROUTE_KEYS = (
    "description",
    "owner",
    "match",
    "recipient",
    "recipients",
    "on_unknown",
    "category",
    "template",
    "with",
    "deliver",
    "policy",
    "mode",
    "rollout",
    "was",
)
_ELSEWHERE = (
    {key: "to a step under deliver:" for key in STEP_KEYS if key not in ROUTE_KEYS}
    | dict.fromkeys(POLICY_KEYS, "under policy:")
    | {"when": "under match:", "bypass": "to a category"}
)


@dataclass(slots=True)
class RouteLinker:
    """Links route after route, over all files of a project.

    Attributes:
        outer: The project's defaults.
        routes: Linked so far, by name.
        places: Where each name was first defined, linked or not.
        secret_fields: Paths below which some source declares secrets.
        retention: For how many seconds the ledger remembers; None where it is not known.
    """

    sinks: Sinks
    templates: Templates
    categories: Categories
    outer: Layer
    problems: Problems
    template_digests: dict[str, str] = field(default_factory=dict[str, str])
    secret_fields: Sequence[str] = ()
    retention: float | None = None
    routes: dict[str, Route] = field(default_factory=dict[str, Route])
    places: dict[str, Position] = field(default_factory=dict[str, Position])
    earlier: dict[str, Position] = field(default_factory=dict[str, Position])

    def link_file(self, node: Node, *, is_raw: bool) -> None:
        """The routes of one file. ``is_raw`` files may hold secrets, which routes must not."""
        if not node.is_mapping:
            self.problems.error("R203", "a routes file is a mapping with routes:", node.at)
            return
        fields = Fields(node, "a routes file", self.problems)
        fields.allow(ROUTES_FILE_KEYS)
        if is_raw:
            for secret in _secrets(node):
                self.problems.error("R218", "secrets belong to sinks, not to routes", secret.at)
        layer = self.outer
        if (defaults := node.get("defaults")) is not None:
            layer = read_layer(defaults, "defaults", self.problems, of_file=True).over(self.outer)
            own = defaults.get("category")
            if own is not None:
                self.categories.layer(layer.category, own.at, self.problems)
        routes = fields.mapping("routes")
        for name, entry in (routes.entries if routes else {}).items():
            if not name.startswith("x-"):
                self._route(name, entry, layer)

    def check_earlier_names(self) -> None:
        """After all files: no route may have been called what another is called."""
        for was, at in self.earlier.items():
            if was in self.places:
                related = ((self.places[was], "that route"),)
                message = f'was: "{was}" is also a route\'s name'
                self.problems.error("R215", message, at, related)

    def _route(self, name: str, entry: Entry, defaults: Layer) -> None:
        if name in self.places:
            related = ((self.places[name], "first here"),)
            self.problems.error("R204", f'route "{name}" is defined twice', entry.key_at, related)
            return
        self.places[name] = entry.key_at
        if not is_name(name):
            message = f'a route can\'t be called "{name}"; {NAME_RULE}'
            self.problems.error("R205", message, entry.key_at)
        if not entry.node.is_mapping:
            message = f'route "{name}" must be a mapping, not {a_kind(entry.node)}'
            if not isinstance(entry.node.value, Raw):
                self.problems.error("R203", message, entry.node.at)
            return
        before = len(self.problems.found)
        route = self._link(name, entry, defaults)
        if route is not None and len(self.problems.found) == before:
            self.routes[name] = route

    def _link(self, name: str, entry: Entry, defaults: Layer) -> Route | None:
        node, problems = entry.node, self.problems
        fields = Fields(node, f'route "{name}"', problems)
        fields.allow(ROUTE_KEYS, _ELSEWHERE)
        levels = self._levels(fields, defaults)
        layer = levels.all
        category = self.categories.known.get(layer.category or "")
        selection = link_selection(fields)
        chosen = choose_template(fields, self.templates, problems)
        contents = ContentLinker(
            self.templates, chosen, "template" in node.entries, fields.mapping("with"), problems
        )
        has_recipients = "recipient" in node.entries or "recipients" in node.entries
        deliver = fields.sequence("deliver")
        lines = read_lines(deliver, fields.what, problems) if deliver else []
        linker = StepLinker(
            self.sinks,
            contents,
            layer,
            bypass_of(category),
            has_recipients,
            self.retention,
            problems,
        )
        steps = linker.link(lines)
        if "deliver" not in node.entries or (deliver is not None and not deliver.nodes):
            message = f"{fields.what} needs a step under deliver:"
            problems.error("R202", message, entry.key_at)
        self._check_with(fields, chosen)
        match = node.get("match")
        if match is None:
            problems.error("R202", f"{fields.what} needs match:", entry.key_at)
            return None
        condition = parse_condition(match, problems, compile_expression=compile_expression)
        was = self._was(fields)
        policy = RoutePolicyLinker(
            fields, levels, category, was or name, _has_items(selection), problems
        ).link(steps)
        check_policies(levels, steps, linker.layers, policy, self.retention, problems)
        if condition is None:
            return None
        is_personal = any(step.per_recipient for step in steps)
        self._check_endpoints(fields, selection, steps)
        return Route(
            id=name,
            match=_narrowed(condition, steps),
            steps=tuple(steps),
            at=entry.key_at,
            was=was,
            description=fields.text("description") or "",
            owner=layer.owner,
            category=layer.category,
            selection=selection if is_personal else None,
            on_unknown=layer.on_unknown or "dead_letter",
            policy=policy,
            digest=self._digest(node, levels, category, steps),
        )

    def _levels(self, fields: Fields, defaults: Layer) -> Levels:
        """The route's own defaults over its category's, its file's and the project's."""
        policy = Layer()
        if (node := fields.mapping("policy")) is not None:
            values = Fields(node, f"policy of {fields.what}", self.problems)
            values.allow(POLICY_KEYS, ELSEWHERE)
            policy = read_policy(values)
        own = replace(
            policy,
            category=fields.text("category"),
            owner=fields.text("owner"),
            on_unknown=read_on_unknown(fields),
        )
        if own.category is not None:
            at = fields.node.locate(["category"])
            category = self.categories.layer(own.category, at, self.problems)
        else:
            category = self.categories.layers.get(defaults.category or "", Layer())
        return Levels(own, category, self.outer, own.over(category).over(defaults))

    def _check_with(self, fields: Fields, chosen: Chosen | None) -> None:
        given = fields.mapping("with")
        if given is None:
            return
        if chosen is None:
            if fields.node.get("template") is None:
                message = "with: gives a template its variables; the route names no template:"
                self.problems.error("R202", message, fields.node.key_at("with"))
            return
        template = self.templates.loaded.get(chosen.name)
        if template is not None:
            check_variables(given, template, self.problems)

    def _was(self, fields: Fields) -> str | None:
        was = fields.text("was")
        if was is not None:
            at = fields.node.locate(["was"])
            if was in self.earlier:
                related = ((self.earlier[was], "the other route"),)
                message = f'was: "{was}" is another route\'s earlier name too'
                self.problems.error("R215", message, at, related)
            self.earlier.setdefault(was, at)
        return was

    def _check_endpoints(
        self, fields: Fields, selection: Selection | None, steps: Sequence[Step]
    ) -> None:
        """Addresses and secrets that an event brings are used only where somebody said so."""
        path = selection.fields.get("endpoints") if selection else None
        if path is None:
            return
        section = fields.node.get("recipient") or fields.node.get("recipients") or fields.node
        at = section.locate(["endpoints"])
        customers = [s for s in steps if s.address_kind == ENDPOINT]
        for step in customers:
            if not step.event_hosts:
                message = (
                    f'the event brings endpoints, but sink "{step.sink}" allows no hosts for'
                    " them; write event_hosts: there"
                )
                self.problems.error("R223", message, at)
        is_signed = any(self.sinks.facts[step.sink].is_signed for step in customers)
        below = f"{path.text}[*]"
        if is_signed and not any(field.startswith(below) for field in self.secret_fields):
            message = (
                "the event brings endpoints' secrets, but no source declares them; write decode:"
                f" {{secret_fields: [{below}.secrets]}}"
            )
            self.problems.error("R223", message, at)

    def _digest(
        self, node: Node, levels: Levels, category: Category | None, steps: Sequence[Step]
    ) -> str:
        used = {s.content.template for s in steps if isinstance(s.content, TemplateContent)}
        return digest_of(
            node.plain(),
            [layer.plain() for layer in (levels.all, levels.category, levels.whole)],
            sorted(bypass_of(category)),
            [
                (s.sink, s.channel, s.address_kind, dict(s.by_platform), s.event_hosts)
                for s in steps
            ],
            {name: self.template_digests.get(name, "") for name in used},
        )


def _has_items(selection: Selection | None) -> bool:
    return selection is not None and selection.each is not None


def _narrowed(condition: Condition, steps: Sequence[Step]) -> Condition:
    """Where all steps have tables of event types, the route matches no other types."""
    tables = [step.content.entries for step in steps if isinstance(step.content, TableContent)]
    if not tables or len(tables) < len(steps):
        return condition
    types = tuple(dict.fromkeys(name for table in tables for name in table))
    of_tables = Predicate(parse_path("type"), Operator.IN, types, steps[0].at)
    return AllOf((condition, of_tables), condition.at)


def _secrets(node: Node) -> Iterator[Node]:
    if isinstance(node.value, Secret):
        yield node
    for item in node.nodes:
        yield from _secrets(item)
    for _, value in node.items():
        yield from _secrets(value)
