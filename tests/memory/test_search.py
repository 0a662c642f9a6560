from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fapm_cli.memory.key_products import KeyProducts
from fapm_cli.memory.pages import PAGE_COST
from fapm_cli.memory.patch_memory import LeaveOut, PatchMemory, patch_memory
from fapm_cli.memory.search import MEMORY_BYTES, search

GRID = (2, 3)
COUNTS = {
    "equal": [5, 5, 5, 5, 5, 5],
    "K and 2K": [5, 10, 5, 10, 10, 5],
    "all different": [1, 2, 7, 5, 23, 12],
    "fewer than k": [1, 9, 2, 3, 9, 1],
}


@pytest.fixture(params=[PAGE_COST, 0], ids=["one page each", "many pages"], autouse=True)
def page_cost(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few keys fit on one page; where pages cost nothing, there are as many as avoid padding."""
    monkeypatch.setattr("fapm_cli.memory.pages.PAGE_COST", request.param)


def make_memory(
    counts: list[int], grid: tuple[int, int] = GRID, channels: int = 6, seed: int = 0
) -> tuple[Tensor, Tensor, PatchMemory]:
    """Keys, queries and memory; each patch sits somewhere else."""
    generator = torch.Generator().manual_seed(seed)
    home = torch.randn(len(counts), channels, generator=generator)
    keys = torch.randn(sum(counts), channels, generator=generator)
    keys += home.repeat_interleave(torch.tensor(counts), dim=0)
    queries = torch.randn(len(counts), 11, channels, generator=generator) + home.unsqueeze(1)
    return keys, queries, patch_memory(keys, torch.tensor(counts), grid)


def plain_search(
    keys: Tensor,
    counts: list[int],
    queries: Tensor,
    grid: tuple[int, int],
    k: int,
    reach: int,
    leave_out: LeaveOut | None = None,
) -> tuple[Tensor, Tensor]:
    """Search every key of every patch in reach, one by one; -1 is the index of no key."""
    exact_keys, exact_queries = keys.double().numpy(), queries.double().numpy()
    firsts = np.cumsum([0, *counts])
    distances, indices = [], []
    for patch in range(len(counts)):
        row, column = divmod(patch, grid[1])
        within: list[int] = []
        for other in range(len(counts)):
            y, x = divmod(other, grid[1])
            if abs(y - row) <= reach and abs(x - column) <= reach:
                within += range(firsts[other], firsts[other + 1])
        for number, query in enumerate(exact_queries[patch]):
            pairs = []
            for i in within:
                if leave_out is None or leave_out.key_groups[i] != leave_out.query_groups[number]:
                    pairs.append((float(np.sqrt(((query - exact_keys[i]) ** 2).sum())), i))
            pairs.sort()
            farthest = pairs[:k][-1][0] if pairs else np.inf
            pairs = (pairs + [(farthest, -1)] * k)[:k]
            distances.append([d for d, _ in pairs])
            indices.append([i for _, i in pairs])
    shape = (*queries.shape[:2], k)
    return torch.tensor(distances).view(shape), torch.tensor(indices).view(shape)


def agrees(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> None:
    """Check distances, and which keys they are of."""
    np.testing.assert_allclose(found[0].numpy(), wanted[0].numpy(), rtol=1e-5)
    there = wanted[1] >= 0
    assert torch.equal(found[1][there], wanted[1][there])


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS.keys())
@pytest.mark.parametrize("reach", [0, 1, 2])
@pytest.mark.parametrize("k", [1, 4])
def test_search_finds_what_the_plain_loop_finds(counts: list[int], reach: int, k: int) -> None:
    keys, queries, memory = make_memory(counts)
    found = search(queries, memory, k, reach)
    assert found[0].dtype == torch.float32
    assert found[1].dtype == torch.int64
    agrees(found, plain_search(keys, counts, queries, GRID, k, reach))


@pytest.mark.parametrize("grid", [(1, 6), (6, 1), (3, 2)])
def test_search_reaches_neighbors_on_any_grid(grid: tuple[int, int]) -> None:
    counts = COUNTS["K and 2K"]
    keys, queries, memory = make_memory(counts, grid)
    agrees(search(queries, memory, 4, 1), plain_search(keys, counts, queries, grid, 4, 1))


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS.keys())
@pytest.mark.parametrize("reach", [0, 1])
@pytest.mark.parametrize("budget", [2**20, 1])
def test_search_leaves_out_the_keys_of_a_querys_own_picture(
    monkeypatch: pytest.MonkeyPatch, counts: list[int], reach: int, budget: int
) -> None:
    monkeypatch.setitem(MEMORY_BYTES, "cpu", budget)
    keys, queries, memory = make_memory(counts)
    generator = torch.Generator().manual_seed(1)
    leave_out = LeaveOut(torch.arange(11) % 3, torch.randint(3, (len(keys),), generator=generator))
    found = search(queries, memory, 4, reach, leave_out)
    agrees(found, plain_search(keys, counts, queries, GRID, 4, reach, leave_out))


def test_a_query_whose_keys_are_all_left_out_is_infinitely_far() -> None:
    counts = COUNTS["all different"]
    keys, queries, memory = make_memory(counts)
    leave_out = LeaveOut(torch.arange(11) % 2, torch.zeros(len(keys), dtype=torch.int64))
    distances, _ = search(queries, memory, 4, 1, leave_out)
    assert bool(distances[:, 0::2].isinf().all())
    assert bool(distances[:, 1::2].isfinite().all())


def test_a_patch_with_fewer_keys_than_k_repeats_the_farthest() -> None:
    counts = COUNTS["fewer than k"]
    _, queries, memory = make_memory(counts)
    distances, _ = search(queries, memory, 4)
    assert bool(distances.isfinite().all())
    for patch, count in enumerate(counts):
        rest = distances[patch, :, min(count, 4) :]
        assert torch.equal(rest, distances[patch, :, min(count, 4) - 1, None].expand_as(rest))


def test_the_nearest_key_is_always_one_of_the_patchs_own() -> None:
    counts = COUNTS["all different"]
    _, queries, memory = make_memory(counts)
    nearest = search(queries, memory, 4)[1][..., 0]
    ends = torch.tensor(counts).cumsum(0).unsqueeze(1)
    assert bool((nearest < ends).all())
    assert bool((nearest >= ends - torch.tensor(counts).unsqueeze(1)).all())


@pytest.mark.parametrize(
    ("counts", "width", "num_pages"),
    [
        ([334] * 6, 334, [1, 1, 1, 1, 1, 1]),
        ([668] * 6, 668, [1, 1, 1, 1, 1, 1]),
        ([334, 668, 334, 334, 334, 668], 334, [1, 2, 1, 1, 1, 2]),  # no padding
        ([668, 668, 334, 668, 668, 668], 668, [1, 1, 1, 1, 1, 1]),  # half a page of it
        ([700, 650, 30, 690, 710, 2100], 710, [1, 1, 1, 1, 1, 3]),
    ],
)
def test_pages_are_as_wide_as_costs_least(
    monkeypatch: pytest.MonkeyPatch, counts: list[int], width: int, num_pages: list[int]
) -> None:
    monkeypatch.setattr("fapm_cli.memory.pages.PAGE_COST", 256)
    keys, _, memory = make_memory(counts, channels=1)
    assert (memory.width, memory.most_pages) == (width, max(num_pages))
    assert torch.bincount(memory.patches).tolist() == num_pages
    assert memory.padded == (sum(num_pages) * width > sum(counts))
    shown = [
        key
        for first, patch in zip(memory.first.flatten(), memory.patches, strict=True)
        for key in range(int(first), min(int(first) + width, sum(counts[: int(patch) + 1])))
    ]
    assert shown == list(range(len(keys)))


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS.keys())
@pytest.mark.parametrize("budget", [1, 200])
def test_queries_in_chunks_find_the_same(
    monkeypatch: pytest.MonkeyPatch, counts: list[int], budget: int
) -> None:
    keys, queries, memory = make_memory(counts)
    whole = search(queries, memory, 4, 1)
    monkeypatch.setitem(MEMORY_BYTES, "cpu", budget)
    chunked = search(queries, memory, 4, 1)
    torch.testing.assert_close(chunked[0], whole[0], rtol=1e-5, atol=1e-6)
    agrees(chunked, plain_search(keys, counts, queries, GRID, 4, 1))


def test_distances_take_no_more_memory_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    _, queries, memory = make_memory(COUNTS["K and 2K"])
    budget = 4 * 6 * 10 * 4  # four queries of six patches to ten keys
    taken = []
    product = torch.bmm

    def measured(*args: Any, **options: Any) -> Tensor:
        result = product(*args, **options)
        taken.append(result.numel() * result.element_size())
        return result

    monkeypatch.setattr(torch, "bmm", measured)
    monkeypatch.setitem(MEMORY_BYTES, "cpu", budget)
    search(queries, memory, 1)
    assert max(taken) <= budget
    assert len(taken) == 3  # 11 queries by four


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("counts", [COUNTS["K and 2K"], COUNTS["all different"]])
def test_a_query_equal_to_a_key_is_at_no_distance_even_far_from_the_origin(
    offset: float, counts: list[int]
) -> None:
    keys, _, _ = make_memory(counts)
    keys = keys + offset
    memory = patch_memory(keys, torch.tensor(counts), GRID)
    firsts = torch.tensor([0, *counts[:-1]]).cumsum(0)
    distances, indices = search(keys[firsts].unsqueeze(1), memory, 1)
    assert float(distances.max()) < 5e-3
    assert indices.flatten().tolist() == firsts.tolist()


def test_a_common_offset_changes_no_distance() -> None:
    counts = COUNTS["K and 2K"]
    keys, queries, memory = make_memory(counts)
    keys, queries = (keys * 64).round() / 64, (queries * 64).round() / 64
    memory = patch_memory(keys, torch.tensor(counts), GRID)
    far = patch_memory(keys + 1024, torch.tensor(counts), GRID)
    near_distances, near = search(queries, memory, 4)
    far_distances, found = search(queries + 1024, far, 4)
    torch.testing.assert_close(far_distances, near_distances, rtol=1e-4, atol=1e-4)
    assert torch.equal(found[..., 0], near[..., 0])


GRIDS = st.sampled_from([(1, 1), (1, 4), (2, 3)])
SIZES = st.lists(st.sampled_from([1, 2, 3, 9, 17, 40]), min_size=6, max_size=6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(GRIDS, SIZES, st.sampled_from([1, 2, 4, 7]), st.integers(0, 2), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_chooses_the_keys_they_are_the_nearest_or_nearly(
    dtype: torch.dtype,
    grid: tuple[int, int],
    sizes: list[int],
    k: int,
    reach: int,
    leaving: bool,
) -> None:
    counts = sizes[: grid[0] * grid[1]]
    keys, queries, _ = make_memory(counts, grid)
    memory = patch_memory(keys, torch.tensor(counts), grid, dtype)
    pictures = torch.arange(len(keys)) % 3
    leave_out = LeaveOut(torch.arange(11) % 3, pictures) if leaving else None
    distances, indices = search(queries, memory, k, reach, leave_out)
    nearest, of = plain_search(keys, counts, queries, grid, k, reach, leave_out)
    assert torch.equal(distances.isfinite(), nearest.isfinite())
    off = (distances - nearest).nan_to_num()
    assert float(off.min()) >= -1e-4
    assert float(off.max()) <= (1e-4 if dtype == torch.float32 else 0.3)
    measured = (queries.unsqueeze(2) - keys[indices]).norm(dim=3)
    torch.testing.assert_close(distances[of >= 0], measured[of >= 0], rtol=1e-3, atol=1e-4)


def test_what_half_precision_cannot_hold_is_measured_all_the_same() -> None:
    counts = COUNTS["equal"]
    keys, queries, _ = make_memory(counts)
    keys, queries = 200 * keys, 200 * queries
    memory = patch_memory(keys, torch.tensor(counts), GRID, torch.float16)
    centered = queries[memory.patches] - memory.centers
    assert bool(memory.choosing(centered).isinf().any())
    distances, indices = search(queries, memory, 4)
    assert bool(distances.isfinite().all())
    measured = (queries.unsqueeze(2) - keys[indices]).norm(dim=3)
    torch.testing.assert_close(distances, measured, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("leaving", [False, True])
@pytest.mark.parametrize("reach", [1, 2])
def test_a_page_is_asked_once_however_many_patches_reach_it(
    monkeypatch: pytest.MonkeyPatch, reach: int, leaving: bool
) -> None:
    grid = (4, 5)
    keys, queries, memory = make_memory([3] * 20, grid)
    asked = []
    ask = KeyProducts.forward

    def counted(self: KeyProducts, vectors: Tensor) -> Tensor:
        asked.append(vectors.shape[0])
        return ask(self, vectors)

    monkeypatch.setattr(KeyProducts, "forward", counted)
    leave_out = LeaveOut(torch.arange(11) % 3, torch.arange(60) % 3) if leaving else None
    found = search(queries, memory, 1, reach, leave_out)
    assert sum(asked) == len(memory.patches)
    agrees(found, plain_search(keys, [3] * 20, queries, grid, 1, reach, leave_out))


def test_near_ties_that_low_precision_ranks_wrongly_are_ranked_by_distance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fapm_cli.memory.pages.PAGE_COST", 256)  # all of a patch on one page
    generator = torch.Generator().manual_seed(0)
    home = torch.randn(6, 1, 64, generator=generator)
    close = home + 0.01 * torch.randn(6, 2, 64, generator=generator)
    keys = torch.cat([close, home + 9], dim=1).flatten(0, 1)  # one draws the centre away
    queries = torch.randn(6, 200, 64, generator=generator)
    memory = patch_memory(keys, torch.tensor([3] * 6), GRID, torch.bfloat16)
    guessed = memory.choosing(queries[memory.patches] - memory.centers).argmin(dim=2)
    nearest = torch.cdist(queries.double(), keys.view(6, 3, 64).double()).argmin(dim=2)
    assert float((guessed != nearest).float().mean()) > 0.02
    found = search(queries, memory, 1)[1][..., 0] - 3 * torch.arange(6).unsqueeze(1)
    assert float((found != nearest).float().mean()) < 0.01
