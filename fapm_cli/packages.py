"""Packages of extras, and those that take long to import: imported where they are used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from fapm_cli.errors import OptionError

_TELEMETRY = "openvino_telemetry"


def need(name: str, extra: str = "export") -> Any:
    """Import a package, or one of its modules, of an extra such as ``fapm[export]``.

    Raises:
        OptionError: it is not installed.
    """
    try:
        with _untold():
            return importlib.import_module(name)
    except ImportError as error:
        raise OptionError(
            f"{name} can't be imported ({error}); install it with: pip install 'fapm[{extra}]'"
        ) from error


@contextmanager
def _untold() -> Iterator[None]:
    """Keep OpenVINO from what it does as it is imported: telling its maker's server so.

    It does that by a package of its own, and goes without where that is missing.
    """
    before = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment] # for import, that it is missing
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]
        if before is not None:
            sys.modules[_TELEMETRY] = before


def is_there(name: str) -> bool:
    """Whether a package is installed."""
    try:
        return find_spec(name) is not None
    except ImportError:
        return False


def reason_of(error: Exception) -> str:
    """What a package says of its failure, in one line that is not too long."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def version_of(name: str) -> str:
    """Of an installed package; empty where it does not say."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
