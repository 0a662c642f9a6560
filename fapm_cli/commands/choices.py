"""Options as values of the engine, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fapm_cli.errors import OptionError

if TYPE_CHECKING:
    from fapm_cli.config import BankConfig
    from fapm_cli.scores.thresholds import Thresholds


def configure(
    preset: str,
    backbone: str | None,
    layers: str | None,
    variant: str,
    size: str | None,
    grid: str | None,
    coreset_ratio: float,
    spread_threshold: float,
) -> BankConfig:
    """Configure a bank as the options say.

    Raises:
        OptionError: a value makes no sense.
    """
    from fapm_cli.bank.presets import preset_config
    from fapm_cli.config import parse_sides

    changes: dict[str, Any] = {
        "variant": variant.upper(),
        "coreset_ratio": coreset_ratio,
        "spread_threshold": spread_threshold,
    }
    if backbone is not None:
        changes["backbone"] = backbone
    if layers is not None:
        changes["layers"] = layers.split(",")
    if size is not None:
        changes["size_px"] = parse_sides("size", size)
    if grid is not None:
        changes["grid"] = parse_sides("grid", grid)
    return preset_config(preset, **changes)


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


def check_threshold(threshold: float | None) -> None:
    """Check that a threshold is a number that scores can be compared with.

    Raises:
        OptionError: it is not finite.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise OptionError(f"threshold {threshold}: wanted a finite number")


def check_rate(name: str, rate: float | None) -> None:
    """Check that a rate, if there is one, is a share of good pictures.

    Raises:
        OptionError: it is not.
    """
    if rate is not None and not 0 < rate < 1:
        raise OptionError(f"{name} {rate}: wanted a share of good pictures, above 0, below 1")


def check_rates(
    false_alarm_rate: float | None, review_rate: float | None, threshold: float | None
) -> None:
    """Check what was said of thresholds.

    Raises:
        OptionError: a value makes no sense, or two contradict one another.
    """
    check_threshold(threshold)
    check_rate("false-alarm rate", false_alarm_rate)
    check_rate("review rate", review_rate)
    if threshold is not None and false_alarm_rate is not None:
        raise OptionError("--threshold and --false-alarm-rate both set the threshold: choose one")
    if None not in (review_rate, false_alarm_rate) and review_rate <= false_alarm_rate:  # type: ignore[operator]
        raise OptionError(
            f"review rate {review_rate}: wanted more than the false-alarm rate {false_alarm_rate}"
        )


def choose_thresholds(
    default: Thresholds,
    scores: Sequence[float],
    peaks: Sequence[float],
    false_alarm_rate: float | None,
    review_rate: float | None,
    threshold: float | None,
) -> Thresholds:
    """Set thresholds as the options say, by good pictures' scores.

    Args:
        default: what to take where no option sets the threshold.
        scores: of good pictures, out of sample.
        peaks: the maxima of their anomaly maps.
        false_alarm_rate: as the option says.
        review_rate: as the option says.
        threshold: as the option says.
    """
    from fapm_cli.scores.thresholds import given_threshold, rate_thresholds, with_review

    chosen = default
    if threshold is not None:
        chosen = given_threshold(scores, peaks, threshold)
    elif false_alarm_rate is not None:
        chosen = rate_thresholds(scores, peaks, false_alarm_rate)
    return chosen if review_rate is None else with_review(chosen, scores, review_rate)
