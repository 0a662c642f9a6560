"""``fapm drift``: whether, since when and why the pictures of a log differ from those before."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
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
    from fapm_cli.drift.drift import Drift

EXIT_CALM, EXIT_ALARM = 0, 1


def drift_(
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
    from fapm_cli.drift.history import History

    history = History(_begin(bank, alpha))
    for record in _records(logs):
        history.add(record)
    if not history.paths:
        raise OptionError(f"log {escaped(logs[0])} has no picture that was judged")
    drift = history.drift
    if drift.untold:
        note(f"note: the log does not tell of {', '.join(drift.untold)}")
    if plot is not None:
        from fapm_cli.drawing.course import draw_course

        write_atomically(plot, draw_course(history.evidence, drift.changes))
    summary = history.summary()
    typer.echo(summary_text(kind, summary, _text(summary)))
    return EXIT_ALARM if drift.changes else EXIT_CALM


def _begin(bank: Path | None, alpha: float) -> Drift:
    if bank is None:
        from fapm_cli.drift.drift import Drift

        return Drift(alpha=alpha)
    from fapm_cli.api.bank import load

    return load(bank).drift(alpha=alpha)


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
