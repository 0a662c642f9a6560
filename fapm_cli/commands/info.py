"""``fapm info``: what a bank holds."""

from __future__ import annotations

from statistics import median_low
from typing import TYPE_CHECKING, Any

import typer

from fapm_cli.commands.bank_summary import align_words, metric_words, turn_words
from fapm_cli.commands.formats import choose_format, summary_text
from fapm_cli.commands.options import BankArgument, FormatOption, JsonOption
from fapm_cli.files import escaped
from fapm_cli.plain_values import percent

if TYPE_CHECKING:
    from rich.text import Text

Described = dict[str, Any]


def info(
    bank: BankArgument,
    output_format: FormatOption = "text",
    as_json: JsonOption = False,
) -> None:
    """Show what a bank holds.

    Example:  fapm info bank.st
    """
    from fapm_cli.api.bank import load

    kind = choose_format(output_format, json=as_json)
    loaded = load(bank)
    if kind == "text":
        _show(loaded.describe(), loaded.thresholds.describe())
    else:
        typer.echo(summary_text(kind, loaded.describe(), ""))


def _show(held: Described, verdicts: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False, soft_wrap=True)
    for name, value in _rows(held, verdicts).items():
        console.print(f"{name:<12} {value}")
    config = held["config"]
    console.print(f"\n{_caption(config)}")
    for name, memory in held["memories"].items():
        console.print(
            f"\n{name}  {sum(memory['key_counts'])} keys of {memory['channels']} values, "
            f"{sum(memory['widened'])} of {len(memory['key_counts'])} patches widened (*)"
        )
        table = Table.grid(padding=0)
        for row in _grid_cells(memory, config["grid"][1]):
            table.add_row(*row)
        console.print(table)
        console.print(Text("scale ").append_text(_scale(memory)))


def _rows(held: Described, verdicts: str) -> dict[str, str]:
    """What stands above the grids, by the words that it stands behind."""
    config, names = held["config"], [escaped(one["name"]) for one in held["pictures"]]
    scores = sorted(one["score"] for one in held["pictures"])
    num_parts = len({one["group"] for one in held["pictures"]})
    parts = f" of {num_parts} parts" * (num_parts < len(names))
    (height, width), (crop_h, crop_w) = (
        config["preprocessing"][size] for size in ("resize_px", "crop_px")
    )
    whole = (height, width) == (crop_h, crop_w)
    num_bytes = held["thumbnail_bytes"]
    rows, columns = config["grid"]
    return {
        "pictures": f"{len(names)}{parts}, {names[0]} to {names[-1]}",
        "good scores": f"median {median_low(scores):.4f}, largest {scores[-1]:.4f} (out of sample)",
        "verdicts": verdicts,
        "thumbnails": f"{num_bytes / 1e6:.1f} MB" if num_bytes else "none",
        "backbone": f"{config['backbone']}, layers {', '.join(config['layers'])}",
        "weights": f"{escaped(held['weights'])}, {held['weights_hash'][:12]}…, "
        + ("in the bank" if held["backbone_embedded"] else "not in the bank"),
        "input": f"{height}x{width} px"
        + (", whole picture" if whole else f", crop {crop_h}x{crop_w}")
        + f", {config['preprocessing']['resampling']}",
        "inspected": f"{percent(held['inspected_share'])} of each picture",
        "variant": f"{held['variant'] or 'not the paper'}: grid {rows}x{columns}, "
        f"coreset {config['coreset_ratio']:.0%}, spread threshold {config['spread_threshold']}",
        **({"copies": turn_words(held["config"]["turn"])} if held["config"]["turn"] else {}),
        **({"aligned": align_words(config["align"])} if config["align"] != "none" else {}),
        **({"metric": metric_words(held["metric"])} if held["metric"] else {}),
        "built by": ", ".join(f"{name} {value}" for name, value in held["versions"].items()),
    }


def _caption(config: Described) -> str:
    """Say what each grid shows."""
    rows, columns = config["grid"]
    lines = [
        f"Per layer, the picture's {rows}x{columns} patches as they lie, with their radius r: how",
        "far the outermost vector of good parts lies from its nearest key, in feature units. The",
        "wider a patch, the more good parts differ there, and the brighter it is on a terminal.",
    ]
    if config["adaptive"]:
        lines += [
            "* is a widened patch: with K keys its spread, tanh(r²/2), exceeded "
            f"{config['spread_threshold']:g}; so it has more."
        ]
    return "\n".join(lines)


def _grid_cells(memory: Described, columns: int) -> list[list[Text]]:
    """One cell per patch: its radius r (and * if widened), the wider the brighter."""
    radii = [radius_sq**0.5 for radius_sq in memory["radius_sq"]]
    cells = [
        _cell(radius, max(radii), "*" if widened else " ")
        for radius, widened in zip(radii, memory["widened"], strict=True)
    ]
    return [cells[i : i + columns] for i in range(0, len(cells), columns)]


def _scale(memory: Described) -> Text:
    """The brightness of radii from 0 to the widest."""
    from rich.text import Text

    widest = max(memory["radius_sq"]) ** 0.5
    return Text().join(_cell(widest * step / 4, widest) for step in range(5))


def _cell(radius: float, widest: float, mark: str = " ") -> Text:
    from rich.text import Text

    level = int(235 + 20 * radius / max(widest, 1e-9))
    style = f"{'black' if level > 245 else 'white'} on color({level})"
    return Text(f" {radius:5.2f}{mark} ", style=style)
