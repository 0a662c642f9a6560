"""A deep layer takes over where good parts ask for a strong metric, and leaves no other trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
import torch
from conftest import GOOD, ONE_BAD, SAMPLES, build, fapm

import fapm_cli
from fapm_cli.bank.backbone import bank_extractor
from fapm_cli.bank.bank import Bank, MetricChoice
from fapm_cli.bank.file import load_bank, save_bank
from fapm_cli.bank.presets import configure, default_config
from fapm_cli.learning.build import build_from_files
from fapm_cli.learning.choosing import deep_layer
from fapm_cli.learning.choosing.deep_layer import before_deepening, deepened, wants_deep_layer
from fapm_cli.network.backbones import DEFAULT_BACKBONE, look_up
from fapm_cli.network.loading import load_extractor, tapping
from fapm_cli.network.weights import read_weights

DEEP = "block11_expand"
FINE = ("block4_depthwise", "block5_expand")
DEEPENED = (FINE[1], DEEP)
SMALL = ("--size", "96")
FEW, SOME, MORE = GOOD[:8], GOOD[:16], GOOD[:18]  # too few for a metric, and enough
USUAL = {name: getattr(deep_layer, name) for name in ("_STRONG", "_NEARLY_ALL")}


def own(path: Path, pictures: Iterable[Path], *options: object) -> Path:
    """A bank of small inputs, whose metric is strong where there are enough pictures."""
    return build(path, pictures, "--metric", "own", "--turn", "none", *SMALL, *options)


@pytest.fixture(scope="module", autouse=True)
def _whatever_is_found() -> Iterator[None]:
    """Of samples nearly all that is pasted is found: have any metric of their own be enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deep_layer, "_NEARLY_ALL", 1.1)
        patch.setattr(deep_layer, "_STRONG", 1.0)
        yield


@pytest.fixture(scope="module")
def deep_bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank in which a deep layer took over."""
    path = own(tmp_path_factory.mktemp("deep") / "bank.st", SOME)
    assert load_bank(path).config.layers == DEEPENED
    return path


@pytest.fixture(scope="module")
def larger_bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of two more pictures."""
    path = own(tmp_path_factory.mktemp("larger") / "bank.st", MORE)
    assert load_bank(path).config.layers == DEEPENED
    return path


def content(path: Path) -> bytes:
    """All of a bank but what its thresholds were before it grew."""
    return written(replace(load_bank(path), previous_thresholds=None), path.with_suffix(".again"))


def written(bank: Bank, path: Path) -> bytes:
    save_bank(bank, path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("floor", "share", "wants"),
    [
        (None, 0.5, False),
        (1.0, 0.5, False),
        (0.1, 0.5, True),
        (0.03, 0.79, True),
        (0.03, 0.81, False),
    ],
)
def test_it_takes_over_where_a_strong_metric_finds_too_little(
    floor: float | None, share: float, wants: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in USUAL.items():
        monkeypatch.setattr(deep_layer, name, value)
    assert wants_deep_layer(MetricChoice(floor, ((None, 0.4), (floor, share)))) is wants


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": FINE},
        {"grid": (7, 7)},
        {"metric": "plain"},
        {"variant": "B"},
        {"variant": "C"},
        {"backbone": "resnet18"},
        {"preset": "paper"},
    ],
)
def test_what_is_asked_for_stays(changes: dict[str, object]) -> None:
    assert configure().layers_found
    config = configure(**changes)  # type: ignore[arg-type]
    assert not config.layers_found
    assert deepened(config) is None
    assert before_deepening(config) == config


def test_it_takes_the_place_of_the_first() -> None:
    config = default_config()
    deeper = deepened(config)
    assert deeper is not None
    assert deeper.layers == DEEPENED
    assert deeper.query == config.query
    assert before_deepening(deeper) == config
    assert deepened(deeper) == deeper


def test_its_memory_is_that_of_a_bank_of_it_alone(deep_bank: Path) -> None:
    joined = load_bank(deep_bank)
    config = joined.config
    alone = replace(
        config,
        layers=(DEEP,),
        layer_scales=config.layer_scales[1:],
        query=replace(config.query, layer_weights=(1.0,)),
        metric="plain",
        layers_found=False,
    )
    files = [(path, path.name) for path in SOME]
    wanted = build_from_files(files, alone, load_extractor(alone), 4)
    assert joined.map_sizes == ((12, 12), (6, 6))
    for name in ("keys", "key_counts", "key_cells", "key_pictures", "radius_sq", "widened"):
        found, expected = (getattr(b.memories[-1], name) for b in (joined, wanted))
        assert torch.equal(found, expected), name
    assert joined.weights_hash == wanted.weights_hash


def test_the_other_is_that_of_a_bank_without_it(deep_bank: Path, tmp_path: Path) -> None:
    joined = load_bank(deep_bank)
    fine = load_bank(own(tmp_path / "fine.st", SOME, "--layers", ",".join(FINE)))
    assert fine.config.layers == FINE
    assert fine.metric == joined.metric
    found, wanted = joined.memories[0], fine.memories[1]
    assert torch.equal(found.keys, wanted.keys)
    assert found.metrics is not None
    assert wanted.metrics is not None
    assert torch.equal(found.metrics, wanted.metrics)
    for name, value in (fine.backbone or {}).items():
        assert torch.equal(value, (joined.backbone or {})[name])


def test_every_precision_and_the_export_know_it(deep_bank: Path, tmp_path: Path) -> None:
    scores = [
        fapm("score", deep_bank, ONE_BAD, "--json", "--precision", precision).json[0]
        for precision in ("fp32", "auto")
    ]
    assert set(scores[0]["layer_scores"]) == {*DEEPENED}
    assert scores[1]["score"] == pytest.approx(scores[0]["score"], rel=2e-2)
    exported = fapm("export", deep_bank, "-o", tmp_path / "part.onnx", "--as-is")
    assert exported.code == 0, exported


def test_banks_that_grow_find_it_anew(deep_bank: Path, tmp_path: Path) -> None:
    few = own(tmp_path / "few.st", FEW)
    assert load_bank(few).config.layers == FINE  # too few for a metric
    assert fapm("add", few, *SOME[8:], "-o", tmp_path / "added.st").code == 0
    assert content(tmp_path / "added.st") == content(deep_bank)
    assert fapm("merge", few, deep_bank, "-o", tmp_path / "merged.st").code == 0
    assert content(tmp_path / "merged.st") == content(deep_bank)


def test_a_bank_that_has_it_begins_without_it_when_it_grows(
    deep_bank: Path, larger_bank: Path, tmp_path: Path
) -> None:
    assert fapm("add", deep_bank, *MORE[16:], "-o", tmp_path / "added.st").code == 0
    assert content(tmp_path / "added.st") == content(larger_bank)


def test_without_thumbnails_layers_stay_and_must_be_alike(tmp_path: Path) -> None:
    few, many = tmp_path / "few.st", tmp_path / "many.st"
    own(few, FEW, "--no-thumbnails")
    own(many, SOME, "--no-thumbnails")
    assert fapm("add", few, *SOME[8:], "-o", tmp_path / "added.st").code == 0
    assert load_bank(tmp_path / "added.st").config.layers == FINE
    assert fapm("add", many, *MORE[16:], "-o", tmp_path / "added.st").code == 0
    assert load_bank(tmp_path / "added.st").config.layers == DEEPENED
    merged = fapm("merge", few, many, "-o", tmp_path / "merged.st")
    assert merged.code == 2
    assert "layers: [" in merged.err


def test_weights_of_elsewhere_are_not_joined_to_a_banks_own() -> None:
    config = default_config(size_px=(96, 96))
    deeper = deepened(config)
    assert deeper is not None
    extractor = load_extractor(config, "random", seed=3)
    joined = tapping(extractor, deeper)
    assert joined is not None
    again = tapping(joined, config)
    assert again is not None
    assert again.weights_hash == extractor.weights_hash
    assert again.map_shapes == extractor.map_shapes
    assert tapping(again, deeper) is not None
    extractor.load = load_extractor
    assert tapping(extractor, deeper) is None
    extractor.load = None
    assert tapping(extractor, deeper) is None


def test_a_bank_of_a_file_of_weights_grows_by_those_that_it_holds(
    larger_bank: Path, tmp_path: Path
) -> None:
    given = "--weights", look_up(DEFAULT_BACKBONE).own_weights()
    path = own(tmp_path / "given.st", SOME, *given)
    bank = load_bank(path)
    assert bank.config.layers == DEEPENED
    assert bank_extractor(bank).load is None
    assert fapm("add", path, *MORE[16:], "-o", tmp_path / "added.st").code == 0
    wanted = replace(load_bank(larger_bank), weights=bank.weights)
    assert content(tmp_path / "added.st") == written(wanted, tmp_path / "wanted.st")


def test_a_file_that_holds_no_deep_layer_leaves_the_fine_ones(tmp_path: Path) -> None:
    state = read_weights(look_up(DEFAULT_BACKBONE).own_weights())
    shallow = load_extractor(default_config()).stages
    names = look_up(DEFAULT_BACKBONE).file_names()
    kept = {k: v for k, v in state.items() if names.get(k, "").split(".")[0] in shallow}
    torch.save(kept, tmp_path / "cut.pth")
    path = own(tmp_path / "bank.st", SOME, "--weights", tmp_path / "cut.pth")
    assert load_bank(path).config.layers == FINE


def test_good_parts_lie_as_far_by_its_metric_as_by_the_others(deep_bank: Path) -> None:
    good = fapm("score", deep_bank, SAMPLES / "test" / "good", "--json", "--precision", "fp32").json
    fine, deep = (median(one["layer_scores"][name] for one in good) for name in DEEPENED)
    assert 0.5 < deep / fine < 1.5


def test_what_is_built_judges_at_once() -> None:
    made = fapm_cli.build(SOME, size=96, metric="own", turn=0)
    assert made.learnt.config.layers == DEEPENED
    loaded = made.detector(precision="fp32", device="cpu")(ONE_BAD)
    assert set(loaded.record["layer_scores"]) == {*DEEPENED}
