"""Ready configurations: the default, the paper's, and the variants of its Table 2."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fapm_cli.config import (
    MOST_PATCHES,
    VARIANTS,
    Align,
    BankConfig,
    Metric,
    Preprocessing,
    Query,
)
from fapm_cli.errors import OptionError
from fapm_cli.network import backbones

_PATCH_PX = 32  # a grid patch of the paper's
_SIDE_PX = 224
_MOST_KEYS = 512  # of such a patch (docs/scale.md)
_MOST_OWN = 1024  # patches: each metric is a matrix, and takes as much as many pictures' vectors


def default_config(
    backbone: str = backbones.DEFAULT_BACKBONE,
    *,
    layers: Sequence[str] | None = None,
    size_px: tuple[int, int] = (_SIDE_PX, _SIDE_PX),
    grid: tuple[int, int] | None = None,
    variant: str = "E",
    coreset_ratio: float = 0.1,
    spread_threshold: float = 0.5,
    metric: Metric | None = None,
    turn: int | None = None,
    align: Align = "none",
    max_keys: int | None = None,
) -> BankConfig:
    """Configure a bank: the whole picture, looked at by a backbone's own layers.

    Args:
        backbone: its name.
        layers: layers to tap; None for the backbone's own, of which a deeper one may
            take the place of the first.
        size_px: height and width that pictures are resized to.
        grid: rows and columns of patches; None for patches of 32×32 px.
        variant: A to E of the paper's Table 2.
        coreset_ratio: share of vectors kept.
        spread_threshold: D_th.
        metric: ``own`` to each patch, as far as that finds more, or ``plain``; None for ``own``
            where there are several patches, 1,024 at most.
        turn: degrees; copies turned by its multiples are learnt, too. 0 for none; None for as the
            pictures ask for, where there are several patches, as above.
        align: whether pictures are moved so that a part lies where the good ones do.
        max_keys: most keys of a patch, twice as many of a widened one; 0 for no limit. None for 512
            of a patch of 32×32 px, those of 320 pictures, and in proportion.

    Raises:
        OptionError: a value makes no sense.
    """
    if variant not in VARIANTS:
        raise OptionError(f"variant {variant!r}: use one of {', '.join(VARIANTS)}")
    patch_wise, layer_wise, adaptive = VARIANTS[variant]
    spec = backbones.look_up(backbone)
    tapped = tuple(layers) if layers is not None else spec.default_layers
    own_grid = grid is not None
    if grid is None:
        grid = (_sides_of_32(size_px[0]), _sides_of_32(size_px[1]))
    if not patch_wise:
        grid = (1, 1)
    few = grid[0] * grid[1] <= _MOST_OWN
    if metric is None:
        metric = "own" if grid != (1, 1) and few else "plain"
    num_memories = len(tapped) if layer_wise else 1
    own = tapped == spec.default_layers and layer_wise
    deepens = layers is None and layer_wise and metric == "own" and not own_grid
    return BankConfig(
        backbone=backbone,
        layers=tapped,
        layer_scales=(spec.layer_scale,) * len(tapped),
        finest_stride=spec.finest_stride,
        count_include_pad=False,
        preprocessing=Preprocessing(size_px, size_px, "bilinear", True, spec.mean, spec.std),
        grid=grid,
        layer_wise=layer_wise,
        adaptive=adaptive,
        metric=metric,
        turn=turn or 0,
        turn_found=turn is None and grid != (1, 1) and few,
        layers_found=deepens and spec.deep_layer is not None,
        align=align,
        max_keys=_usual_limit(size_px, grid) if max_keys is None else max_keys,
        coreset_ratio=coreset_ratio,
        spread_threshold=spread_threshold,
        query=Query(
            num_neighbors=1,
            layer_weights=spec.layer_weights if own else (1.0,) * num_memories,
            sigma=4.0,
            reach=0,
            placement="bilinear",
            image_score="extents",
            calibration="local",
            light="corrected",
            spot_px=_PATCH_PX**2,
        ),
    )


def paper_config(backbone: str = backbones.PAPER_BACKBONE, **changes: Any) -> BankConfig:
    """Configure a bank exactly as paper and official inference code do.

    Args:
        backbone: its name.
        changes: as for :func:`default_config`.
    """
    config = default_config(backbone, **{"metric": "plain", "turn": 0, "max_keys": 0, **changes})
    return dataclasses.replace(
        config,
        count_include_pad=True,
        preprocessing=dataclasses.replace(
            config.preprocessing,
            resize_px=(256, 256),
            crop_px=(224, 224),
            resampling="lanczos",
            jpeg_draft=False,
        ),
        query=dataclasses.replace(
            config.query,
            num_neighbors=4,
            layer_weights=(1.0,) * len(config.memory_names),
            image_score="paper",
            calibration="none",
            light="as-is",
            spot_px=0,
        ),
    )


def configure(
    preset: str = "default",
    size: int | tuple[int, int] | None = None,
    aspect: float = 1.0,
    query: Mapping[str, Any] | None = None,
    **changes: Any,
) -> BankConfig:
    """Configure a bank to build.

    Args:
        preset: ``default``, or ``paper`` for all to the paper's letter.
        size: the input's height and width in px, or its shorter side; None for the preset's: a
            shorter side of 224.
        aspect: height by width of the pictures, which the input follows where one side is free;
            with a ``grid`` of one's own it is a square.
        query: what to change of how pictures are scored, as for :meth:`BankConfig.with_query`.
        changes: ``backbone``, ``layers``, ``variant`` (A to E of the paper's Table 2), ``grid``
            (rows and columns of patches), ``coreset_ratio``, ``spread_threshold``, ``metric``,
            ``turn``, ``align``, ``max_keys``.

    Raises:
        OptionError: there is no such preset, or a value makes no sense.
    """
    if preset not in ("default", "paper"):
        raise OptionError(f"preset {preset!r}: use default or paper")
    if preset == "paper":
        if size is not None:
            raise OptionError("--preset paper resizes to 256 and crops 224; leave --size out")
        return paper_config(**changes).with_query(**(query or {}))
    if size is None:
        size = _SIDE_PX
    if isinstance(size, int):
        size = (size, size) if "grid" in changes else _in_shape(size, aspect)
    return default_config(size_px=size, **changes).with_query(**(query or {}))


def _in_shape(short: int, aspect: float) -> tuple[int, int]:
    """Height and width in px: the shorter is given, the longer a multiple of 32 as aspect says."""
    patches = min(round(short * max(aspect, 1 / aspect) / _PATCH_PX), MOST_PATCHES)
    long = max(patches * _PATCH_PX, short)
    return (long, short) if aspect > 1 else (short, long)


def _usual_limit(size_px: tuple[int, int], grid: tuple[int, int]) -> int:
    """Most keys of a patch; of a grid that is none, which the configuration will say, any."""
    patch_px = math.prod(size_px) / max(math.prod(grid), 1)
    return max(round(_MOST_KEYS * patch_px / _PATCH_PX**2), 1)


def _sides_of_32(side: int) -> int:
    """How many patches of 32 px, the paper's, make a side."""
    if side < 32 or side % 32:
        below = side // 32 * 32
        fits = " or ".join(str(fit) for fit in (below, below + 32) if fit > 0)
        raise OptionError(
            f"size {side} px is no multiple of 32 px, the side of a patch; "
            f"sizes that fit: {fits} (or choose a --grid)"
        )
    return side // 32
