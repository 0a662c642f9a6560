"""The summary of a bank that was made."""

from __future__ import annotations

from typing import Any

from fapm_cli.files import escaped, name_suspects
from fapm_cli.plain_values import percent

# What nine of ten bottles show, in px of the input: docs/taking-pictures.md, the smallest defect.
_SPOT_PX, _LINE_PX = 6, 2


def summarise(held: dict[str, Any]) -> dict[str, Any]:
    """Sum up what :meth:`fapm_cli.api.bank.Bank.describe` says."""
    layers = {
        name: {
            "keys": sum(memory["key_counts"]),
            "patches": len(memory["key_counts"]),
            "widened": sum(memory["widened"]),
        }
        for name, memory in held["memories"].items()
    }
    return {
        "backbone": held["config"]["backbone"],
        "variant": held["variant"],
        "input": _input(held),
        "layers": layers,
        "bit_depth": held["config"]["preprocessing"]["bit_depth"],
        "inspected_share": held["inspected_share"],
        "turn": held["config"]["turn"],
        "metric": held["metric"],
        "thresholds": held["thresholds"],
    }


def _input(held: dict[str, Any]) -> dict[str, Any]:
    """The input's height and width in px, and how many px of the smallest picture each of its px
    is; None where that is not known.
    """
    sides, seen = held["config"]["preprocessing"]["resize_px"], held["seen"]
    per_px = None
    if seen is not None:
        ratios = zip(seen["least_px"], sides, strict=True)
        per_px = [round(own / side, 3) for own, side in ratios]
    return {"size_px": held["config"]["preprocessing"]["crop_px"], "picture_px_per_px": per_px}


def _input_words(size: dict[str, Any]) -> str:
    """Say how small a thing may be (docs/taking-pictures.md has the measured table)."""
    height, width = size["size_px"]
    words = f"{height}x{width} px"
    if size["picture_px_per_px"] is None:
        return words
    coarsest = max(size["picture_px_per_px"])
    spot, line = (max(round(px * coarsest), 1) for px in (_SPOT_PX, _LINE_PX))
    return (
        f"{words}, each {coarsest:.1f} px of a picture: clear spots from {spot} px, "
        f"lines from {line} px wide"
    )


def turn_words(step: int) -> str:
    """Say which copies of each picture gave keys, too."""
    return f"of each picture, turned by the multiples of {step}°"


def align_words(align: str) -> str:
    """Say how each part is brought to where the good ones lie."""
    return {"shift": "each part shifted", "rigid": "each part shifted and turned"}[align]


def metric_words(metric: dict[str, Any]) -> str:
    """Say how strong the patches' own metric is, and what for."""
    shares = {tried["floor"]: tried["exceeded"] for tried in metric["found"]}
    floor = metric["floor"]
    kind = "plain" if floor is None else f"own to each patch, floor {floor:g}"
    plain = "" if floor is None else f" (plain {shares[None]:.1%})"
    return f"{kind}: spoiled pictures exceed {shares[floor]:.1%} of good ones{plain}"


def suspect_records(suspects: list[tuple[str, float]]) -> list[dict[str, Any]]:
    """Suspects as plain values."""
    return [{"name": name, "z": round(z, 2)} for name, z in suspects]


def summary_lines(summary: dict[str, Any], verdicts: str) -> str:
    """Lay a summary out for a person."""
    seconds = summary["seconds"]
    spent = ", ".join(f"{stage} {s:.1f}" for stage, s in seconds.items())
    lines = [
        f"bank      {escaped(summary['bank'])}  ({summary['bytes'] / 1e6:.1f} MB)",
        f"pictures  {summary['pictures']}"
        + f" of {summary['groups']} parts" * (summary["groups"] < summary["pictures"])
        + f" ({summary['skipped']} skipped)" * bool(summary["skipped"]),
        *[f"depth     {summary['bit_depth']} bits of 16"] * (summary["bit_depth"] < 16),
        *[f"inspected {percent(summary['inspected_share'])} of each picture"]
        * (summary["inspected_share"] < 1),
        f"input     {_input_words(summary['input'])}",
        f"backbone  {summary['backbone']}",
        *(
            f"{name:<9} {layer['keys']} keys in {layer['patches']} patches, "
            f"{layer['widened']} widened"
            for name, layer in summary["layers"].items()
        ),
        *([f"copies    {turn_words(summary['turn'])}"] if summary["turn"] else []),
        *([f"metric    {metric_words(summary['metric'])}"] if summary["metric"] else []),
        f"verdicts  {verdicts}",
        *_as_lines("dropped", summary["dropped"]),
        *_as_lines("suspects", summary["suspects"]),
        f"seconds   {sum(seconds.values()):.1f}  ({spent})",
    ]
    return "\n".join(lines)


def _as_lines(title: str, pictures: list[dict[str, Any]]) -> list[str]:
    """Name the first pictures that look unlike the rest, in one line; none for none."""
    if not pictures:
        return []
    names = name_suspects([(one["name"], one["z"]) for one in pictures])
    return [f"{title:<9} {names}: unlike the rest by so many σ"]
