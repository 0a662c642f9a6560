"""What was found in pictures."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fapm_cli.arrays import Array, host

PARTS = ("image_scores", "layer_scores", "anomaly_maps", "peaks", "nearest_keys", "as_spots")
"""What an engine gives, in this order."""


@dataclass(frozen=True)
class Detection:
    """What was found in a batch of B pictures; numpy's arrays or torch's, as the engine works.

    Attributes:
        image_scores: (B,) float32.
        layer_scores: (B, L) float32, the image score of each memory's own anomaly map.
        anomaly_maps: (B, H, W) float32 over the input's px, blurred.
        peaks: (B, 2) int64, x and y of the map's maximum, in input px.
        nearest_keys: (B, h, w) int64, the nearest key of each place on the finest memory's map.
        as_spots: (B, 3) float32, each of :data:`fapm_cli.scores.extents.EXTENTS` as the spot that
            would be as unusual; (B, 1) where only spots are judged.
    """

    image_scores: Array
    layer_scores: Array
    anomaly_maps: Array
    peaks: Array
    nearest_keys: Array
    as_spots: Array

    @property
    def parts(self) -> tuple[Array, ...]:
        """All of it, in the order of :data:`PARTS`."""
        return tuple(getattr(self, name) for name in PARTS)

    def pick(self, number: int) -> Detection:
        """One picture of the batch, as a batch of its own."""
        return Detection(*(part[number : number + 1] for part in self.parts))

    @functools.cached_property
    def on_host(self) -> Detection:
        """The same as numpy's arrays."""
        return Detection(*map(host, self.parts))


def join(
    detections: Sequence[Detection], concatenate: Callable[[Sequence[Array]], Array]
) -> Detection:
    """All of several, one after another, by their library's function for arrays."""
    by_part = zip(*(one.parts for one in detections), strict=True)
    return Detection(*(concatenate(parts) for parts in by_part))
