"""Products laid out by oneDNN are those of torch, for any shape."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fapm_cli.compute.device import has_onednn
from fapm_cli.compute.plan import cpu_has_int8
from fapm_cli.memory.key_products import Int8Products, PackedProducts, PlainProducts
from fapm_cli.memory.patch_memory import patch_memory
from fapm_cli.memory.search import search

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(not has_onednn(CPU), reason="this torch has no oneDNN")

needs_int8 = pytest.mark.skipif(not cpu_has_int8(), reason="this CPU has no VNNI")
sizes = st.integers(1, 40)


@given(st.integers(1, 5), sizes, sizes, sizes, st.integers(0, 2**31))
@settings(max_examples=80)
def test_packed_products_are_the_plain_ones(
    num_patches: int, num_queries: int, width: int, channels: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(num_patches, width, channels, generator=generator)
    norms_sq = keys.square().sum(dim=2).unsqueeze(1)
    norms_sq[:, :, width // 2 + 1 :] = torch.inf
    packed = PackedProducts(keys, norms_sq, num_queries)
    for number in (num_queries, num_queries + 3):  # not only what it was laid out for
        queries = torch.randn(num_patches, number, channels, generator=generator)
        wanted = PlainProducts(keys, norms_sq)(queries)
        torch.testing.assert_close(packed(queries), wanted, rtol=1e-4, atol=1e-4)


@needs_int8
@given(st.integers(1, 5), sizes, sizes, sizes, st.integers(0, 2**31))
@settings(max_examples=80)
def test_int8_products_are_those_of_rounded_vectors(
    num_patches: int, num_queries: int, width: int, channels: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    keys, queries = (
        10 ** (4 * torch.rand(num_patches, n, 1, generator=generator) - 2)
        * torch.randn(num_patches, n, channels, generator=generator)
        for n in (width, num_queries)
    )
    keys[:, width // 2] = 0
    norms_sq = keys.square().sum(dim=2).unsqueeze(1)
    norms_sq[:, :, width // 2 + 1 :] = torch.inf

    def rounded(vectors: Tensor) -> Tensor:
        step = vectors.double().abs().amax(dim=2, keepdim=True).clamp(min=1e-30) / 127
        return (vectors / step).round() * step

    wanted = norms_sq - 2 * rounded(queries) @ rounded(keys).mT
    found = Int8Products(keys, norms_sq, num_queries)(queries).double()
    # A value in the middle of two steps may go to either; the sum with ‖key‖² is rounded.
    largest = queries.abs().amax(dim=2, keepdim=True) * keys.abs().amax(dim=2).unsqueeze(1)
    allowed = 0.02 * channels**0.5 * largest + 1e-6 * norms_sq.nan_to_num(posinf=0)
    assert ((found - wanted).nan_to_num().abs() <= allowed + 1e-20).all()


@pytest.mark.parametrize("counts", [[5] * 6, [5, 10, 5, 10, 10, 5], [1, 2, 7, 5, 23, 12]])
@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.int8, marks=needs_int8)])
def test_search_finds_the_same_either_way(counts: list[int], k: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(sum(counts), 48, generator=generator)
    queries = torch.randn(6, 16, 48, generator=generator)
    plain, packed = (
        search(queries, patch_memory(keys, torch.tensor(counts), (2, 3), *how), k)
        for how in ((torch.float32, None), (dtype, 16))
    )
    torch.testing.assert_close(packed[0], plain[0], rtol=1e-4, atol=1e-4)
    there = (torch.arange(k) < torch.tensor(counts).view(-1, 1, 1)).expand_as(plain[1])
    assert torch.equal(packed[1][there], plain[1][there])
