"""Labels: what an operator decided of pictures, one decision a line."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fapm_cli.errors import OptionError
from fapm_cli.files import escaped

DECISIONS = ("good", "defect", "unsure")


@dataclass(frozen=True)
class Labels:
    """Pictures by what was decided of each last.

    Attributes:
        good: of good parts.
        defect: of defective ones.
        unsure: of which nobody was sure.
    """

    good: list[Path] = field(default_factory=list)
    defect: list[Path] = field(default_factory=list)
    unsure: list[Path] = field(default_factory=list)


def read_labels(path: Path) -> Labels:
    """Read decisions: JSON lines with ``path``, below the file's own folder or absolute, and
    ``decision``, one of :data:`DECISIONS`; of several on one picture the last holds. A last line
    that is still being written is left out.

    Raises:
        OptionError: the file can't be read, or a line is no decision.
    """
    try:
        lines = path.read_text("utf-8").splitlines(keepends=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise OptionError(f"labels {path} can't be read: {reason}") from error
    decided: dict[Path, tuple[Path, str]] = {}  # by the file itself, however it is written
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        one = _parsed(line)
        if one is None:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise OptionError(
                f"labels {escaped(path)}, line {number} is no decision: wanted JSON with path and "
                f"decision, one of {', '.join(DECISIONS)}"
            )
        picture = path.parent / one["path"]
        file = Path(os.path.realpath(picture))
        decided.pop(file, None)
        decided[file] = picture, one["decision"]
    labels = Labels()
    for picture, decision in decided.values():
        getattr(labels, decision).append(picture)
    return labels


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        one = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(one, dict) or one.get("decision") not in DECISIONS:
        return None
    name = one.get("path")
    return one if isinstance(name, str) and name and "\0" not in name else None
