from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fapm_cli.bank.presets import default_config, paper_config
from fapm_cli.commands.choices import parse_sides
from fapm_cli.config import VARIANTS, BankConfig, Query
from fapm_cli.errors import OptionError

CONFIGS = {
    **{f"default {v}": default_config(variant=v) for v in VARIANTS},
    **{f"paper {v}": paper_config(variant=v) for v in VARIANTS},
    "paper, light": paper_config("efficientnet_lite0"),
    "wide": default_config("resnet18", size_px=(256, 512), grid=(8, 4), layers=["layer1"]),
}

Path = tuple[str, ...]


def plain_config() -> dict[str, Any]:
    return default_config("resnet18").to_json()


def all_fields() -> list[Path]:
    plain = plain_config()
    nested = ("preprocessing", "query")
    return [(name,) for name in plain] + [(part, name) for part in nested for name in plain[part]]


def holder(plain: dict[str, Any], path: Path) -> dict[str, Any]:
    """Where the field that ``path`` names stands."""
    for part in path[:-1]:
        plain = plain[part]
    return plain


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_a_config_comes_back_from_json_as_it_was(config: BankConfig) -> None:
    assert BankConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@given(st.floats(0, 1, exclude_min=True), st.floats(0, 64), st.integers(1, 64))
def test_numbers_come_back_from_json_to_the_last_bit(ratio: float, sigma: float, k: int) -> None:
    config = default_config(coreset_ratio=ratio)
    query = dataclasses.replace(config.query, sigma=sigma, num_neighbors=k)
    config = dataclasses.replace(config, query=query)
    assert BankConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_whole_numbers_are_read_as_floats_where_floats_belong() -> None:
    plain = plain_config()
    plain["query"]["sigma"] = 4
    sigma = BankConfig.from_json(plain).query.sigma
    assert sigma == 4
    assert isinstance(sigma, float)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_is_told_by_its_switches(variant: str) -> None:
    for config in (default_config(variant=variant), paper_config(variant=variant)):
        assert config.variant == variant
        patch_wise, layer_wise, adaptive = VARIANTS[variant]
        assert (config.grid != (1, 1)) == patch_wise
        assert (config.layer_wise, config.adaptive) == (layer_wise, adaptive)
        assert len(config.memory_names) == len(config.query.layer_weights)
        assert len(config.memory_names) == (len(config.layers) if layer_wise else 1)


def test_switches_of_no_variant_have_no_letter() -> None:
    assert default_config(grid=(1, 1)).variant is None


def test_the_paper_preset_is_the_papers() -> None:
    config = paper_config()
    assert config.backbone == "wide_resnet50_2"
    assert config.layers == ("layer2", "layer3")
    assert config.grid == (7, 7)
    assert config.preprocessing.resize_px == (256, 256)
    assert config.preprocessing.crop_px == (224, 224)
    assert config.preprocessing.crops
    assert (config.coreset_ratio, config.spread_threshold) == (0.1, 0.5)
    assert (config.query.num_neighbors, config.query.sigma) == (4, 4.0)
    assert not default_config().preprocessing.crops


LATER = (
    ("preprocessing", "bit_depth"),
    ("metric",),
    ("turn",),
    ("turn_found",),
    ("layers_found",),
    ("align",),
    ("max_keys",),
    ("query", "light"),
    ("query", "spot_px"),
)


def test_a_configuration_of_before_uses_all_bits_the_plain_metric_and_the_light_that_is() -> None:
    plain = plain_config()
    for path in LATER:
        del holder(plain, path)[path[-1]]
    before = BankConfig.from_json(plain)
    assert before.preprocessing.bit_depth == 16
    assert before.metric == "plain"
    assert before.max_keys == 0
    assert before.query.light == "as-is"
    assert before.query.spot_px == 0


def test_a_metric_of_each_patch_needs_several() -> None:
    assert default_config().metric == paper_config(metric="own").metric == "own"
    assert paper_config().metric == default_config(metric="plain").metric == "plain"
    assert default_config(variant="C").metric == default_config(grid=(1, 1)).metric == "plain"
    with pytest.raises(OptionError, match="metric own: wanted plain, or a grid of several"):
        default_config(grid=(1, 1), metric="own")


@pytest.mark.parametrize("path", [p for p in all_fields() if p not in LATER], ids=".".join)
def test_a_missing_field_is_a_key_error_that_names_it(path: Path) -> None:
    plain = plain_config()
    del holder(plain, path)[path[-1]]
    with pytest.raises(KeyError, match=path[-1]):
        BankConfig.from_json(plain)


@pytest.mark.parametrize("parents", [(), ("preprocessing",), ("query",)])
def test_an_unknown_field_is_a_key_error_that_names_it(parents: Path) -> None:
    plain = plain_config()
    holder(plain, (*parents, "grain"))["grain"] = 1
    with pytest.raises(KeyError, match="grain"):
        BankConfig.from_json(plain)


WRONG_TYPES: dict[type, list[Any]] = {
    str: [1, None, ["resnet18"], True],
    int: ["8", None, 8.0, True, [8]],
    float: ["0.5", None, True, [0.5], float("nan"), float("inf")],
    bool: [0, 1, "true", None],
    list: [224, "224", None, {"0": 224}, [None], [True, True], [[224, 224]], [{}, {}]],
    dict: [1, None, "max", [], [1]],
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (path, value)
        for path in all_fields()
        for value in WRONG_TYPES[type(holder(plain_config(), path)[path[-1]])]
    ],
)
def test_a_value_of_another_type_is_refused(path: Path, value: Any) -> None:
    plain = plain_config()
    holder(plain, path)[path[-1]] = value
    with pytest.raises((TypeError, KeyError)):
        BankConfig.from_json(plain)


@pytest.mark.parametrize("name", ["resize_px", "crop_px", "mean", "std"])
def test_a_list_of_another_length_is_refused(name: str) -> None:
    plain = plain_config()
    plain["preprocessing"][name].append(plain["preprocessing"][name][0])
    with pytest.raises(TypeError, match=name):
        BankConfig.from_json(plain)


def test_a_list_of_field_names_in_place_of_an_object_is_refused() -> None:
    plain = plain_config()
    plain["query"] = list(plain["query"])
    with pytest.raises((TypeError, KeyError)):
        BankConfig.from_json(plain)


def test_a_whole_number_too_large_for_a_float_is_refused() -> None:
    plain = plain_config()
    plain["query"]["sigma"] = 10**400
    with pytest.raises((TypeError, OptionError)):
        BankConfig.from_json(plain)


OUT_OF_RANGE = [
    ("layers", []),
    ("layers", ["layer2", "layer2"]),
    ("layer_scales", [1.0]),
    ("layer_scales", [1.0, 0.0]),
    ("layer_scales", [1.0, -1.0]),
    ("finest_stride", 0),
    ("finest_stride", 65),
    ("grid", [0, 7]),
    ("grid", [7, 512]),
    ("query.spot_px", -1),
    ("query.spot_px", 2**24 + 1),
    ("coreset_ratio", 0.0),
    ("coreset_ratio", 1.001),
    ("max_keys", -1),
    ("spread_threshold", -0.001),
    ("spread_threshold", 1.001),
    ("query.num_neighbors", 0),
    ("query.num_neighbors", 65),
    ("query.layer_weights", []),
    ("query.layer_weights", [1.0]),
    ("query.layer_weights", [1.0, 1.0, 1.0]),
    ("query.layer_weights", [0.0, 0.0]),
    ("query.layer_weights", [2.0, -1.0]),
    ("query.layer_weights", [1e308, 1e308]),
    ("query.sigma", -0.1),
    ("query.sigma", 64.1),
    ("query.reach", -1),
    ("query.reach", 17),
    ("query.placement", "bicubic"),
    ("query.image_score", "mean"),
    ("query.calibration", "global"),
    ("preprocessing.resize_px", [223, 224]),
    ("preprocessing.resize_px", [16353, 224]),
    ("preprocessing.crop_px", [31, 224]),
    ("preprocessing.crop_px", [224, 225]),
    ("preprocessing.resampling", "nearest"),
    ("preprocessing.std", [1.0, 0.0, 1.0]),
    ("preprocessing.std", [1.0, -1.0, 1.0]),
]


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_an_option_error_of_one_line(name: str, value: Any) -> None:
    plain = plain_config()
    path = tuple(name.split("."))
    holder(plain, path)[path[-1]] = value
    with pytest.raises(OptionError, match="wanted") as raised:
        BankConfig.from_json(plain)
    assert "\n" not in str(raised.value)


IN_RANGE = [
    ("coreset_ratio", 1.0),
    ("spread_threshold", 0.0),
    ("spread_threshold", 1.0),
    ("grid", [1, 64]),
    ("query.num_neighbors", 64),
    ("query.layer_weights", [0.0, 1.0]),
    ("query.sigma", 0.0),
    ("query.sigma", 64.0),
    ("query.reach", 16),
    ("preprocessing.crop_px", [32, 224]),
]


@pytest.mark.parametrize(("name", "value"), IN_RANGE)
def test_the_ends_of_each_range_are_inside(name: str, value: Any) -> None:
    plain = plain_config()
    path = tuple(name.split("."))
    holder(plain, path)[path[-1]] = value
    assert BankConfig.from_json(plain).to_json() == plain


def test_values_that_are_no_numbers_are_out_of_range() -> None:
    query = default_config().query
    with pytest.raises(OptionError, match="sigma"):
        dataclasses.replace(query, sigma=float("nan"))
    with pytest.raises(OptionError, match="layer weights"):
        dataclasses.replace(query, layer_weights=(1.0, float("nan")))


def test_the_papers_image_score_of_one_neighbour_is_refused_for_it_would_be_0() -> None:
    for k in (1, 0, 65):
        with pytest.raises(OptionError, match=f"^neighbours {k}: wanted 2 to 64 by the paper's"):
            paper_config().with_query(num_neighbors=k)
    assert paper_config().with_query(num_neighbors=2).query.num_neighbors == 2
    one = paper_config().with_query(num_neighbors=1, image_score="max")
    assert one.query.num_neighbors == 1


def test_a_config_can_not_be_changed() -> None:
    query: Query = default_config().query
    with pytest.raises(dataclasses.FrozenInstanceError):
        query.sigma = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "sides"),
    [("224", (224, 224)), ("256x512", (256, 512)), ("7X5", (7, 5)), ("0224", (224, 224))],
)
def test_parse_sides_reads_one_number_or_two(text: str, sides: tuple[int, int]) -> None:
    assert parse_sides("--size", text) == sides


@pytest.mark.parametrize(
    "text", ["", "x", "224x", "x224", "1x2x3", "-1", "1.5", "1e3", " 7", "7 x 7", "²", "٣", "a"]
)
def test_parse_sides_refuses_all_else_and_shows_it(text: str) -> None:
    with pytest.raises(OptionError) as raised:
        parse_sides("--size", text)
    assert str(raised.value).startswith(f"--size {text!r}: write one number")


def test_parse_sides_refuses_a_number_of_thousands_of_digits() -> None:
    with pytest.raises(OptionError):
        parse_sides("--size", "9" * 5000)


def test_the_usual_limit_of_keys_is_that_of_320_pictures_whatever_the_patches() -> None:
    vectors = 320 * 28 * 28
    for changes in ({}, {"grid": (1, 1)}, {"grid": (14, 14)}, {"variant": "C"}):
        config = default_config(**changes)
        of_patch = vectors // math.prod(config.grid)
        assert config.max_keys == pytest.approx(config.coreset_ratio * of_patch, rel=0.03)
    assert default_config().max_keys == 512
    assert default_config(max_keys=0).max_keys == paper_config().max_keys == 0
