"""``fapm check``: whether a line's file is in order, entry by entry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fapm_cli.commands.colour import coloured
from fapm_cli.commands.formats import choose_format, echo_records
from fapm_cli.commands.options import SINKS, FormatOption, JsonOption
from fapm_cli.files import escaped

if TYPE_CHECKING:
    from fapm_cli.line.findings import Finding

EXIT_OK, EXIT_WRONG = 0, 2


def check(
    file: Annotated[
        Path, typer.Argument(metavar="[FILE]", help="What fapm serve is to run.")
    ] = Path("fapm.toml"),
    connect: Annotated[
        bool,
        typer.Option(
            "--connect",
            help="Ask each sink whether it answers, and open cameras, too.",
            rich_help_panel=SINKS,
        ),
    ] = False,
    output_format: FormatOption = "text",
    as_json: JsonOption = False,
) -> int:
    """Check the file of a line: each entry is in order, or what is wrong and what to do.

    Nothing is written or sent. Exit codes: 0 all in order, 2 something is wrong.

    Example:  fapm check fapm.toml
    """
    kind = choose_format(output_format, json=as_json)
    from fapm_cli.line.check import check_line

    wrong = False
    found: list[Finding] = []
    for finding in check_line(file, connect=connect):
        wrong |= not finding.ok
        if kind == "text":
            typer.echo(_text(finding))
        found.append(finding)
    if kind != "text":
        echo_records(kind, [one.to_json() for one in found], ("entry", "ok", "said"))
    return EXIT_WRONG if wrong else EXIT_OK


def _text(finding: Finding) -> str:
    word = coloured("ok   ", fg="green") if finding.ok else coloured("wrong", fg="red", bold=True)
    return f"{word}  {escaped(finding.entry)}  {escaped(finding.said)}"
