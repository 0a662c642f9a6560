"""Reading the sources of a line: one kind each, a bank that is there, no picture judged twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fapm_cli.line.findings import Findings, unknown
from fapm_cli.line.keys import SOURCE_KINDS, SOURCES, WrongError, shown
from fapm_cli.line.line import LineSource


def take_sources(findings: Findings, given: Any, banks: Mapping[str, Any]) -> dict[str, LineSource]:
    """Take the sections ``[[sources]]``.

    Args:
        findings: told of each.
        given: what the file has.
        banks: by name.

    Returns:
        Those that are in order, by their entries.
    """
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        findings.wrong("sources", f"{shown(given)}: wanted sections [[sources]] in double brackets")
        return {}
    found: dict[str, LineSource] = {}
    for number, table in enumerate(given, start=1):
        entry, keys = f"sources.{number}", Findings(findings.folder)
        values = keys.options(entry, table, SOURCES)
        findings.update({fault.entry: fault for fault in keys.faults})
        if keys.faults:
            continue
        try:
            source = _source(values, banks)
            _check_apart(source, found)
        except WrongError as error:
            findings.wrong(entry, str(error))
            continue
        found[entry] = source
        findings.good(entry, f"{source.name}, judged by {source.bank}")
    return found


def _source(values: dict[str, Any], banks: Mapping[str, Any]) -> LineSource:
    kinds = [kind for kind in SOURCE_KINDS if kind in values]
    if len(kinds) != 1:
        raise WrongError(
            f"{' and '.join(kinds) or 'nothing'} to judge: name one of watch (a "
            "folder), camera (a number), video (a file)"
        )
    if "bank" not in values:
        raise WrongError("no bank: add bank = 'NAME', one of [banks]")
    if values["bank"] not in banks:
        raise WrongError(f"{shown(values['bank'])}: {unknown('bank', values['bank'], banks)}")
    for key, kind in (("only_new", "watch"), ("every", "video")):
        if key in values and kind not in values:
            raise WrongError(f"{key.replace('_', '-')} is for a {kind}: leave it out")
    return LineSource(**values)


def _check_apart(source: LineSource, others: Mapping[str, LineSource]) -> None:
    """Check that no picture is judged as one of another source, too."""
    for entry, other in others.items():
        if source.camera is not None and source.camera == other.camera:
            raise WrongError(f"camera {source.camera} is that of {entry}: one source reads it")
        if source.watch is not None and other.watch is not None:
            one, two = source.watch.resolve(), other.watch.resolve()
            if one.is_relative_to(two) or two.is_relative_to(one):
                raise WrongError(
                    f"folder {source.watch} and {other.watch} of {entry} have pictures in common: "
                    "give each source a folder of its own"
                )
