"""The spreader: upsampling and blur, by the matrices of ``geometry``, on any device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fapm_cli.config import Placement
from fapm_cli.scores.geometry import LEAST_SHOWN, covered, spreading_matrices

_BLOCK = 256  # places of a side at a time
_LARGE = 1024  # places of a side from which on that is worth it


class Spreader(nn.Module):
    """Spreads a map over another: upsampling and blur as two small matrices.

    Attributes:
        rows: (H, h) float32.
        columns: (W, w) float32.
        gain: (H, W) float32, a factor per place; None where it is 1 everywhere.
    """

    rows: Tensor
    columns: Tensor
    gain: Tensor | None

    def __init__(self, rows: Tensor, columns: Tensor, gain: Tensor | None = None):
        """Take the matrices, as above."""
        super().__init__()
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns)
        self.register_buffer("gain", gain)
        # What is far away has no weight: in large maps, to multiply by its zeros is most of the
        # work. In small ones, one product each is faster.
        large = max(len(rows), len(columns)) > _LARGE
        self._blocks = [_blocks(side) for side in (rows, columns)] if large else []

    def forward(self, score_map: Tensor) -> Tensor:
        """Spread (..., h, w) to (..., H, W): ``A_h · map · A_wᵀ``."""
        if not self._blocks:
            spread = self.rows @ score_map @ self.columns.mT
            return spread if self.gain is None else spread * self.gain
        spread = score_map.new_empty(*score_map.shape[:-2], len(self.rows), len(self.columns))
        for out, fed in self._blocks[0]:
            part = self.rows[out, fed] @ score_map[..., fed, :]
            for across, seen in self._blocks[1]:
                spread[..., out, across] = part[..., seen] @ self.columns[across, seen].mT
        return spread if self.gain is None else spread.mul_(self.gain)

    def restrict(self, known: Tensor, wanted: Tensor) -> Spreader:
        """Spread what is known only: each place's weighted mean over the known places.

        Nothing leaks in from places that are not known, and nothing fades beside them.

        Args:
            known: (h, w) bool; maps must be 0 elsewhere.
            wanted: (H, W) bool, places that a known one reaches; the result is 0 elsewhere.
        """
        share = self(known.to(self.rows.dtype))
        return Spreader(self.rows, self.columns, torch.where(wanted, 1 / share, 0))

    def of_shown(self, maps: Tensor, shown: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Spread means over what is shown, as at a region's rim.

        Args:
            maps: (B, n, h, w), 0 where nothing is shown.
            shown: (B, n or 1, h, w) bool.
            wanted: (B, 1, H, W) bool, where a mean is asked for.

        Returns:
            (B, n, H, W), 0 where nothing is told; and (B, n or 1, H, W) bool, where something is.
        """
        share = self(shown.float())
        told = wanted & (share > LEAST_SHOWN)
        return torch.where(told, self(maps) / share.clamp(min=LEAST_SHOWN), 0), told


def _blocks(side: Tensor) -> list[tuple[slice, slice]]:
    """Blocks of places of an (n, m) side, and the spans that they are made of."""
    blocks = []
    for first in range(0, len(side), _BLOCK):
        out = slice(first, min(first + _BLOCK, len(side)))
        fed = side[out].any(dim=0).nonzero().flatten()
        blocks.append((out, slice(int(fed[0]), int(fed[-1]) + 1)))
    return blocks


def make_spreader(
    size: tuple[int, int],
    finer: tuple[int, int],
    sigma: float,
    placement: Placement,
    device: torch.device,
) -> Spreader:
    """Make the matrices that bring a map to a finer one and blur it there.

    Args:
        size: h, w of the map.
        finer: H, W wanted.
        sigma: Gaussian's standard deviation in places of the finer map; 0 blurs nothing.
        placement: bilinear, or the nearest place's value.
        device: where they will be used.
    """
    matrices = spreading_matrices(size, finer, sigma, placement)
    return Spreader(*(torch.from_numpy(side).to(device) for side in matrices))


def covered_places(roi: Tensor, size: tuple[int, int]) -> Tensor:
    """As :func:`fapm_cli.scores.geometry.covered`, where the region's tensor lies."""
    return torch.from_numpy(covered(roi.cpu().numpy(), size)).to(roi.device)
