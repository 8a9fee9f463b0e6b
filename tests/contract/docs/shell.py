"""Runs the ``console`` blocks of a page in a folder of their own, one after the other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.contract.docs.markdown import ROOT, Block

_LIMIT_S = 60


@dataclass(frozen=True, slots=True)
class Command:
    """A command as a page shows it, and the output that follows it there."""

    block: Block
    text: str
    output: str


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did: standard output and error as a terminal shows them, together."""

    code: int
    output: str


def commands_of(block: Block) -> Iterator[Command]:
    """The ``$ …`` lines of a block; a line that ends with a backslash goes on."""
    text: list[str] = []
    output: list[str] = []
    is_open = False
    for line in block.text.splitlines():
        if is_open or line.startswith("$ "):
            if not is_open and text:
                yield Command(block, "\n".join(text), "\n".join(output))
                text, output = [], []
            text.append(line.removeprefix("$ "))
            is_open = line.endswith("\\")
        else:
            output.append(line)
    if text:
        yield Command(block, "\n".join(text), "\n".join(output))


@dataclass(slots=True)
class Shell:
    """A shell that keeps its working directory and exported variables between commands."""

    folder: Path
    environment: dict[str, str]

    @classmethod
    def at(cls, folder: Path) -> Shell:
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "COLUMNS": "100",
            "ADMIN_LISTEN": "127.0.0.1:0",
            "PROBES_LISTEN": "127.0.0.1:0",
        }
        return cls(folder, environment)

    @property
    def here(self) -> Path:
        """The working directory."""
        return Path(self.environment.get("PWD", self.folder))

    def run(self, command: str) -> Ran:
        after = self.folder / ".after"
        script = f"{command}\ncode=$?\n{{ pwd; env -0; }} >'{after}'\nexit $code\n"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.here,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_LIMIT_S,
            check=False,
        )
        if after.exists():
            where, _, variables = after.read_text("utf-8").partition("\n")
            pairs = (pair.partition("=") for pair in variables.split("\0") if "=" in pair)
            self.environment = {name: value for name, _, value in pairs} | {"PWD": where}
            after.unlink()
        return Ran(done.returncode, plain(done.stdout.decode("utf-8", "replace")))


def plain(text: str) -> str:
    """The text with the no-break spaces of CLDR as ordinary ones, which pages are written with."""
    return text.replace("\xa0", " ").replace("\u202f", " ")


def fits(shown: str, actual: str) -> bool:
    """The output is what the page shows; ``...`` there stands for anything."""
    shown, actual = (_trimmed(text) for text in (shown, actual))
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else _line_pattern(line) for line in shown.split("\n")
    )
    return re.fullmatch(pattern, actual + "\n") is not None


def _line_pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.split("...")) + r"\n"


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n"))
