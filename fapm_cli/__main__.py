"""The ``fapm`` program, also as ``python -m fapm_cli``."""

from __future__ import annotations

import sys


def main() -> None:
    """Be the program, or say which package it can't be without."""
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
