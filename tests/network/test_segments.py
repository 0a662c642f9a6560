"""Segments: where a network is cut, and how far each part sees."""

from __future__ import annotations

import itertools

import pytest

from fapm_cli.bank.presets import default_config
from fapm_cli.network.architectures import cut_stages
from fapm_cli.network.segments import Segment, Sight, segments


def of(backbone: str, variant: str = "E") -> list[Segment]:
    return segments(default_config(backbone, size_px=(224, 224), variant=variant))


def test_the_default_is_cut_where_little_flows() -> None:
    found = of("efficientnet_lite0")
    assert [one.fed_by for one in found] == ["", "block1", "block2", "block3"]
    assert [(one.before, one.after) for one in found] == [(4, 8), (4, 4), (8, 8), (24, 24)]
    assert [one.fed_channels for one in found] == [3, 24, 24, 40]
    assert [one.fed_stride for one in found] == [1, 4, 4, 8]
    assert [one.unit_px for one in found] == [4, 4, 8, 8]


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "resnet18", "wide_resnet50_2"])
@pytest.mark.parametrize("variant", "BE")
def test_segments_are_all_of_the_network_one_after_another(backbone: str, variant: str) -> None:
    config = default_config(backbone, size_px=(224, 224), variant=variant)
    found = segments(config)
    stages = [stage for one in found for stage in one.stages]
    assert tuple(stages) == cut_stages(backbone, config.layers)
    for before, after in itertools.pairwise(found):
        assert after.fed_by == before.stages[-1].name
        assert (after.fed_channels, after.fed_stride) == (before.channels, before.stride)
        inside = {stage.name for one in found[: found.index(after)] for stage in one.stages}
        later = [stage for one in found[found.index(after) :] for stage in one.stages]
        asked = {stage.adds for stage in later} | set(config.layers)
        assert asked & (inside - {after.fed_by}) == set()


def test_a_sight_is_that_of_windows_by_hand() -> None:
    """Two 3×3 convolutions of stride 2: place i of the second is made of px 4i - 3 to 4i + 3."""
    sight = Sight(1, 0, 1).through(3, 2, 1).through(3, 2, 1)
    assert sight == Sight(4, 3, 4)
    assert sight.wider(Sight(4, 1, 9)) == Sight(4, 3, 9)
    assert Sight(16, 5, 20).finer(8) == Sight(8, 29, 36)


def test_a_layer_finer_than_a_place_is_seen_as_far_as_its_means_see() -> None:
    """ResNet-18's first: 7×7 and a pool of stride 2, four 3×3, means of 2×2 and again of 3×3."""
    config = default_config("resnet18", layers=["layer1"], size_px=(224, 224))
    (whole,) = segments(config)
    before = 3 + 2 + 4 * 4 + 8
    after = 3 + 2 + 4 * 4 + 4 + 8 + (1 - 8)
    assert (whole.before, whole.after, whole.unit_px) == (32, 32, 8)
    assert whole.before - 8 < before <= whole.before
    assert whole.after - 8 < after <= whole.after
    assert whole.widest == 3 + 64 / 4
