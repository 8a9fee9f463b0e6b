"""Every target, by name."""

from __future__ import annotations

from collections.abc import Mapping

from tests.fuzz.targets import configuration, events, signatures, templates
from tests.fuzz.targets.model import Target

TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(
            "document",
            configuration.document,
            ("tests/config/bad/*/*.yaml", "config/**/*.yaml", "templates/*/template.yaml"),
            examples=800,
        ),
        Target("project", configuration.project, examples=60),
        Target("condition", configuration.condition),
        Target("expression", configuration.expression),
        Target("scalar", configuration.scalar, examples=400),
        Target("people", configuration.people, ("config/people.yaml",)),
        Target("record", events.record, examples=800),
        Target("lines", events.lines, ("router/authoring/scaffold/events.jsonl",)),
        Target("sample", events.sample, ("templates/*/samples/*.yaml",)),
        Target("template", templates.folder, examples=120),
        Target("markup", templates.markup, ("templates/*/chat*.html", "templates/*/email*.html")),
        Target("webhook", signatures.webhook),
    )
}
