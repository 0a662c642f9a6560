"""``fapm info``: what a bank holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from fapm_cli.commands.formats import choose_format, summary_text
from fapm_cli.commands.options import BankArgument, FormatOption, JsonOption
from fapm_cli.files import escaped

if TYPE_CHECKING:
    from rich.text import Text

    from fapm_cli.bank.bank import Bank, LayerMemory
    from fapm_cli.config import BankConfig


def info(
    bank: BankArgument,
    output_format: FormatOption = "text",
    as_json: JsonOption = False,
) -> None:
    """Show what a bank holds.

    Example:  fapm info bank.st
    """
    from fapm_cli.bank.file import load_bank

    kind = choose_format(output_format, json=as_json)
    loaded = load_bank(bank)
    if kind == "text":
        _show(loaded)
    else:
        typer.echo(summary_text(kind, _everything(loaded), ""))


def _everything(bank: Bank) -> dict[str, Any]:
    return {
        "config": bank.config.to_json(),
        "variant": bank.config.variant,
        "weights": bank.weights,
        "weights_hash": bank.weights_hash,
        "backbone_embedded": bank.backbone is not None,
        "versions": bank.versions,
        "seen": bank.seen and bank.seen.to_json(),
        "inspected_share": bank.inspected_share,
        "thumbnail_bytes": _thumbnail_bytes(bank),
        "thresholds": bank.thresholds.summary(),
        "pictures": [
            {"name": p.name, "sha256": p.sha256, "score": p.score, "group": p.group}
            for p in bank.pictures
        ],
        "memories": {
            name: {
                "map_size": list(bank.map_sizes[j]),
                "channels": memory.keys.shape[1],
                "key_counts": memory.key_counts.tolist(),
                "radius_sq": memory.radius_sq.tolist(),
                "widened": memory.widened.tolist(),
            }
            for j, (name, memory) in enumerate(
                zip(bank.config.memory_names, bank.memories, strict=True)
            )
        },
    }


def _thumbnail_bytes(bank: Bank) -> int:
    return sum(len(one) for one in bank.thumbnails or ())


def _show(bank: Bank) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    config = bank.config
    (height, width), (crop_h, crop_w) = config.preprocessing.resize_px, config.preprocessing.crop_px
    cropped = f", crop {crop_h}x{crop_w}" if config.preprocessing.crops else ", whole picture"
    scores = bank.nominal_scores
    num_bytes = _thumbnail_bytes(bank)
    embedded = "in the bank" if bank.backbone is not None else "not in the bank"
    rows = {
        "pictures": f"{len(bank.pictures)}, {escaped(bank.pictures[0].name)} to "
        f"{escaped(bank.pictures[-1].name)}",
        "good scores": f"median {scores.median():.4f}, largest {scores.max():.4f} (out of sample)",
        "verdicts": bank.thresholds.describe(),
        "thumbnails": f"{num_bytes / 1e6:.1f} MB" if num_bytes else "none",
        "backbone": f"{config.backbone}, layers {', '.join(config.layers)}",
        "weights": f"{escaped(bank.weights)}, {bank.weights_hash[:12]}…, {embedded}",
        "input": f"{height}x{width} px{cropped}, {config.preprocessing.resampling}",
        "inspected": f"{bank.inspected_share:.0%} of each picture",
        "variant": f"{config.variant or 'not the paper'}: grid {config.grid[0]}x{config.grid[1]}, "
        f"coreset {config.coreset_ratio:.0%}, spread threshold {config.spread_threshold}",
        "built by": ", ".join(f"{name} {value}" for name, value in bank.versions.items()),
    }
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for name, value in rows.items():
        console.print(f"{name:<12} {value}")
    console.print(f"\n{_caption(config)}")
    for name, memory in zip(config.memory_names, bank.memories, strict=True):
        console.print(
            f"\n{name}  {len(memory.keys)} keys of {memory.keys.shape[1]} values, "
            f"{int(memory.widened.sum())} of {len(memory.key_counts)} patches widened (*)"
        )
        table = Table.grid(padding=0)
        for row in _grid_cells(memory, config.grid[1]):
            table.add_row(*row)
        console.print(table)
        console.print(Text("scale ").append_text(_scale(memory)))


def _caption(config: BankConfig) -> str:
    """Say what each grid shows."""
    rows, columns = config.grid
    lines = [
        f"Per layer, the picture's {rows}x{columns} patches as they lie, with their radius r: how",
        "far the outermost vector of good parts lies from its nearest key, in feature units. The",
        "wider a patch, the more good parts differ there, and the brighter it is on a terminal.",
    ]
    if config.adaptive:
        lines += [
            "* is a widened patch: with K keys its spread, tanh(r²/2), exceeded "
            f"{config.spread_threshold:g}; so it has more."
        ]
    return "\n".join(lines)


def _grid_cells(memory: LayerMemory, columns: int) -> list[list[Text]]:
    """One cell per patch: its radius r (and * if widened), the wider the brighter."""
    radii = memory.radius_sq.sqrt()
    widest = float(radii.max())
    cells = [
        _cell(radius, widest, "*" if widened else " ")
        for radius, widened in zip(radii.tolist(), memory.widened.tolist(), strict=True)
    ]
    return [cells[i : i + columns] for i in range(0, len(cells), columns)]


def _scale(memory: LayerMemory) -> Text:
    """The brightness of radii from 0 to the widest."""
    from rich.text import Text

    widest = float(memory.radius_sq.max()) ** 0.5
    return Text().join(_cell(widest * step / 4, widest) for step in range(5))


def _cell(radius: float, widest: float, mark: str = " ") -> Text:
    from rich.text import Text

    level = int(235 + 20 * radius / max(widest, 1e-9))
    style = f"{'black' if level > 245 else 'white'} on color({level})"
    return Text(f" {radius:5.2f}{mark} ", style=style)
