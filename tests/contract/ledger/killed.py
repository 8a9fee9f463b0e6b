"""What a process that was killed amid its work had been told by the ledger."""

from __future__ import annotations

import json
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
