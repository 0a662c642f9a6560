"""Options as values of the engine, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fapm_cli.errors import OptionError

if TYPE_CHECKING:
    from fapm_cli.config import BankConfig


def configure(
    preset: str,
    backbone: str | None,
    layers: str | None,
    variant: str,
    size: str | None,
    grid: str | None,
    coreset_ratio: float,
    spread_threshold: float,
    metric: str = "plain",
) -> BankConfig:
    """Configure a bank as the options say.

    Raises:
        OptionError: a value makes no sense.
    """
    from fapm_cli.bank.presets import configure as configure_bank

    changes: dict[str, Any] = {
        "variant": variant.upper(),
        "coreset_ratio": coreset_ratio,
        "spread_threshold": spread_threshold,
        "metric": metric,
    }
    if backbone is not None:
        changes["backbone"] = backbone
    if layers is not None:
        changes["layers"] = layers.split(",")
    if size is not None:
        changes["size_px"] = parse_sides("size", size)
    if grid is not None:
        changes["grid"] = parse_sides("grid", grid)
    return configure_bank(preset, **changes)


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
