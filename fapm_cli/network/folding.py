"""Folding: batch norm goes into the convolutions before it, in a network and in its weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from fapm_cli.errors import WeightsError
from fapm_cli.network.weights import StateDict

M = TypeVar("M", bound=nn.Module)


def conv_norm_pairs(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Name each convolution with the batch norm that follows it, in order of definition."""
    children = list(module.named_children())
    for i, (name, child) in enumerate(children):
        if isinstance(child, nn.Conv2d) and i + 1 < len(children):
            after, norm = children[i + 1]
            if isinstance(norm, nn.BatchNorm2d):
                yield prefix + name, prefix + after
        yield from conv_norm_pairs(child, f"{prefix}{name}.")


def fold_batch_norm(network: nn.Module, state: StateDict) -> dict[str, Tensor]:
    """Fold each batch norm into the convolution before it, in the network and in its weights.

    Works in place on ``network``: batch norms become identities and convolutions get a bias. In
    ``state`` the batch norm may already be folded: then the convolution has a bias itself.

    Args:
        network: holds the stages, under the names that ``state`` uses.
        state: the weights as they come from a file.

    Returns:
        The folded weights, float32, exactly the names of the folded network.

    Raises:
        WeightsError: a tensor is missing, has another shape, or a name belongs to no part.
    """
    wanted = dict(network.state_dict())
    folded: dict[str, Tensor] = {}
    for conv, norm in list(conv_norm_pairs(network)):
        weight = _take(state, wanted, f"{conv}.weight")
        bias = state.get(f"{conv}.bias", torch.zeros(len(weight)))
        if f"{norm}.weight" in state or f"{conv}.bias" not in state:
            gamma, beta, mean, var = (
                _take(state, wanted, f"{norm}.{part}")
                for part in ("weight", "bias", "running_mean", "running_var")
            )
            factor = gamma / torch.sqrt(var + _part(network, norm, nn.BatchNorm2d).eps)
            weight, bias = weight * factor.view(-1, 1, 1, 1), (bias - mean) * factor + beta
        folded[f"{conv}.weight"], folded[f"{conv}.bias"] = weight, bias.float()
    _remove_norms(network)
    for name in network.state_dict():
        if name not in folded:
            folded[name] = _take(state, wanted, name)
    return folded


def _take(state: StateDict, wanted: StateDict, name: str) -> Tensor:
    if name not in state:
        raise WeightsError(f"weights have no {name!r}: they belong to another network")
    if state[name].shape != wanted[name].shape:
        found, want = tuple(state[name].shape), tuple(wanted[name].shape)
        raise WeightsError(f"weights {name!r} have shape {found}, this network needs {want}")
    return state[name].float()


def _part(network: nn.Module, name: str, kind: type[M]) -> M:
    part = network.get_submodule(name)
    assert isinstance(part, kind)
    return part


def _remove_norms(network: nn.Module) -> None:
    """Leave identities in place of batch norms, and give the convolutions before them a bias."""
    for conv, norm in list(conv_norm_pairs(network)):
        network.set_submodule(norm, nn.Identity())
        convolution = _part(network, conv, nn.Conv2d)
        convolution.bias = nn.Parameter(torch.empty(convolution.out_channels, device="meta"))


def random_weights(network: nn.Module, seed: int) -> dict[str, Tensor]:
    """Draw folded weights: He-normal kernels, zero biases, scales of 1; the same of a seed."""
    _remove_norms(network)
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        std = (2 / value[0].numel()) ** 0.5 if value.dim() > 1 else 0.0
        drawn = torch.randn(value.shape, generator=generator) * std
        is_scale = value.dim() == 1 and not name.endswith("bias")
        state[name] = torch.ones_like(drawn) if is_scale else drawn
    return state


def take_folded(network: nn.Module, state: StateDict) -> dict[str, Tensor]:
    """Take weights that are cut and folded already.

    Raises:
        WeightsError: a tensor is missing, left over, or has another shape.
    """
    _remove_norms(network)
    wanted = network.state_dict()
    left_over = sorted(set(state) - set(wanted))
    if left_over:
        raise WeightsError(f"weights {left_over[0]!r} belong to no part of this network")
    return {name: _take(state, wanted, name) for name in wanted}
