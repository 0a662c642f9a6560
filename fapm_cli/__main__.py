"""The ``fapm`` program, also as ``python -m fapm_cli``."""

from __future__ import annotations

import os
import sys

_JUDGES = ("score", "heatmap", "bench")


def main() -> None:
    """Be the program, or say which package it can't be without."""
    # For OpenMP, which torch computes with and which reads it once: by default a thread that waits
    # for others keeps its core for a while. That takes it from builds that run beside this one;
    # but to judge a picture is many short steps, and to wake for each costs a seventh of the time.
    if len(sys.argv) < 2 or sys.argv[1] not in _JUDGES:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        from fapm_cli.cli import main as be_fapm
    except ImportError as error:
        name = error.name or "a package"
        sys.exit(_fail(f"fapm: {name} can't be imported ({error}); install fapm anew"))
    be_fapm()


def _fail(line: str) -> int:
    if sys.stderr is not None:
        print(line, file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
