"""Near twins: shots of one part are found, and parts that are only much alike are not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parts import make_part, take_shot, take_shots

from fapm_cli.learning.twins import Looks, join_groups, look_at, twin_groups


def groups_of(pictures: torch.Tensor) -> list[int]:
    return twin_groups(look_at(pictures))


@pytest.mark.parametrize(("parts", "shots"), [(6, 5), (10, 3), (2, 15), (15, 2)])
def test_shots_of_one_part_are_one_group(parts: int, shots: int) -> None:
    found = groups_of(take_shots(range(parts), shots))
    assert found == [i // shots * shots for i in range(parts * shots)]


def test_shots_are_found_in_any_order_and_among_parts_of_one_shot() -> None:
    shots = torch.cat([take_shots(range(3), 4), take_shots(range(3, 23), 1)])
    order = torch.randperm(len(shots), generator=torch.Generator().manual_seed(0))
    found = groups_of(shots[order])
    part = [int(i) // 4 if i < 12 else int(i) for i in order]
    for i in range(len(shots)):
        for j in range(len(shots)):
            assert (found[i] == found[j]) == (part[i] == part[j])


def test_parts_of_one_shot_each_are_as_many_groups() -> None:
    assert groups_of(take_shots(range(40), 1)) == list(range(40))


def noise(count: int, grey: float, seed: int) -> torch.Tensor:
    """Pictures of a grain as fine as the px, each its own."""
    generator = torch.Generator().manual_seed(seed)
    grain = 20 * torch.randn(count, 128, 128, 1, generator=generator)
    return (grey + grain).clamp(0, 255).to(torch.uint8).expand(-1, -1, -1, 3)


def test_where_all_parts_differ_by_noise_alone_none_are_twins() -> None:
    part = make_part(0)
    alike = torch.stack([take_shot(part, seed) for seed in range(20)])
    assert groups_of(alike) == list(range(20))
    with_another = torch.cat([alike, take_shots(range(7, 8), 1)])  # nor beside one that is unlike
    assert groups_of(with_another) == list(range(21))


def test_pieces_of_two_colours_of_one_material_are_not_twins() -> None:
    assert groups_of(torch.cat([noise(8, 80, 1), noise(8, 160, 2)])) == list(range(16))


@pytest.mark.parametrize("size", [(30, 50), (64, 96), (111, 57)])
def test_any_size_will_do(size: tuple[int, int]) -> None:
    shots = take_shots(range(6), 2)[:, : size[0], : size[1]]
    found = groups_of(shots)
    assert all(found[i] == found[i + 1] for i in range(0, 12, 2))
    assert groups_of(shots[:1]) == [0]


def test_looks_are_the_same_however_pictures_come() -> None:
    shots = take_shots(range(4), 2)
    parts = Looks.join([look_at(shots[:3]), look_at(shots[3:])])
    whole = look_at(shots)
    assert torch.equal(parts.means, whole.means)
    assert torch.equal(parts.details, whole.details)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = look_at(take_shots(range(9), 3))
    whole = twin_groups(looks)
    monkeypatch.setattr("fapm_cli.learning.twins._AT_A_TIME", 4)
    assert twin_groups(looks) == whole


NUMBERS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


@given(NUMBERS)
def test_joined_parts_are_the_connected_components(pairs: list[tuple[int, int]]) -> None:
    one, other = (list(numbers) for numbers in zip(*pairs, strict=True))
    reached = [{i} for i in range(len(pairs))]
    for _ in pairs:  # a plain loop: as many steps as there are pictures
        for i in range(len(pairs)):
            for j in range(len(pairs)):
                if one[i] == one[j] or other[i] == other[j]:
                    reached[i] |= reached[j]
    joined = join_groups(one, other)
    for i in range(len(pairs)):
        assert {j for j in range(len(pairs)) if joined[j] == joined[i]} == reached[i]
