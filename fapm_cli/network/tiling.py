"""Tiling: a large input run through a network piece by piece, with the values of a run in one.

What a place of a map sees ends at the network's receptive field. A tile that is run with so much of
the input around it gives, in its middle, what the whole would: to the last digits, and in memory
that does not grow with the input.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fapm_cli.errors import OptionError
from fapm_cli.network.architectures import TILE_PX as TILE_PX

Network = Callable[[Tensor], list[Tensor]]

_PROBED_PX = 768
_WHOLE_PX = 4096  # of a side, up to which an input may be run in one


@dataclass(frozen=True)
class Tiling:
    """How a network is run by tiles.

    Attributes:
        unit_px: px per place of the coarsest map that the network makes: tiles begin and end at
            multiples.
        halo_px: what must lie around a tile; a multiple of ``unit_px``.
    """

    unit_px: int
    halo_px: int

    @classmethod
    @torch.inference_mode()
    def of(
        cls,
        network: Network,
        unit_px: int,
        size_px: tuple[int, int],
        device: torch.device | None = None,
    ) -> Tiling | None:
        """Find how far a network sees, by what one unit of the input that is not a number reaches.

        Args:
            network: from (1, H, W, 3) float32 to maps (1, C, h, w).
            unit_px: as above.
            size_px: height and width of the inputs.
            device: the network's; None for a CPU.

        Returns:
            None where inputs can't be run by tiles, but are small enough to be run in one.

        Raises:
            OptionError: they are not.
        """
        try:
            if any(side % unit_px for side in size_px):
                raise OptionError(f"its sides must be multiples of {unit_px} px")
            return cls(unit_px, -(-_reach(network, unit_px, device) // unit_px) * unit_px)
        except OptionError as error:
            if max(size_px) <= _WHOLE_PX:
                return None
            raise OptionError(
                f"size {size_px[0]}x{size_px[1]} px is large, and worked through in tiles: {error}"
            ) from error

    def core_px(self, device: str) -> int:
        """Px of a tile's side that it is run for: at least as many as lie around it."""
        return max(TILE_PX[device] - 2 * self.halo_px, 2 * self.halo_px, self.unit_px)

    def run(self, network: Network, pixels: Tensor, rows: slice = slice(None)) -> list[Tensor]:
        """Run a network over some of an input's rows.

        Args:
            network: from (B, H, W, 3) px to maps (B, C, h, w).
            pixels: (B, H, W, 3), sides multiples of the unit.
            rows: which, multiples of the unit.

        Returns:
            The maps' parts of those rows.

        Raises:
            ValueError: rows are no multiples of the unit.
        """
        height, width = pixels.shape[1:3]
        top, bottom, _ = rows.indices(height)
        if top % self.unit_px or bottom % self.unit_px:
            raise ValueError(f"rows {top} to {bottom}: wanted multiples of {self.unit_px} px")
        of_rows = []
        for down in self._cuts(top, bottom, pixels.device.type):
            of_columns = [
                self._run_tile(network, pixels, down, across)
                for across in self._cuts(0, width, pixels.device.type)
            ]
            of_rows.append(_join(of_columns, 3))
        return _join(of_rows, 2)

    def _cuts(self, first: int, end: int, device: str) -> Iterator[range]:
        """Cut a side's px into tiles of nearly one length."""
        units = (end - first) // self.unit_px
        number = -(-(end - first) // self.core_px(device))
        cuts = [first + units * i // number * self.unit_px for i in range(number + 1)]
        return (range(*both) for both in itertools.pairwise(cuts))

    def _run_tile(
        self, network: Network, pixels: Tensor, down: range, across: range
    ) -> list[Tensor]:
        """Run the network on a tile and what lies around, and cut that off again."""
        sides = list(zip((down, across), pixels.shape[1:3], strict=True))
        around = [
            slice(max(own.start - self.halo_px, 0), min(own.stop + self.halo_px, side))
            for own, side in sides
        ]
        fed = pixels[:, around[0], around[1]]
        parts = []
        for one in network(fed):
            stride = fed.shape[1] // one.shape[2]
            inner = [
                slice((own.start - part.start) // stride, (own.stop - part.start) // stride)
                for own, part in zip((down, across), around, strict=True)
            ]
            parts.append(one[:, :, inner[0], inner[1]])
        return parts


def _reach(network: Network, unit_px: int, device: torch.device | None) -> int:
    """How many px around a unit of the input a network's maps see it from.

    Raises:
        OptionError: from farther than is tried.
    """
    side = _PROBED_PX // unit_px * unit_px
    first = side // unit_px // 2 * unit_px
    probe = torch.zeros(1, side, side, 3, device=device)
    probe[:, first : first + unit_px, first : first + unit_px] = torch.nan
    reach = 0
    for one in network(probe):
        touched = one[0].isnan().any(dim=0).any(dim=0).nonzero().flatten()
        stride = side // one.shape[-1]
        begin, end = int(touched[0]) * stride, (int(touched[-1]) + 1) * stride
        if begin == 0 or end == side:
            raise OptionError(
                f"the network sees farther than {first} px around; take earlier --layers"
            )
        reach = max(reach, first - begin, end - first - unit_px)
    return reach


def _join(parts: list[list[Tensor]], dim: int) -> list[Tensor]:
    """Join each map's parts; one alone is not copied."""
    if len(parts) == 1:
        return parts[0]
    return [torch.cat(of_one, dim=dim) for of_one in zip(*parts, strict=True)]
