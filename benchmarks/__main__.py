"""Every benchmark, one after the other: ``make bench``."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ALL = ("decode", "match", "render", "ledger", "http_client", "http2", "path", "latency")


def machine() -> str:
    """Processor, cores, Python: what a figure belongs to."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(": ")[2]
                break
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main() -> None:
    names = sys.argv[1:] or ALL
    print(machine())
    for name in names:
        print(f"\n== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
