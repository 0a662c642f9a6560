"""Reading ``fapm.toml``: each entry is found good, or what is wrong with it is said."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fapm_cli.errors import OptionError
from fapm_cli.line.findings import Findings, unknown
from fapm_cli.line.keys import (
    LOG,
    SECTIONS,
    SERVICE,
    SINKS,
    File,
    Table,
    Text,
    WrongError,
)
from fapm_cli.line.line import Line, LineSource, check_bank_name
from fapm_cli.line.sources import take_sources

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_BYTES = 1_000_000
_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class LineFile:
    """A file that was read.

    Attributes:
        line: by all entries that are good, as far as the file alone tells.
        sources: those of the line, by their entries.
        to: its addresses of sinks, by their entries.
        findings: of each entry.
    """

    line: Line
    sources: Mapping[str, LineSource]
    to: Mapping[str, str]
    findings: Findings


def load_line(path: Path) -> Line:
    """Read the file of a line that is to be run.

    Raises:
        OptionError: it can't be read, or an entry is wrong.
    """
    read = read_line(path)
    faults = read.findings.faults
    if faults:
        more = f" (and {len(faults) - 1} more: fapm check {path})" if len(faults) > 1 else ""
        raise OptionError(f"{path}, {faults[0].entry}: {faults[0].said}{more}")
    return read.line


def read_line(path: Path) -> LineFile:
    """Read the file of a line, and find what is wrong with it by itself.

    Raises:
        OptionError: it can't be read, or is no TOML.
    """
    tables, findings = _parsed(path), Findings(path.parent)
    values: dict[str, Any] = {}
    for name in tables:
        if name not in SECTIONS:
            findings.wrong(name, unknown("section", name, SECTIONS))
    if "log" in tables:
        findings.take("log", LOG, tables["log"], functools.partial(values.__setitem__, "log"))
    banks = _banks(findings, tables.get("banks", {}))
    sources = take_sources(findings, tables.get("sources", []), banks)
    sinks = dict(findings.table("sinks", tables.get("sinks", {})))
    given = sinks.pop("to", [])
    to = _addresses(findings, given)
    for key in SINKS.keys() & sinks.keys() if given == [] else ():
        findings.wrong(f"sinks.{key}", f"there are no sinks: add to = ['{_SQLITE}results.db']")
        del sinks[key]
    values |= findings.options("sinks", sinks, {"to": Text(), **SINKS})
    service = findings.table("service", tables.get("service", {}))
    values |= findings.options("service", service, SERVICE)
    found = {name: file for name, file in banks.items() if file is not None}
    line = Line(found, (*sources.values(),), (*to.values(),), **values)
    return LineFile(line, sources, to, findings)


def _parsed(path: Path) -> Table:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise OptionError(f"{path} has over {MOST_BYTES:,} bytes: is it a fapm.toml?")
        return tomllib.loads(data.decode())
    except OSError as error:
        raise OptionError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{path} is no TOML: {error}") from error


def _banks(findings: Findings, table: Any) -> dict[str, Path | None]:
    """Banks by name; None for one whose entry is wrong."""
    banks: dict[str, Path | None] = {}
    for name, value in findings.table("banks", table).items():
        entry = f"banks.{name}"
        banks[name] = None
        try:
            check_bank_name(name)
        except OptionError as error:
            findings.wrong(entry, str(error))
            continue
        findings.take(entry, File(), value, functools.partial(banks.__setitem__, name))
    if not banks and "banks" not in findings:
        findings.wrong(
            "banks", "there is none: add a section [banks] with lines like part = 'part.st'"
        )
    return banks


def _addresses(findings: Findings, given: Any) -> dict[str, str]:
    """Sinks' addresses, by their entries; files in them are looked for from the file's folder."""
    if not isinstance(given, list):
        findings.wrong("sinks.to", f"wanted a list of addresses: to = ['{_SQLITE}results.db']")
        return {}
    found: dict[str, str] = {}
    for number, value in enumerate(given, start=1):
        entry, folder = f"sinks.to.{number}", findings.folder
        try:
            text = Text().take(value, folder)
        except WrongError:
            findings.wrong(
                entry, "wanted an address in quotes"
            )  # not shown: it may hold a password
            continue
        if text.startswith("@"):
            text = f"@{folder / text[1:]}"
        elif text.startswith(_SQLITE):
            text = f"{_SQLITE}{os.path.abspath(folder / text.removeprefix(_SQLITE))}"
        found[entry] = text
        findings.good(entry, "")
    return found
