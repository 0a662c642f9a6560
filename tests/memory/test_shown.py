"""What pictures show: where enough parts do, which vectors, and keys of nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fapm_cli.memory.coreset import adaptive_coreset
from fapm_cli.memory.grid import to_patches
from fapm_cli.memory.metric import Variation
from fapm_cli.memory.shown import coreset_of_shown, shown_enough, shown_vectors


def blocks(seed: int, number: int, share: float = 0.6) -> torch.Tensor:
    """(N, 8, 12) bool in blocks of 2×2 px, so that places of a 4×6 map are shown or not."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(number, 4, 6, generator=generator) < share
    return drawn.repeat_interleave(2, 1).repeat_interleave(2, 2)


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 5))
def test_enough_parts_are_half_of_few_and_ten_of_many(seed: int, number: int, shots: int) -> None:
    shown = blocks(seed, number, 0.4)
    shown[0, 0, 0] = False  # not the whole of its place
    groups = [i // shots for i in range(number)]
    num_parts = groups[-1] + 1
    enough = min((num_parts + 1) // 2, 10)
    if num_parts > 1:
        enough = max(enough, 2)
    found = shown_enough(shown, groups, (4, 6))
    for y in range(8):
        for x in range(12):
            place = slice(y // 2 * 2, y // 2 * 2 + 2), slice(x // 2 * 2, x // 2 * 2 + 2)
            by = {group for one, group in zip(shown, groups, strict=True) if one[place].all()}
            assert bool(found[y, x]) == (len(by) >= enough)


def test_vectors_are_shown_where_their_places_are() -> None:
    shown = blocks(0, 3)
    for size, found in zip(
        ((4, 6), (2, 3)), shown_vectors(shown, ((4, 6), (2, 3)), (2, 3)), strict=True
    ):
        step = 8 // size[0]
        places = shown.view(3, 1, size[0], step, size[1], step).all(dim=5).all(dim=3)
        assert torch.equal(found, to_patches(places.float(), (2, 3)).squeeze(2) > 0)


@given(st.integers(0, 2**31))
def test_keys_are_those_of_what_is_shown_alone(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(3, 30, 4, generator=generator)
    shown = torch.rand(3, 30, generator=generator) < 0.5
    shown[:, :8] |= torch.tensor([[False] * 4 + [True] * 4])
    before = vectors.clone()
    coresets = coreset_of_shown(vectors, shown, 0.0, None, 4)
    for patch, one, there in zip(before, coresets, shown, strict=True):
        own = there.nonzero().flatten()
        (wanted,) = adaptive_coreset(patch[own].unsqueeze(0), 0.0, None, 4)
        assert torch.equal(own[wanted.indices], one.indices)
        assert one.radius_sq == pytest.approx(wanted.radius_sq, rel=1e-4)


def test_where_nothing_of_a_patch_is_shown_there_are_keys_all_the_same() -> None:
    vectors = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    (none, _) = coreset_of_shown(vectors, torch.tensor([[False], [True]]).expand(2, 6), 0.5, 0.5, 2)
    assert none.indices.tolist() == [0, 0, 0]
    assert none.radius_sq == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("without", [None, 0, 2])
def test_what_is_not_shown_does_not_tell_how_vectors_vary(without: int | None) -> None:
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(2, 12 * 3, 4, generator=generator) * torch.tensor([1.0, 2.0, 3.0, 4.0])
    shown = torch.rand(2, 12 * 3, generator=generator) < 0.7
    folds = torch.arange(12) % 3
    found = Variation(vectors, folds, shown).covariances(without)
    for patch in range(2):
        total, number = torch.zeros(4, 4, dtype=torch.float64), 0
        for place in range(3):
            there = shown[patch].view(12, 3)[:, place]
            if without is not None:
                there = there & (folds != without)
            own = vectors[patch].view(12, 3, 4)[:, place][there].double()
            number += len(own)
            for one in own - own.mean(dim=0):
                total += torch.outer(one, one)
        torch.testing.assert_close(found[patch].double(), total / number, rtol=1e-4, atol=1e-5)
    made_up = torch.where(shown.unsqueeze(2), vectors, 1e3)
    torch.testing.assert_close(Variation(made_up, folds, shown).covariances(without), found)
    apart = [
        Variation(v[None], folds, s[None]).tensors() for v, s in zip(vectors, shown, strict=True)
    ]
    assert torch.equal(Variation.of_patches(apart, folds).covariances(without), found)
    everywhere = Variation(vectors, folds, torch.ones(2, 36, dtype=torch.bool))
    torch.testing.assert_close(
        everywhere.covariances(without), Variation(vectors, folds).covariances(without)
    )
