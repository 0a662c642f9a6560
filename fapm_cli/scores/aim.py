"""What a bank's verdicts aim at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fapm_cli.errors import OptionError
from fapm_cli.scores.thresholds import Thresholds, given_threshold, rate_thresholds, with_review


@dataclass(frozen=True)
class Aim:
    """What verdicts aim at; what is None is left as usual.

    Attributes:
        false_alarm_rate: share of good pictures that is to exceed the threshold.
        review_rate: share that is to be in the band for a second look, or anomalous.
        threshold: the threshold itself, an image score.
    """

    false_alarm_rate: float | None = None
    review_rate: float | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            OptionError: one makes no sense, or two contradict one another.
        """
        check_finite("threshold", self.threshold)
        check_rate("false-alarm rate", self.false_alarm_rate)
        check_rate("review rate", self.review_rate)
        rate, review = self.false_alarm_rate, self.review_rate
        if self.threshold is not None and rate is not None:
            raise OptionError(
                "--threshold and --false-alarm-rate both set the threshold: choose one"
            )
        if review is not None and rate is not None and review <= rate:
            raise OptionError(f"review rate {review}: wanted more than the false-alarm rate {rate}")

    def choose(
        self, usual: Thresholds, scores: Sequence[float], peaks: Sequence[float]
    ) -> Thresholds:
        """Set thresholds by good pictures' scores.

        Args:
            usual: what to take where nothing else is aimed at.
            scores: of n good pictures, out of sample.
            peaks: the n maxima of their anomaly maps.
        """
        chosen = usual
        if self.threshold is not None:
            chosen = given_threshold(scores, peaks, float(self.threshold))
        elif self.false_alarm_rate is not None:
            chosen = rate_thresholds(scores, peaks, self.false_alarm_rate)
        return chosen if self.review_rate is None else with_review(chosen, scores, self.review_rate)


def aimed_at(thresholds: Thresholds) -> tuple[str, float | None, float | None]:
    """What thresholds aim at: their method, the number it was told, and the rate of the band. It is
    the same where scores alone make thresholds differ.
    """
    told = {"rate": thresholds.rate, "given": thresholds.score}.get(thresholds.method)
    return thresholds.method, told, thresholds.review_rate


def check_finite(name: str, threshold: float | None) -> None:
    """Check that a threshold, if there is one, is a number that scores can be compared with.

    Raises:
        OptionError: it is not finite.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise OptionError(f"{name} {threshold}: wanted a finite number")


def check_rate(name: str, rate: float | None) -> None:
    """Check that a rate, if there is one, is a share of good pictures.

    Raises:
        OptionError: it is not.
    """
    if rate is not None and not 0 < rate < 1:
        raise OptionError(f"{name} {rate}: wanted a share of good pictures, above 0, below 1")
