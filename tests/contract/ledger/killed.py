"""Processes that are killed amid their work on a ledger."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def keys_settled_by_a_killed_process(kind: str, **options: Any) -> list[bytes]:
    """The keys whose settlement the ledger acknowledged, a few hundred at least."""
    module = "tests.contract.ledger.settling_process"
    command = [sys.executable, "-m", module, kind, json.dumps(options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, bufsize=0) as process:
        assert process.stdout is not None
        said = b""
        while said.count(b"\n") < 300:
            part = process.stdout.read(4096)
            assert part, "the process ended by itself"
            said += part
        process.kill()
        said += process.stdout.read()
    return [bytes.fromhex(line.decode()) for line in said.splitlines() if len(line) == 32]


def begin_lives_in_a_killed_process(kind: str, **options: Any) -> None:
    """Begins as many lives as they have steps, each up to another step."""
    module = "tests.contract.ledger.dying_process"
    command = [sys.executable, "-m", module, kind, json.dumps(options)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
