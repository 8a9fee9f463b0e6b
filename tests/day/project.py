"""The day's configuration, in its variants: a reload puts another one in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from router.config import Project, load_project
from router.planning import Ruleset

_FOLDER: Final = Path(__file__).parent / "firm"
_SECRETS: Final = {
    "BOT_TOKEN": "1:x",
    "PRODUCT_TOKEN": "x",
    "CRM_TOKEN": "x",
    "ACCOUNTING_SECRET": "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=",
}
VARIANTS: Final[tuple[Mapping[str, str], ...]] = (
    {},
    {"MAIL_RATE": "20/s"},
    {"CART_DELAY": "3h"},
)


@dataclass(frozen=True, slots=True)
class Variant:
    """A configuration in force."""

    project: Project
    rules: Ruleset

    @property
    def hashes(self) -> dict[str, str]:
        """Of each sink's configuration."""
        return {name: self.project.part_hashes[f"sinks.{name}"] for name in self.project.sinks}


@cache
def variant(number: int) -> Variant:
    """The configuration, as the environment of that number makes it."""
    loaded = load_project(_FOLDER, environ={**_SECRETS, **VARIANTS[number]})
    assert loaded.project is not None, [problem.render() for problem in loaded.problems]
    project = loaded.project
    rules = Ruleset.build(project.routes.values(), project.templates, project.divert, project.hash)
    return Variant(project, rules)
