"""Segments: a network cut where little flows, so that large inputs are run piece by piece.

A tile of a network has to be run with as much around it as the network sees, and what lies between
its layers is largest near the px. So the first stages are run in small tiles, which a cache holds,
the next ones in tiles of what those gave: each has but its own rim around, a few px of the first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fapm_cli.config import BankConfig
from fapm_cli.network.architectures import Convolution, Stage, cut_stages

MOST_PX = 1792
"""Of a side of what is run in one: a larger input takes much memory, and is run by tiles."""


@dataclass(frozen=True)
class Sight:
    """What a place of a map is made of.

    Attributes:
        stride: px per place.
        before: px that it sees before its first one.
        end: px after its first one up to the end of what it sees.
    """

    stride: int
    before: int
    end: int

    def through(self, kernel: int, stride: int, before: int) -> Sight:
        """That of a map made of this one by a window of so many places, ``before`` of them before
        its own.
        """
        return Sight(
            self.stride * stride,
            self.before + before * self.stride,
            self.end + (kernel - 1 - before) * self.stride,
        )

    def conv(self, conv: Convolution) -> Sight:
        """That behind a convolution."""
        before, _ = conv.margins(_EVEN)
        return self.through(conv.kernel, conv.stride, before)

    def wider(self, other: Sight) -> Sight:
        """What both see."""
        ends = max(self.before, other.before), max(self.end, other.end)
        return Sight(self.stride, *ends)

    def finer(self, stride: int) -> Sight:
        """That of a finer map that it is brought to, bilinearly."""
        off = self.stride - stride
        return Sight(stride, self.before + self.stride + off, self.end + self.stride)


_EVEN = 2**10  # places of a side: all that are cut are even, which decides how a stage is padded


@dataclass(frozen=True)
class Segment:
    """Stages that are run together.

    Attributes:
        stages: one after another.
        fed_by: the stage before, none for the px.
        fed_channels: of what it gives.
        fed_stride: px per place of it.
        channels: of what the last stage gives.
        stride: px per place of it.
        before: px that must lie before what it is run for, a multiple of ``unit_px``.
        after: px that must lie behind, likewise.
        unit_px: what it is run for begins and ends at multiples of this.
        widest: float32 numbers per px of what a layer is fed and gives, where that is most.
    """

    stages: tuple[Stage, ...]
    fed_by: str
    fed_channels: int
    fed_stride: int
    channels: int
    stride: int
    before: int
    after: int
    unit_px: int
    widest: float


def segments(config: BankConfig) -> list[Segment]:
    """Cut a backbone: behind each stage that gives no more than its segment was fed, where no
    sum and no tapped layer asks for what lies before.
    """
    stages = cut_stages(config.backbone, config.layers)
    found: list[Segment] = []
    fed_by, channels, stride, first = "", 3, 1, 0
    for number, stage in enumerate(stages):
        is_last = number + 1 == len(stages)
        segment = _segment(config, stages[first : number + 1], (fed_by, channels, stride), is_last)
        given, fed = (c / s**2 for c, s in ((segment.channels, segment.stride), (channels, stride)))
        inside = {fed_by, *(one.name for one in stages[first:number])}
        asked = {*config.layers, *(one.adds for one in stages[number + 1 :])}
        if is_last or (given <= fed and not inside & asked):
            found.append(segment)
            fed_by, channels, stride, first = (
                stage.name,
                segment.channels,
                segment.stride,
                number + 1,
            )
    return found


def _segment(
    config: BankConfig, stages: tuple[Stage, ...], fed: tuple[str, int, int], is_last: bool
) -> Segment:
    fed_by, fed_channels, fed_stride = fed
    sight, channels, widest = Sight(fed_stride, 0, fed_stride), fed_channels, 0.0
    sights = {fed_by: sight}
    for stage in stages:
        for block in stage.blocks:
            before = sight
            for conv in block.convs:
                fed_numbers = conv.channels[0] / sight.stride**2
                sight, channels = sight.conv(conv), conv.channels[1]
                widest = max(widest, fed_numbers + channels / sight.stride**2)
            if block.residual:
                added = before if block.shortcut is None else before.conv(block.shortcut)
                sight = sight.wider(added)
        if stage.max_pool:
            sight = sight.through(3, 2, 1)
        if stage.adds is not None:
            sight = sight.wider(sights[stage.adds])
        sights[stage.name] = sight
    seen = _pooled(config, sights) if is_last else [sight]
    unit = max(fed_stride, *(one.stride for one in (*seen, sight)))
    first, behind = (
        math.ceil(max(far) / unit) * unit
        for far in ([one.before for one in seen], [one.end - one.stride for one in seen])
    )
    given = channels, sight.stride
    return Segment(stages, fed_by, fed_channels, fed_stride, *given, first, behind, unit, widest)


def _pooled(config: BankConfig, sights: Mapping[str, Sight]) -> list[Sight]:
    """What the locally aware maps see."""
    seen = []
    for layer in config.layers:
        sight = sights[layer]
        if sight.stride < config.finest_stride:
            finer = config.finest_stride // sight.stride
            sight = sight.through(finer, finer, 0)
        seen.append(sight.through(3, 1, 1))
    if config.layer_wise:
        return seen
    finest = min(one.stride for one in seen)
    return [one if one.stride == finest else one.finer(finest) for one in seen]
