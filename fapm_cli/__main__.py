"""The ``fapm`` program, also as ``python -m fapm_cli``."""

from __future__ import annotations

import os
import sys

_JUDGES = ("score", "serve", "heatmap", "bench")
_AWAKE = 10_000  # turns of a waiting loop: some 0.1 ms, as far as the steps of a picture lie apart


def main() -> None:
    """Be the program, or say which package it can't be without."""
    judges = len(sys.argv) > 1 and sys.argv[1] in _JUDGES
    if judges:
        # numpy's products are small there, and its idle threads would take cores from the rest.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # For OpenMP, which torch computes with and which reads it once: by default a thread that waits
    # for others keeps its core for milliseconds, and takes it from whoever it waits for where
    # others compute, too. But to judge a picture is many short steps, and to wake for each costs
    # a third of the time.
    if "OMP_WAIT_POLICY" not in os.environ:
        if judges:
            os.environ.setdefault("GOMP_SPINCOUNT", str(_AWAKE))
        else:
            os.environ["OMP_WAIT_POLICY"] = "passive"
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
