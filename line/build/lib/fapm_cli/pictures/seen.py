"""What a bank's pictures were like, beside what they show; and in what others differ from them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LIGHT, PLACE = "light", "place"
DIFFERENCES = {
    "grey": "grey where it knows colour",
    "colour": "in colour where it knows grey",
    "aspect": "of another aspect (squeezed otherwise)",
    "small": "much smaller than its input (blurred)",
    "depth": "of another bit depth",
    "compressed": "compressed with loss where it knows none (JPEG)",
    PLACE: "where no part is found to align by",
    LIGHT: "in another light than all of its own",
}
"""In what a picture may differ, and how to say it of several."""

_ASPECT_SLACK = 1.02  # sides are whole numbers
_SMALL = 2  # times the picture's sides are less than the input's


@dataclass(frozen=True)
class Seen:
    """What pictures were like: a bank's, or a single one.

    Attributes:
        grey: whether some were grey, their channels equal.
        colour: whether some were not.
        aspects: least and largest width by height.
        least_px: least height, least width.
        bits: how many bits their samples had, as the files say.
        lossy: whether some were compressed with loss; None where that is not known.
    """

    grey: bool
    colour: bool
    aspects: tuple[float, float]
    least_px: tuple[int, int]
    bits: tuple[int, ...]
    lossy: bool | None = None  # as before it was asked

    @classmethod
    def one(
        cls, grey: bool, size_px: tuple[int, int], bits: int, lossy: bool | None = None
    ) -> Seen:
        """Say what one picture is like, of so many px in height and width."""
        aspect = size_px[1] / size_px[0]
        return cls(grey, not grey, (aspect, aspect), size_px, (bits,), lossy)

    @classmethod
    def join(cls, parts: Sequence[Seen]) -> Seen:
        """Sum up at least one."""
        low, high = zip(*(part.aspects for part in parts), strict=True)
        heights, widths = zip(*(part.least_px for part in parts), strict=True)
        return cls(
            any(part.grey for part in parts),
            any(part.colour for part in parts),
            (min(low), max(high)),
            (min(heights), min(widths)),
            tuple(sorted({bits for part in parts for bits in part.bits})),
            None if any(part.lossy is None for part in parts) else any(p.lossy for p in parts),
        )

    def differences(self, one: Seen, input_px: tuple[int, int]) -> list[str]:
        """Name in what a picture differs from these, as keys of :data:`DIFFERENCES`.

        Args:
            one: what the picture is like.
            input_px: height and width that pictures are resized to.
        """
        low, high = self.aspects
        sides = zip(one.least_px, input_px, self.least_px, strict=True)
        found = {
            "grey": one.grey and not self.grey,
            "colour": one.colour and not self.colour,
            "aspect": not low / _ASPECT_SLACK <= one.aspects[0] <= high * _ASPECT_SLACK,
            "small": any(_SMALL * own < wanted and own < least for own, wanted, least in sides),
            "depth": not set(one.bits) <= set(self.bits),
            "compressed": self.lossy is False and one.lossy is True,
        }
        return [name for name, differs in found.items() if differs]

    def to_json(self) -> dict[str, Any]:
        """Turn it into plain JSON values."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Seen:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError: a value is missing or out of range.
        """
        low, high = (float(aspect) for aspect in plain["aspects"])
        height, width = (int(side) for side in plain["least_px"])
        bits = tuple(int(number) for number in plain["bits"])
        grey, colour = plain["grey"], plain["colour"]
        lossy = plain.get("lossy")
        if lossy is not None and not isinstance(lossy, bool):
            raise ValueError("seen is out of range")
        kinds = isinstance(grey, bool) and isinstance(colour, bool) and (grey or colour)
        if not (kinds and 0 < low <= high < math.inf and min(height, width) > 0 and bits):
            raise ValueError("seen is out of range")
        return cls(grey, colour, (low, high), (height, width), bits, lossy)


class Differences:
    """Counts in what pictures differ from a bank's.

    Attributes:
        num_differing: pictures that do.
    """

    def __init__(self) -> None:
        """Begin with no picture."""
        self._num_pictures = self.num_differing = 0
        self._counts: Counter[str] = Counter()

    def count(self, differs: Sequence[str] | None) -> None:
        """Count a picture, and in what it differs; None where that is not known."""
        self._num_pictures += 1
        self.num_differing += bool(differs)
        self._counts.update(differs or ())

    def describe(self) -> str | None:
        """Say what was counted; None if no picture differs."""
        if not self.num_differing:
            return None
        kinds = [kind for kind in DIFFERENCES if self._counts[kind]]
        counts = ", ".join(f"{self._counts[kind]} {DIFFERENCES[kind]}" for kind in kinds)
        of_all = f"{self.num_differing} of {self._num_pictures} pictures"
        return f"{of_all} are of another kind than the bank's: {counts}"
