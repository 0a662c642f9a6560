"""Colour, where a person looks: on a terminal, unless ``NO_COLOR`` says otherwise."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer


def on_terminal() -> bool:
    """Say whether stdout is shown to a person."""
    return sys.stdout is not None and sys.stdout.isatty()


def coloured(text: str, **looks: Any) -> str:
    """Style text as :func:`typer.style` does, if stdout can show it and nobody objects."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    looks = {name: value for name, value in looks.items() if value}
    return typer.style(text, **looks) if looks and on_terminal() and not plain else text
