"""``fapm drift``: whether, since when and why the pictures of a log differ from those before."""

from __future__ import annotations

import math
import sys
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fapm_cli.commands.formats import choose_format, summary_text
from fapm_cli.commands.options import OUTPUT, VERDICTS, FormatOption, JsonOption
from fapm_cli.commands.paths import check_output
from fapm_cli.commands.terminal import note
from fapm_cli.errors import OptionError
from fapm_cli.files import escaped, write_atomically
from fapm_cli.finding.kinds import A_DRAWING

if TYPE_CHECKING:
    from fapm_cli.drift.drift import Change, Drift

EXIT_CALM, EXIT_ALARM = 0, 1


def drift(
    logs: Annotated[
        list[Path],
        typer.Argument(
            metavar="LOG...",
            help="What fapm score --format jsonl wrote, in order; - for stdin.",
        ),
    ],
    bank: Annotated[
        Path | None,
        typer.Option(
            metavar="BANK",
            help="Compare with its good parts, too, not only with the log's own of before.",
            rich_help_panel=VERDICTS,
        ),
    ] = None,
    alpha: Annotated[
        float,
        typer.Option(
            metavar="A",
            help="Share of logs without a change that may ever have an alarm.",
            rich_help_panel=VERDICTS,
        ),
    ] = 0.01,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Draw the course of evidence.", rich_help_panel=OUTPUT),
    ] = None,
    output_format: FormatOption = "text",
    as_json: JsonOption = False,
) -> int:
    """Say whether light, focus, position or the process changed in a log.

    Exit codes: 0 no alarm, 1 alarm, 2 any error.

    Example:  fapm drift line.jsonl --bank bank.st
    """
    kind = choose_format(output_format, json=as_json)
    if plot is not None:
        check_output(plot, A_DRAWING)
    follow = _follow(bank, alpha)
    history = History()
    for record in _records(logs):
        follow.add(record)
        if "error" not in record:
            history.keep(record, follow.evidence)
    if not history.paths:
        raise OptionError(f"log {escaped(logs[0])} has no picture that was judged")
    if follow.untold:
        note(f"note: the log does not tell of {', '.join(follow.untold)}")
    if plot is not None:
        from fapm_cli.drawing.course import draw_course

        write_atomically(plot, draw_course(history.evidence, follow.changes))
    summary = follow.summary()
    summary["changes"] = [
        {**change.to_json(), **history.around(change, follow.reference)}
        for change in follow.changes
    ]
    typer.echo(summary_text(kind, summary, _text(summary)))
    return EXIT_ALARM if follow.changes else EXIT_CALM


def _follow(bank: Path | None, alpha: float) -> Drift:
    if bank is None:
        from fapm_cli.drift.drift import Drift

        return Drift(alpha=alpha)
    from fapm_cli.api.bank import load

    return load(bank).drift(alpha=alpha)


@dataclass
class History:
    """What a log says of each picture that was judged, by its number.

    Attributes:
        paths: of the pictures.
        values: of each measure; NaN where a picture has none.
        evidence: of each measure after each picture, in units of the alarm's level.
    """

    paths: list[str] = field(default_factory=list)
    values: dict[str, array[float]] = field(default_factory=lambda: defaultdict(_numbers))
    evidence: dict[str, array[float]] = field(default_factory=lambda: defaultdict(_numbers))

    def keep(self, record: Mapping[str, Any], evidence: Mapping[str, float]) -> None:
        """Keep what is said of the next picture."""
        from fapm_cli.drift.drift import values_of

        self.paths.append(record["path"])
        found = values_of(record)
        for name, value in evidence.items():
            self.evidence[name].append(value)
            self.values[name].append(found.get(name, math.nan))

    def around(self, change: Change, reference: Mapping[str, Sequence[float]]) -> dict[str, Any]:
        """Say where a change began, and the medians before, with the reference, and since then."""
        values, first = self.values[change.measure], change.since - 1
        sides = [*reference.get(change.measure, ()), *values[:first]], values[first:]
        before, after = ([one for one in side if not math.isnan(one)] for side in sides)
        return {
            "path": self.paths[first],
            "before": median(before) if before else None,
            "after": median(after),
        }


def _numbers() -> array[float]:
    return array("d")


def _records(logs: list[Path]) -> Iterator[dict[str, Any]]:
    """Read all logs, one after another.

    Raises:
        OptionError: one can't be read, or holds anything else.
    """
    from fapm_cli.drift.log import read_log

    for log in logs:
        if str(log) == "-":
            if sys.stdin is None:
                raise OptionError("stdin is closed: - reads a log from it")
            yield from read_log(sys.stdin, "-")
            continue
        try:
            with log.open(encoding="utf-8", errors="surrogateescape") as file:
                yield from read_log(file, str(log))
        except OSError as error:
            raise OptionError(f"log {escaped(log)} can't be read: {error.strerror}") from error


def _text(summary: dict[str, Any]) -> str:
    bank = f" and {summary['reference']} parts of the bank" * bool(summary["reference"])
    pictures = f"{summary['pictures']} pictures{bank}"
    if not summary["alarm"]:
        most = max(summary["most_evidence"].values())
        return f"no alarm in {pictures}; evidence at most {most:.2g} of what it takes"
    lines = [f"alarm: {summary['cause']}, of {pictures}"]
    for change in summary["changes"]:
        before = "" if change["before"] is None else f"{change['before']:.4g} → "
        lines.append(
            f"  {change['word']} since picture {change['since']} ({escaped(change['path'])}), "
            f"noticed at {change['noticed']}: {change['measure']} {before}{change['after']:.4g}"
        )
    return "\n".join(lines)
