"""``fapm build`` that also writes what each stage took: CPU seconds, and its largest memory in MB.

Usage: python benchmarks/scale_stages.py OUT.json build PATH... -o bank.st
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

from fapm_cli import cli
from fapm_cli.commands.making import Making


class Stages:
    """What was used up to each time that a build tells what it has done."""

    def __init__(self) -> None:
        """Begin to watch this process."""
        self.seconds: dict[str, float] = {}
        self.most_mb: dict[str, float] = {}
        self._spent = self._most = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self._most = max(self._most, _own_mb())
            time.sleep(0.02)

    def tell(self, stage: str) -> None:
        """All since the last time was for this stage."""
        now, most = time.process_time(), max(self._most, _own_mb())
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._spent
        self.most_mb[stage] = max(self.most_mb.get(stage, 0.0), most)
        self._spent, self._most = now, 0.0


def _own_mb() -> float:
    """RssAnon, in MB of 10⁶ bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("/proc/self/status has no RssAnon")


def main() -> None:
    """Be fapm."""
    to, arguments = Path(sys.argv[1]), sys.argv[2:]
    stages, mark = Stages(), Making._mark

    def marked(self: Making, stage: str) -> None:
        mark(self, stage)
        stages.tell(stage)

    Making._mark = marked  # type: ignore[method-assign] # each stage ends there
    code = cli.run(arguments)
    rounded = {name: round(of) for name, of in stages.most_mb.items()}
    seconds = {name: round(of, 1) for name, of in stages.seconds.items()}
    to.write_text(json.dumps({"cpu_seconds": seconds, "most_mb": rounded}))
    sys.exit(code)


if __name__ == "__main__":
    main()
