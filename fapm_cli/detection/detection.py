"""What was found in pictures, as tensors."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Detection:
    """What was found in a batch of B pictures.

    Attributes:
        image_scores: (B,) float32.
        layer_scores: (B, L) float32, the image score of each memory's own anomaly map.
        anomaly_maps: (B, H, W) float32 over the input's px, blurred.
        peaks: (B, 2) int64, x and y of the map's maximum, in input px.
        nearest_keys: (B, h, w) int64, the nearest key of each place on the finest memory's map.
    """

    image_scores: Tensor
    layer_scores: Tensor
    anomaly_maps: Tensor
    peaks: Tensor
    nearest_keys: Tensor

    def pick(self, number: int) -> Detection:
        """One picture of the batch, as a batch of its own."""
        names = [field.name for field in dataclasses.fields(Detection)]
        return Detection(*(getattr(self, name)[number : number + 1] for name in names))


def join(detections: list[Detection]) -> Detection:
    """All of several, one after another."""
    names = [field.name for field in dataclasses.fields(Detection)]
    return Detection(*(torch.cat([getattr(d, name) for d in detections]) for name in names))
