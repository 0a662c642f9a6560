"""Options as values of the engine, checked."""

from __future__ import annotations

import re
from typing import Any

from fapm_cli.errors import OptionError


def learning_choices(
    preset: str,
    backbone: str | None,
    layers: str | None,
    variant: str,
    size: str | None,
    grid: str | None,
    coreset_ratio: float,
    spread_threshold: float,
    metric: str | None,
    turn: str | None,
    align: str | None,
    **query: Any,
) -> dict[str, Any]:
    """What is to be learnt, as :func:`fapm_cli.api.learning.build` takes it; ``query`` likewise.

    Raises:
        OptionError: a value makes no sense.
    """
    from fapm_cli.bank.presets import configure

    given = {
        "backbone": backbone,
        "layers": None if layers is None else layers.split(","),
        "size": None if size is None else parse_size(size),
        "grid": None if grid is None else parse_sides("grid", grid),
        "metric": metric,
        "align": align,
    }
    choices: dict[str, Any] = {
        "preset": preset,
        "variant": variant.upper(),
        "coreset_ratio": coreset_ratio,
        "spread_threshold": spread_threshold,
        "query": query,
        **{name: value for name, value in given.items() if value is not None},
    }
    if turn is not None:
        choices["turn"] = None if turn == "auto" else parse_turn(turn)
    configure(**choices)
    return choices


def parse_turn(text: str) -> int:
    """Read degrees, or ``none``.

    Raises:
        OptionError: it is neither.
    """
    if text == "none":
        return 0
    if not re.fullmatch("-?[0-9]{1,5}", text):
        raise OptionError(f"turn {text!r}: use auto, none or degrees, like 20")
    return int(text)


def parse_size(text: str) -> int | tuple[int, int]:
    """Read ``224``, the shorter side, or ``HEIGHTxWIDTH``.

    Raises:
        OptionError: it is neither.
    """
    height, width = parse_sides("size", text)
    return (height, width) if "x" in text.lower() else height


def parse_sides(name: str, text: str) -> tuple[int, int]:
    """Read ``224`` or ``HEIGHTxWIDTH``.

    Raises:
        OptionError: it is neither.
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(
        part.isascii() and part.isdigit() and len(part) < 6 for part in parts
    ):
        raise OptionError(f"{name} {text!r}: write one number, like 224, or HEIGHTxWIDTH")
    return int(parts[0]), int(parts[-1])


def query_changes(
    neighbors: int | None,
    layer_weights: str | None,
    sigma: float | None,
    reach: int | None,
    calibration: str | None,
    light: str | None,
) -> dict[str, Any]:
    """Collect what the options change of a bank's query.

    Raises:
        OptionError: layer weights are no numbers.
    """
    changes = {
        "num_neighbors": neighbors,
        "layer_weights": None if layer_weights is None else parse_numbers(layer_weights),
        "sigma": sigma,
        "reach": reach,
        "calibration": calibration,
        "light": light,
    }
    return {name: value for name, value in changes.items() if value is not None}


def parse_numbers(text: str) -> tuple[float, ...]:
    """Read ``2,1``.

    Raises:
        OptionError: a part is not a number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"layer weights {text!r}: write numbers and commas, like 2,1") from None
