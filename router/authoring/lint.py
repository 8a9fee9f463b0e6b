"""What ``router check`` finds beyond validity: what an operator hardly meant."""

from __future__ import annotations

from router.authoring.digest_lint import lint_digests
from router.authoring.policy_conflicts import lint_conflicts
from router.authoring.policy_lint import lint_policies
from router.authoring.route_lint import lint_routes
from router.authoring.sample_lint import lint_by_samples
from router.authoring.section_lint import lint_sections
from router.config import Loaded
from router.config.redaction import redact
from router.problems import Problem, sort_problems


def lint(loaded: Loaded, *, is_run: bool = True) -> list[Problem]:
    """The findings about one environment, sorted by place; none while it has errors.

    Secrets that stand in the files are masked in the lines that findings show.

    Args:
        is_run: False for a base that only runs with an overlay: what its overlays decide
            (where it is safe to write to whom) is not held against it.
    """
    project = loaded.project
    if project is None:
        return []
    found = [
        *lint_routes(project),
        *lint_by_samples(project),
        *lint_digests(project),
        *lint_policies(project),
        *lint_conflicts(project),
        *lint_sections(loaded, project, is_run=is_run),
    ]
    return redact(sort_problems(found), loaded.secrets)
