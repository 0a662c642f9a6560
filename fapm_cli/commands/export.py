"""``fapm export`` and ``fapm verify``: a bank as an ONNX file for other programs, and its proof."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fapm_cli.commands.formats import choose_format, summary_text
from fapm_cli.commands.options import (
    OUTPUT,
    BankArgument,
    FormatOption,
    JsonOption,
    ThreadsOption,
    WeightsOption,
)
from fapm_cli.commands.paths import check_output
from fapm_cli.commands.terminal import note
from fapm_cli.files import escaped
from fapm_cli.finding.kinds import A_MODEL

if TYPE_CHECKING:
    from fapm_cli.api.bank import Bank

_COLUMNS = ("score", "layer_scores", "anomaly_map", "peak")


def export(
    bank: BankArgument,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The ONNX file to write.",
            rich_help_panel=OUTPUT,
        ),
    ],
    batch: Annotated[
        int,
        typer.Option(
            min=1, max=64, metavar="N", help="Pictures it takes at a time.", rich_help_panel=OUTPUT
        ),
    ] = 1,
    half: Annotated[
        bool,
        typer.Option(
            "--half",
            help="Weights and keys in float16: half the size, scores within 1%.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    opset: Annotated[
        int,
        typer.Option(
            min=18, max=23, metavar="N", help="Version of ONNX's operators.", rich_help_panel=OUTPUT
        ),
    ] = 18,
    as_is: Annotated[
        bool,
        typer.Option(
            "--as-is",
            help="Export a bank that aligns pictures, too: the file does not align.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    any_size: Annotated[
        bool,
        typer.Option(
            "--any-size",
            help="The file takes a picture of any size, and resizes it itself.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    weights: WeightsOption = None,
    threads: ThreadsOption = None,
    output_format: FormatOption = "text",
    as_json: JsonOption = False,
) -> None:
    """Write a bank as one ONNX file that judges pictures in other programs, without fapm.

    Each engine installed here (onnxruntime, openvino) runs it on the bank's own pictures: nothing
    is written unless it finds what fapm does. Needs: pip install 'fapm[export]'

    Example:  fapm export bank.st -o part.onnx
    """
    kind = choose_format(output_format, json=as_json)
    check_output(output, A_MODEL)
    from fapm_cli.compute.cores import use_threads

    use_threads(threads)
    loaded = _load(bank)
    ask = {"batch": batch, "half": half, "opset": opset, "as_is": as_is, "any_size": any_size}
    made = loaded.export(output, **ask, weights=weights)
    _note_left_out(loaded)
    _show(kind, made)


def verify(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="An ONNX file made by fapm export.")
    ],
    bank: BankArgument,
    weights: WeightsOption = None,
    threads: ThreadsOption = None,
    output_format: FormatOption = "text",
    as_json: JsonOption = False,
) -> None:
    """Prove an exported file again: it is as it was made, of this bank, and finds what fapm does.

    Exit codes: 0 proven, 2 anything else.

    Example:  fapm verify part.onnx bank.st
    """
    kind = choose_format(output_format, json=as_json)
    from fapm_cli.compute.cores import use_threads

    use_threads(threads)
    _show(kind, _load(bank).verify(model, weights))


def _load(bank: Path) -> Bank:
    from fapm_cli.api.bank import load

    return load(bank)


def _note_left_out(bank: Bank) -> None:
    """Say what happens to pictures before they are judged that an exported file does not do."""
    config = bank.learnt.config
    if config.align != "none":
        note("note: the file aligns no picture: parts must lie where the good ones do")
    if config.query.light == "corrected":
        note(
            "note: the file corrects no light: a picture in a light that no good one had is judged "
            "as it is"
        )


def _show(kind: str, made: dict[str, Any]) -> None:
    if not made["bank_pictures"]:
        note("note: the bank holds no pictures: compared by drawn ones")
    typer.echo(summary_text(kind, made, _lines(made)))


def _lines(made: dict[str, Any]) -> str:
    """Lay out for a person what a file is, and by how much each engine differs."""
    said = made["metadata"]
    rows = [["engine", "pictures", *(name.replace("_", " ") for name in _COLUMNS), "nearest"]]
    for one in made["parity"]:
        figures = [f"{one[name]:.1e}" for name in _COLUMNS]
        rows.append([one["engine"], str(one["pictures"]), *figures, f"{one['nearest']:.1%}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = []
    for engine, *cells in rows:
        right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        table.append("  ".join([engine.ljust(widths[0]), *right]))
    sides = "heightxwidth" if made["any_size"] else said["input_px"]
    return "\n".join(
        [
            f"model     {escaped(made['model'])}  ({made['bytes'] / 1e6:.1f} MB)",
            f"input     pixels {made['batch']}x{sides}x3 uint8, RGB",
            f"weights   {said['weights']}, opset {made['opset']}",
            f"verdicts  anomalous above {float(said['threshold']):.4f}",
            "differs from fapm in float32 by at most:",
            *table,
        ]
    )
