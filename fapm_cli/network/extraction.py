"""Extraction: from pictures to locally aware feature maps, ψ and the 3×3 pooling (§2.1)."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fapm_cli.compute.plan import Plan
from fapm_cli.config import BankConfig
from fapm_cli.network.architectures import coarse_from
from fapm_cli.network.backbones import Stages
from fapm_cli.network.families.transformer import Tokens
from fapm_cli.network.tiling import TILE_PX, Tiling


class FeatureExtractor(nn.Module):
    """A frozen backbone cut after its last tapped layer, and the pooling behind it.

    Attributes:
        weights_hash: SHA-256 of the cut, folded weights.
        map_shapes: (C, h, w) of each memory's map.
        follows: the plan it was made for; None where it is as it was loaded.
        load: loads the same network, with other layers tapped; None where it is not at hand.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: BankConfig, stages: Stages):
        """Take the cut ``stages``, still without values, as ``config`` taps them."""
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        added = (getattr(stage, "adds", None) for stage in stages.values())
        self._needed = {*config.layers, *(name for name in added if name is not None)}
        self.config = config
        self.follows: Plan | None = None
        self._dtypes = dict.fromkeys(stages, torch.float32)
        self.weights_hash = ""
        self.load: Callable[[BankConfig], FeatureExtractor | None] | None = None
        preprocessing = config.preprocessing
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(3, 1, 1), False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(3, 1, 1), False)
        self.eval().requires_grad_(False)
        self.map_shapes: list[tuple[int, int, int]] = []
        self._tiling: Tiling | None = None

    def tap(self, pixels: Tensor) -> list[Tensor]:
        """Run the backbone alone.

        Args:
            pixels: (B, H, W, 3) uint8 or float32 of 0 to 255, RGB.

        Returns:
            One (B, C_j, h_j, w_j) float map per tapped layer, ψ_j.
        """
        # NHWC seen as NCHW is what torch calls channels_last: the fast layout, for free. Made
        # floats before all else: TensorRT takes uint8 as an input, and computes with none.
        x = (pixels.float().permute(0, 3, 1, 2) - self.mean) / self.std
        kept: dict[str, Tensor] = {}
        for name, stage in self.stages.items():
            x = stage(x.to(self._dtypes[name]))
            adds = getattr(stage, "adds", None)
            if adds is not None:
                x = x + kept[adds]
            if name in self._needed:
                kept[name] = x
        return [self._as_map(name, kept[name], pixels.shape[1]) for name in self.config.layers]

    def _as_map(self, name: str, tapped: Tensor, height_px: int) -> Tensor:
        stage = self.stages[name]
        return stage.as_map(tapped, height_px) if isinstance(stage, Tokens) else tapped

    def follow(self, plan: Plan) -> FeatureExtractor:
        """Make one like it on the plan's device, in its precision; this one stays as it is.

        Raises:
            ValueError: this one follows a plan itself.
        """
        self.check_unplanned()
        shared: dict[int, object] = {
            id(p): nn.Parameter(p.detach(), requires_grad=False) for p in self.parameters()
        }
        follower: FeatureExtractor = copy.deepcopy(self, shared | {id(self.load): self.load})
        follower._become(plan)
        return follower

    def _become(self, plan: Plan) -> None:
        self.follows = plan
        self.to(plan.device)
        names = list(self.stages)
        first = coarse_from(self.config.backbone, plan.rounding)
        for name in names[names.index(first) :] if first in names else ():
            self.stages[name].to(plan.dtype)
            self._dtypes[name] = plan.dtype

    def check_unplanned(self) -> None:
        """Check that its weights are as they were loaded: they belong in banks.

        Raises:
            ValueError: it follows a plan, for which they were rounded.
        """
        if self.follows is not None:
            raise ValueError(f"this extractor follows {self.follows}: take the one it was made of")

    def forward(self, pixels: Tensor, rows: slice = slice(None)) -> list[Tensor]:
        """Extract the locally aware maps of each memory.

        Args:
            pixels: (B, H, W, 3) uint8 or float32 of 0 to 255, RGB, H×W the preprocessing's crop.
            rows: of px, those whose maps are wanted; all, where the input is not run by tiles.

        Returns:
            One (B, C, h, w) float32 map per memory, in the units of its layer scale; all layers
            in one, at the finest one's h×w, where memories are not layer-wise.
        """
        if self._tiling is None:
            return self._run(pixels)
        return self._tiling.run(self._run, pixels, rows)

    def tile_px(self, device: torch.device) -> int | None:
        """Px of a side that are run at a time; None where inputs are run whole."""
        return None if self._tiling is None else self._tiling.core_px(device.type)

    @property
    def unit_px(self) -> int:
        """Px that rows which are asked for must begin and end at multiples of."""
        return 1 if self._tiling is None else self._tiling.unit_px

    def _run(self, pixels: Tensor) -> list[Tensor]:
        """Extract the maps of px in one run."""
        return self.locally_aware(self.tap(pixels), pixels.shape[1])

    def locally_aware(self, taps: list[Tensor], height_px: int) -> list[Tensor]:
        """Pool and scale what :meth:`tap` gave of px of this height, and join it where memories
        are not layer-wise.
        """
        maps = [
            self._pool(name, tap.float(), height_px) * scale
            for name, tap, scale in zip(
                self.config.layers, taps, self.config.layer_scales, strict=True
            )
        ]
        if self.config.layer_wise:
            return maps
        finest = max((m.shape[-2:] for m in maps), key=lambda size: size[0])
        upsampled = [
            F.interpolate(m, finest, mode="bilinear") if m.shape[-2:] != finest else m for m in maps
        ]
        return [torch.cat(upsampled, dim=1)]

    def _pool(self, layer: str, tap: Tensor, height_px: int) -> Tensor:
        """Average 3×3 places, after bringing the map to the finest stride; tokens have looked at
        all around them, and stay as they are (docs/accuracy.md).
        """
        if isinstance(self.stages[layer], Tokens):
            return tap
        stride = height_px // tap.shape[-2]
        if stride < self.config.finest_stride:
            tap = F.avg_pool2d(tap, self.config.finest_stride // stride)
        # Paper open: the pooling's padding. Without its zeros, rims do not fade.
        return F.avg_pool2d(tap, 3, 1, 1, count_include_pad=self.config.count_include_pad)

    @torch.inference_mode()
    def find_shapes(self) -> None:
        """Find ``map_shapes``, and whether inputs are run by tiles, by running once.

        On the meta device this would need no values, but torch then imports its compiler, which
        takes longer than all the rest of a start.

        Raises:
            OptionError: the input is to be run by tiles, and can't be.
        """
        size_px, probed_px = self.config.preprocessing.crop_px, self._probed_px
        taps = self._run_once()
        maps = self.locally_aware(taps, probed_px[0])
        if probed_px != size_px:
            strides = (probed_px[0] // tap.shape[-2] for tap in taps)
            unit = max(self.config.finest_stride, *strides)
            self._tiling = Tiling.of(self._run, unit, size_px, self.mean.device)
        self.map_shapes = [(m.shape[1], *_scaled(m.shape, probed_px, size_px)) for m in maps]

    @property
    def _probed_px(self) -> tuple[int, int]:
        """Height and width of what is run once: the input, or a tile."""
        size_px = self.config.preprocessing.crop_px
        tile = TILE_PX["cpu"]
        return size_px if max(size_px) <= tile else (tile, tile)

    @torch.inference_mode()
    def _run_once(self) -> list[Tensor]:
        """Tap a black picture: for what only a run can tell."""
        black = torch.zeros(1, *self._probed_px, 3, dtype=torch.uint8, device=self.mean.device)
        return self.tap(black)


def _scaled(shape: torch.Size, fed: tuple[int, int], own: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a map of ``own`` px, by those of a (B, C, h, w) map of px ``fed``."""
    if fed == own:
        return shape[2], shape[3]
    return own[0] // (fed[0] // shape[2]), own[1] // (fed[1] // shape[3])
