"""Packed convolutions: on a CPU by oneDNN, with the weights in its own blocked layout.

torch's own convolution lays its weights out anew for every picture, and ReLU and the residual sum
go over its result once more. Here weights are laid out once, and both happen while the result is
in registers: the same values, in four fifths of the time (docs/speed.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fapm_cli.network.efficientnet_lite import SameConv2d
from fapm_cli.network.resnet import ResidualBlock

Convolutions = dict[str, nn.Conv2d]
_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
}


def convolutions(network: nn.Module) -> Convolutions:
    """Name the convolutions of a network."""
    return {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}


@contextmanager
def watching(convs: Convolutions, look: Callable[[str, Tensor], None]) -> Iterator[None]:
    """While it lasts, ``look`` at what each of ``convs`` is fed, by name."""
    handles = [
        conv.register_forward_pre_hook(lambda _, fed, name=name: look(name, fed[0]))
        for name, conv in convs.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def fed_sizes(convs: Convolutions, run: Callable[[], object]) -> dict[str, list[int]]:
    """The (B, C, H, W) that each of ``convs`` is fed in a run."""
    sizes: dict[str, list[int]] = {}
    with watching(convs, lambda name, fed: sizes.__setitem__(name, list(fed.shape))):
        run()
    return sizes


def evenly_padded(conv: nn.Conv2d, size: list[int]) -> tuple[Tensor, list[int]]:
    """The weights and the padding, rows and columns, that convolve (B, C, H, W) ``size`` alike.

    Uneven padding is even padding of a kernel with zeros in front: cheaper than a padded copy.
    """
    weight, margins = conv.weight.detach(), None
    if isinstance(conv, SameConv2d):
        margins = conv.margins(size)
    if margins is None:
        return weight, [int(side) for side in conv.padding]
    left, right, top, bottom = margins
    return F.pad(weight, (right - left, 0, bottom - top, 0)), [bottom, right]


class PackedConv2d(nn.Module):
    """A convolution, and the activation behind it, in the precision of its weights."""

    def __init__(self, conv: nn.Conv2d, size: list[int], activation: nn.Module | None = None):
        """Lay the weights of ``conv`` out for (B, C, H, W) ``size``, all that it will be fed."""
        super().__init__()
        weight, padding = evenly_padded(conv, size)
        self._where = (padding, list(conv.stride), list(conv.dilation), conv.groups)
        self._activation = (None, []) if activation is None else _ACTIVATIONS[type(activation)]
        self._bias = None if conv.bias is None else conv.bias.detach()
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self._where, size)

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Convolve (B, C, H, W), add ``added`` of the result's shape, and activate.

        oneDNN has no sum with a ReLU6 behind it, nor has any of the networks.
        """
        name, scalars = self._activation
        convolve = torch.ops.mkldnn._convolution_pointwise
        parts = (self._weight, self._bias, *self._where)
        y: Tensor
        if added is None:
            y = convolve(x, *parts, name or "none", scalars, "")
        else:
            y = convolve.binary(x, added, *parts, "add", 1.0, name, scalars, "")
        return y


class PackedBlock(nn.Module):
    """A residual block: convolutions, the last of which adds what the block was fed."""

    def __init__(self, block: ResidualBlock, sizes: dict[str, list[int]]):
        """Pack a block whose convolutions are fed ``sizes``."""
        super().__init__()
        packed = {
            name: PackedConv2d(conv, sizes[name], block.relu if name in block.convs else None)
            for name, conv in convolutions(block).items()
        }
        self.shortcut = packed.pop("downsample.0", None)
        self.convs = nn.ModuleList(packed.values())

    def forward(self, x: Tensor) -> Tensor:
        """Run the block on (B, C, H, W)."""
        added = x if self.shortcut is None else self.shortcut(x)
        for conv in self.convs[:-1]:
            x = conv(x)
        y: Tensor = self.convs[-1](x, added)
        return y


def pack(network: nn.Module, run: Callable[[], object]) -> None:
    """Replace the convolutions of a network by packed ones, in place.

    Args:
        network: on a CPU, batch norm folded. What is not a convolution there is left as it is.
        run: runs the network once on one picture: weights are laid out for the size they meet.
    """
    sizes = fed_sizes(convolutions(network), run)
    for name, block in list(network.named_modules()):
        inside = f"{name}."
        if isinstance(block, ResidualBlock) and f"{inside}conv1" in sizes:
            own = {n.removeprefix(inside): s for n, s in sizes.items() if n.startswith(inside)}
            network.set_submodule(name, PackedBlock(block, own))
    for name, conv in convolutions(network).items():
        activation = _take_activation(network, name)
        network.set_submodule(name, PackedConv2d(conv, sizes[name], activation))


def _take_activation(network: nn.Module, name: str) -> nn.Module | None:
    """Take out the activation that follows a convolution in a row of modules, if one does."""
    prefix, _, own = name.rpartition(".")
    row = network.get_submodule(prefix)
    if not isinstance(row, nn.Sequential):
        return None
    names = [n for n, _ in row.named_children()]
    for after in names[names.index(own) + 1 :]:
        following = row.get_submodule(after)
        if type(following) in _ACTIVATIONS:
            row.set_submodule(after, nn.Identity())
            return following
        if not isinstance(following, nn.Identity):
            return None
    return None
