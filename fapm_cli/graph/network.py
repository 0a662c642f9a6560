"""The network: from pixels to locally aware maps (§2.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fapm_cli.config import BankConfig
from fapm_cli.errors import WeightsError
from fapm_cli.graph.half import Rounding
from fapm_cli.graph.transformer import Transformer
from fapm_cli.graph.writer import Graph, Value
from fapm_cli.network.architectures import Block, Convolution, Stage, cut_stages
from fapm_cli.network.vision_transformers import TRANSFORMERS
from fapm_cli.scores.geometry import resize_matrix

Size = tuple[int, int]
Tapped = dict[str, tuple[Value, Size]]
"""What stages give, (B, C, h, w), and its size, by their names."""
FED, MAP = "fed", "map."
"""Names of the values that a network is cut at."""


class Network:
    """Writes a backbone that is cut after its last tapped layer, and the pooling behind it."""

    def __init__(
        self,
        graph: Graph,
        config: BankConfig,
        weights: Mapping[str, NDArray[np.float32]],
        rounding: Rounding,
        cut: str | None = None,
        size: Size | None = None,
    ):
        """Take what it is made of; ``weights``, with norms folded into them, are by the names of
        the stages.

        What the stage ``cut`` is fed, and the maps, then have the names :data:`FED` and
        :data:`MAP` and their number. ``size`` is that of the px it is for, H and W; None for the
        input's.
        """
        self._graph, self._config, self._cut = graph, config, cut
        self._weights, self._rounding = weights, rounding
        shape = TRANSFORMERS.get(config.backbone)
        self._transformer = None if shape is None else Transformer(graph, shape, self._take)
        self._size = config.preprocessing.crop_px if size is None else size

    def maps(self, pixels: Value) -> list[Value]:
        """The locally aware maps (B, C, h, w) of each memory, of (B, H, W, 3) float32 px."""
        stages = cut_stages(self._config.backbone, self._config.layers)
        return self.locally_aware(self.through(stages, self.normalised(pixels)))

    def normalised(self, pixels: Value) -> Value:
        """What the first stage is fed, (B, 3, H, W)."""
        # A row at a time: to repeat three numbers is slow. And engines whose convolutions want
        # channels last drop a transpose that stands right before one.
        preprocessing = self._config.preprocessing
        mean, std = (
            np.tile(np.array(one, np.float32), (self._size[1], 1))
            for one in (preprocessing.mean, preprocessing.std)
        )
        return ((pixels - mean) / std).transpose(0, 3, 1, 2)

    def through(
        self, stages: Sequence[Stage], fed: Value, before: str = "", stride: int = 1
    ) -> Tapped:
        """Run some stages, one after another.

        Args:
            stages: of the network, without a gap.
            fed: (B, C, h, w), what the first of them is fed.
            before: the stage that gives that; none for the px.
            stride: px per place of it.

        Returns:
            What each stage gives, (B, C_j, h_j, w_j), and its size, by its name; and what the
            first was fed.
        """
        x, size = fed, (self._size[0] // stride, self._size[1] // stride)
        kept = {before: (x, size)}
        for stage in stages:
            if stage.name == self._cut:  # a sum behind it takes what it is fed, too
                x = self._graph.named(FED, x)
                kept[before] = x, size
            if self._transformer is not None:
                x, size = self._transformer.stage(stage.name, x, size)
            for block in stage.blocks:
                x, size = self._block(block, x, size)
            if stage.max_pool:
                x = self._graph.node(
                    "MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
                )
                size = (size[0] + 1) // 2, (size[1] + 1) // 2
            if stage.adds is not None:
                x = x + kept[stage.adds][0]
            kept[stage.name] = x, size
            before = stage.name
        return kept

    def locally_aware(self, tapped: Tapped) -> list[Value]:
        """The maps of each memory, of what each tapped layer gives."""
        pooled = [self._pooled(*tapped[name]) for name in self._config.layers]
        scales = self._config.layer_scales
        maps = [one * scale for (one, _), scale in zip(pooled, scales, strict=True)]
        if not self._config.layer_wise:
            maps = [_joined(self._graph, maps, [size for _, size in pooled])]
        if self._cut is None:
            return maps
        return [self._graph.named(f"{MAP}{j}", one) for j, one in enumerate(maps)]

    def _block(self, block: Block, fed: Value, fed_size: Size) -> tuple[Value, Size]:
        x, size = fed, fed_size
        for conv in block.convs:
            x, size = self._convolution(conv, x, size)
        if block.residual:
            if block.shortcut is not None:
                fed, _ = self._convolution(block.shortcut, fed, fed_size)
            x = self._graph.node("Relu", x + fed)
        return x, size

    def _convolution(self, conv: Convolution, fed: Value, size: Size) -> tuple[Value, Size]:
        out, channels = conv.channels[1], conv.channels[0] // conv.groups
        kernels = self._take(f"{conv.name}.weight", (out, channels, conv.kernel, conv.kernel))
        bias = self._take(f"{conv.name}.bias", (out,))
        margins = [conv.margins(side) for side in size]
        x = self._graph.node(
            "Conv",
            fed,
            self._graph.constant(kernels, f"{conv.name}.weight"),
            self._graph.constant(bias, f"{conv.name}.bias"),
            kernel_shape=[conv.kernel] * 2,
            strides=[conv.stride] * 2,
            group=conv.groups,
            pads=[before for before, _ in margins] + [after for _, after in margins],
        )
        if conv.activation == "relu":
            x = self._graph.node("Relu", x)
        elif conv.activation == "relu6":
            x = self._graph.node("Clip", x, 0.0, 6.0)
        height, width = (
            (side + sum(of) - conv.kernel) // conv.stride + 1
            for side, of in zip(size, margins, strict=True)
        )
        return x, (height, width)

    def _take(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Weights by name.

        Raises:
            WeightsError: they are missing, or of another shape.
        """
        if name not in self._weights:
            raise WeightsError(f"weights have no {name!r}: they belong to another network")
        found = self._weights[name].shape
        if found != shape:
            raise WeightsError(f"weights {name!r} have shape {found}, this network needs {shape}")
        return self._rounding(self._weights[name].astype(np.float32, copy=False))

    def _pooled(self, tap: Value, size: Size) -> tuple[Value, Size]:
        """Average 3×3 places, after bringing the map to the finest stride; not of tokens."""
        if self._transformer is not None:
            return self._transformer.as_map(tap, size), size
        finest = self._config.finest_stride
        stride = self._size[0] // size[0]
        if stride < finest:
            sides = [finest // stride] * 2
            tap = self._graph.node("AveragePool", tap, kernel_shape=sides, strides=sides)
            size = size[0] * stride // finest, size[1] * stride // finest
        pooled = self._graph.node(
            "AveragePool",
            tap,
            kernel_shape=[3, 3],
            strides=[1, 1],
            pads=[1, 1, 1, 1],
            count_include_pad=int(self._config.count_include_pad),
        )
        return pooled, size


def _joined(graph: Graph, maps: list[Value], sizes: list[Size]) -> Value:
    """All layers' maps in one, at the finest one's size, where memories are not layer-wise."""
    finest = max(sizes, key=lambda size: size[0])
    upsampled = []
    for one, size in zip(maps, sizes, strict=True):
        if size != finest:
            rows, columns = (
                resize_matrix(out, own).astype(np.float32)
                for out, own in zip(finest, size, strict=True)
            )
            one = graph.constant(rows) @ one @ graph.constant(columns.T)
        upsampled.append(one)
    return graph.concat(upsampled, 1)
