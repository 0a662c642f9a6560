"""What a bank may cost: most keys of a patch, however that was said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from fapm_cli.bank.bank import Bank
from fapm_cli.config import BankConfig
from fapm_cli.engines.opening import open_judge
from fapm_cli.errors import OptionError
from fapm_cli.evaluation.speed import frames_per_second
from fapm_cli.evaluation.synthetic_bank import synthetic_bank
from fapm_cli.learning.choosing.budget import most_within
from fapm_cli.learning.scratch.allowance import parse_bytes
from fapm_cli.learning.selecting import MIN_KEYS
from fapm_cli.network.extraction import FeatureExtractor

_NEAR = 1.05  # of two numbers of keys: time tells them no better apart
_UNLIMITED = 4096


@dataclass(frozen=True)
class Budget:
    """What a bank may cost, beside the most keys of its configuration: the less of all holds.

    Attributes:
        most_bytes: of its file; None for any.
        target_ms: milliseconds a picture of the bank's own size, one at a time, on the machine that
            builds; None for any.
    """

    most_bytes: int | None = None
    target_ms: float | None = None

    @classmethod
    def of(cls, max_bank: int | str | None, target_ms: float | None) -> Budget:
        """Read it.

        Raises:
            OptionError: a number makes no sense.
        """
        if target_ms is not None and not 0 < target_ms < 1e6:
            raise OptionError(f"target {target_ms} ms: wanted above 0, in milliseconds a picture")
        return cls(None if max_bank is None else parse_bytes("max bank", max_bank), target_ms)

    def configured(
        self,
        config: BankConfig,
        extractor: FeatureExtractor,
        device: str,
        on_budget: Callable[[int, float], None],
    ) -> BankConfig:
        """A configuration with the most keys that keep to the time, by a measurement.

        What is measured is a bank of random keys whose patches are all wide, from a picture of the
        input's size, its light as it is, to the score. Another machine, or
        another time, may find another number: it is told, and stands in the bank.

        Args:
            config: what is to be built.
            extractor: its backbone.
            device: that judges.
            on_budget: told the number of keys, and the ms a picture that it came to.

        Raises:
            OptionError: the fewest keys take longer.
        """
        if self.target_ms is None:
            return config
        times: dict[int, float] = {}

        def milliseconds(n: int) -> float:
            near = [one for one in times if one <= n * _NEAR and n <= one * _NEAR]
            if not near:
                times[n] = _measured(config, extractor, device, n)
            return times[near[0] if near else n]

        most = config.max_keys or _UNLIMITED
        n = most if milliseconds(most) <= self.target_ms else None
        n = n or most_within(milliseconds, self.target_ms, most)
        if n is None:
            raise OptionError(
                f"target {self.target_ms:g} ms: a picture takes {times[MIN_KEYS]:.1f} ms here with "
                "the fewest keys; give more, or a smaller --size"
            )
        on_budget(n, milliseconds(n))
        return replace(config, max_keys=n)


def _measured(config: BankConfig, extractor: FeatureExtractor, device: str, n: int) -> float:
    """How many ms a picture takes with N keys in each patch, twice of that as all are wide."""
    (_, h, w), num_patches = extractor.map_shapes[-1], config.grid[0] * config.grid[1]
    of_picture = h * w // num_patches
    all_keys = replace(config, max_keys=n, coreset_ratio=1.0, metric="plain", align="none")
    all_keys = all_keys.with_query(light="as-is")
    bank: Bank = synthetic_bank(all_keys, extractor, -(-2 * n // of_picture))
    bank = replace(bank, backbone=dict(extractor.stages.state_dict()))
    (fps,) = frames_per_second([open_judge(bank, device, extractor=extractor)])
    return 1000 / fps
