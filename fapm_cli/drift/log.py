"""Logs: the records that ``fapm score --format jsonl`` wrote, read again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from fapm_cli.errors import OptionError
from fapm_cli.files import escaped

_NUMBERS = ("brightness", "sharpness", "x", "y")


def read_log(lines: Iterable[str], name: str) -> Iterator[dict[str, Any]]:
    """Read records, one a line; a last line that is still being written is left out.

    Args:
        lines: each with its end.
        name: of the log, for errors.

    Raises:
        OptionError: a line is no record of ``fapm score``.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            if not line.endswith("\n") and number > 1:
                return
            record = None
        if not _is_record(record):
            raise OptionError(
                f"log {escaped(name)}, line {number} is no record of fapm score: "
                "give what fapm score --format jsonl wrote"
            )
        yield record


def _is_record(one: Any) -> bool:
    if not isinstance(one, dict) or not isinstance(one.get("path"), str):
        return False
    if "error" in one:
        return True
    measures = one.get("measures", {})
    if not isinstance(measures, dict) or not _is_number(one.get("score")):
        return False
    given = [measures[key] for key in _NUMBERS if key in measures]
    return all(map(_is_number, [*given, *([one["p_value"]] if "p_value" in one else [])]))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300  # no NaN either
