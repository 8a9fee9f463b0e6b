"""The command line itself."""

from __future__ import annotations

from tests.contract.authoring.cli import run


def test_a_misspelt_command_gets_the_nearest() -> None:
    ran = run("chek")
    assert ran.code == 2
    assert 'there is no command "chek". Did you mean "check"? Commands: check, ' in ran.err
