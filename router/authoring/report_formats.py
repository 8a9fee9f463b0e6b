"""Findings in the forms that programs read: JSON, GitHub annotations, SARIF."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router import __version__
from router.authoring.check import Report
from router.problems import Problem, Severity

_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_HELP = "docs/reference/problems.md#"


def report_to_dict(report: Report) -> dict[str, Any]:
    """The stable JSON form."""
    return {
        "problems": [
            {**problem.as_dict(), "environments": list(names)} for problem, names in report.problems
        ],
        "environments": [
            {
                "name": checked.name,
                "errors": checked.count(Severity.ERROR),
                "warnings": checked.count(Severity.WARNING),
            }
            for checked in report.environments
        ],
        "census": report.census(),
    }


def report_to_github(report: Report) -> str:
    """Workflow commands that show findings beside the lines of a pull request."""
    return "\n".join(_annotation(problem) for problem, _ in report.problems)


def _annotation(problem: Problem) -> str:
    properties = [f"title={problem.code}"]
    if at := problem.at:
        properties = [
            f"file={_property(at.file)}",
            f"line={at.line}",
            f"col={at.column}",
            *properties,
        ]
    return f"::{problem.severity} {','.join(properties)}::{_data(problem.message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def report_to_sarif(report: Report, meanings: Mapping[str, str]) -> dict[str, Any]:
    """SARIF 2.1.0, for code scanning.

    Args:
        meanings: Code to its meaning.
    """
    found = [problem for problem, _ in report.problems]
    codes = sorted({problem.code for problem in found})
    rules = [
        {
            "id": code,
            "shortDescription": {"text": meanings.get(code, code)},
            "helpUri": f"{_HELP}{code.lower()}",
        }
        for code in codes
    ]
    driver = {"name": "router", "version": __version__, "rules": rules}
    results = [_result(problem, codes) for problem in found]
    return {
        "$schema": _SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def _result(problem: Problem, codes: list[str]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": problem.code,
        "ruleIndex": codes.index(problem.code),
        "level": str(problem.severity),
        "message": {"text": problem.message},
    }
    if problem.at:
        region = {"startLine": problem.at.line, "startColumn": problem.at.column}
        place = {"artifactLocation": {"uri": problem.at.file}, "region": region}
        result["locations"] = [{"physicalLocation": place}]
    return result
