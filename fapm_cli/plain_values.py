"""JSON values: frozen dataclasses from them, which may hold anything; moments, ids and shares as
text.
"""

from __future__ import annotations

import dataclasses
import secrets
import sys
import time
from dataclasses import MISSING
from datetime import datetime, timezone
from typing import Any, TypeVar

T = TypeVar("T")


def utc_text(seconds: float | None = None, timespec: str = "milliseconds") -> str:
    """A moment in UTC, by ISO 8601 with a Z: seconds since 1970, or now."""
    moment = datetime.fromtimestamp(time.time() if seconds is None else seconds, timezone.utc)
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def percent(share: float) -> str:
    """A share of 0 to 1, to a percent: none and all are said of none and all alone."""
    if 0 < share < 0.005:
        return "less than 1%"
    return "more than 99%" if 0.995 <= share < 1 else f"{share:.0%}"


def new_id(seconds: float | None = None) -> str:
    """An id that no other has, of this run or another, here or elsewhere: 32 hexadecimal digits.

    The first 13 are microseconds since 1970 (as given, or now), so that ids sort by time; the rest
    is chance, for clocks that agree or are set back.
    """
    microseconds = int((time.time() if seconds is None else seconds) * 1e6)
    return f"{microseconds:013x}{secrets.token_hex(10)[:19]}"


def from_plain(cls: type[T], plain: dict[str, Any]) -> T:
    """Make a frozen dataclass of JSON values, each checked against its field's type.

    Raises:
        TypeError, KeyError: a field is missing, unknown, or of another type.
    """
    known = {field.name: str(field.type) for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if not isinstance(plain, dict):
        raise TypeError(f"{cls.__name__} is {plain!r}")
    later = {field.name for field in dataclasses.fields(cls) if field.default is not MISSING}  # type: ignore[arg-type]
    if (set(plain) ^ set(known)) - (later - set(plain)):
        raise KeyError(f"fields {sorted(set(plain) ^ set(known))}")
    values = {name: _as_type(name, known[name], value) for name, value in plain.items()}
    return cls(**values)


def _as_type(name: str, kind: str, value: Any) -> Any:
    """Check a JSON value against a field's type, and turn lists into tuples."""
    if kind.startswith("tuple["):
        item, *rest = [part.strip() for part in kind[6:-1].split(",")]
        fixed_length = None if rest == ["..."] else len(rest) + 1
        if not isinstance(value, list) or fixed_length not in (None, len(value)):
            raise TypeError(f"{name} is {value!r}")
        return tuple(_as_type(name, item, one) for one in value)
    if kind == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        if not abs(value) <= sys.float_info.max:  # nor is NaN
            raise TypeError(f"{name} is not finite")
        return float(value)
    if dataclasses.is_dataclass(value) and type(value).__name__ == kind:
        return value
    if type(value) is not {"int": int, "bool": bool}.get(kind, str):
        raise TypeError(f"{name} is {value!r}")
    return value
