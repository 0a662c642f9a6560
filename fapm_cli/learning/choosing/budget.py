"""The budget: how many keys a patch may have, where something else than that is limited.

There is one budget, ``max_keys``, N. What a bank's file may take, or the search for a picture's
nearest keys, comes down to the largest N that keeps within it. That N is stored, and a build that
is given it makes the same bank. Keys are picked in one order whatever N is, so that a patch that is
not wide with N keys is not with more: a file of more keys has a bound, and the bound holds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from fapm_cli.bank.bank import Bank
from fapm_cli.bank.file import bank_bytes
from fapm_cli.bank.thumbnails import sizes_of
from fapm_cli.errors import OptionError
from fapm_cli.learning.extracting import Extracted
from fapm_cli.learning.learn import learn
from fapm_cli.learning.nominal_response import OnStage
from fapm_cli.learning.selecting import MIN_KEYS
from fapm_cli.learning.turned import angles
from fapm_cli.memory.coreset import num_keys
from fapm_cli.network.extraction import FeatureExtractor

_THUMBNAIL_BYTES = 8  # where it ends, beside itself
_LATER_BYTES = 2**14  # of what the header comes to hold: what pictures were like, thresholds


def most_within(cost: Callable[[int], float], limit: float, most: int) -> int | None:
    """The largest N up to ``most`` of which a cost that grows with it is within a limit; None if
    that of the fewest keys that a patch may have is not.
    """
    if cost(MIN_KEYS) > limit:
        return None
    low, high = MIN_KEYS, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cost(middle) <= limit else (low, middle - 1)
    return low


def learn_within(
    most_bytes: int | None,
    bank: Bank,
    extracted: Extracted,
    on_stage: OnStage,
    extractor: FeatureExtractor,
) -> tuple[Bank, list[tuple[int, float]]]:
    """Learn as :func:`fapm_cli.learning.learn.learn` does, a bank whose file has a limit.

    If the bank is too large as it is configured, it is learnt again with as few keys as are within
    the limit were all patches wide; and once more with as many as are within it where only those
    are that were wide then.

    Args:
        most_bytes: of the file; None for any.
        bank, extracted, on_stage, extractor: as there.

    Raises:
        OptionError: a bank of the fewest keys would be larger.
    """

    def learnt_with(n: int) -> tuple[Bank, list[tuple[int, float]]]:
        config = replace(bank.config, max_keys=n)
        own = replace(extracted, workspace=extracted.workspace.under(f"budget-{n}"))
        return learn(replace(bank, config=config), own, on_stage, extractor)

    learnt = learn(bank, extracted, on_stage, extractor)
    if most_bytes is None or (sizes := Sizes.of(learnt[0])).whole <= most_bytes:
        return learnt
    n = usual = sizes.most_keys(bank.config.max_keys)
    while sizes.whole > most_bytes:
        fits = most_within(functools.partial(sizes.bound, all_wide=True), most_bytes, n - 1)
        if fits is None or n <= MIN_KEYS:
            least = sizes.bound(MIN_KEYS, all_wide=True)
            raise OptionError(
                f"max bank {most_bytes / 1e6:.1f} MB: these pictures, the backbone and the fewest "
                f"keys take {least / 1e6:.1f} MB; give that, or --no-thumbnails"
            )
        n, learnt = fits, learnt_with(fits)
        sizes = Sizes.of(learnt[0])
    more = most_within(functools.partial(sizes.bound, all_wide=False), most_bytes, usual)
    if more is not None and more > n:
        again = learnt_with(more)
        learnt = again if file_bytes(again[0]) <= most_bytes else learnt
    return learnt


def file_bytes(bank: Bank) -> int:
    """How large a bank's file is at most, once it knows all that it will."""
    shown = sum(size + _THUMBNAIL_BYTES for size in sizes_of(bank.thumbnails or ()))
    aligned = 0 if bank.config.align == "none" else 3 * math.prod(bank.config.preprocessing.crop_px)
    return len(bank_bytes(replace(bank, thumbnails=None))) + shown + aligned + _LATER_BYTES


@dataclass(frozen=True)
class Sizes:
    """What a bank's file takes, as it was learnt, and what it would with other keys.

    Attributes:
        bank: that was learnt.
        whole: bytes of its file, at most.
    """

    bank: Bank
    whole: int

    @classmethod
    def of(cls, bank: Bank) -> Sizes:
        """Of a bank."""
        return cls(bank, file_bytes(bank))

    def most_keys(self, limit: int) -> int:
        """Keys that a patch of the largest memory has, if it is not wide and that is the limit."""
        return max(self._keys(j, limit) for j in range(len(self.bank.memories)))

    def bound(self, n: int, *, all_wide: bool) -> int:
        """How large the file is at most with N keys at most in a patch that is not wide.

        Args:
            n: N.
            all_wide: whether all patches are wide; else those that are, which holds where N is not
                less than the bank's.
        """
        total = self.whole
        for j, memory in enumerate(self.bank.memories):
            num_patches, num_wide = len(memory.key_counts), int(memory.widened.sum())
            if all_wide:
                num_wide = num_patches if self.bank.config.adaptive else 0
            parts = (memory.keys, memory.key_pictures, memory.key_cells)
            of_key = sum(part.nbytes for part in parts) // len(memory.keys)
            keys = self._keys(j, n) * (num_patches + num_wide)
            total += of_key * (keys - len(memory.keys))
        return total

    def _keys(self, memory: int, limit: int) -> int:
        config, (h, w) = self.bank.config, self.bank.map_sizes[memory]
        views = 1 + len(angles(config.turn))
        num_vectors = len(self.bank.pictures) * views * (h * w // math.prod(config.grid))
        return num_keys(num_vectors, config.coreset_ratio, MIN_KEYS, limit)
