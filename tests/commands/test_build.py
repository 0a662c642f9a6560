"""``fapm build``: what it makes of folders, sizes, grids and presets, and what it refuses."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from conftest import GOOD, ONE_BAD, ONE_GOOD, SAMPLES, assert_fails, build, fapm

from fapm_cli.bank.file import load_bank


def test_build_summary_names_bank_pictures_backbone_and_keys(tmp_path: Path) -> None:
    target = tmp_path / "bank.st"
    result = fapm("build", *GOOD[:2], "-o", target)
    assert result.code == 0
    assert len(result.err.splitlines()) == 1
    assert "2 good pictures can't promise 5.00% false alarms: expect 33.3%" in result.err
    assert str(target) in result.out
    assert re.search(r"pictures +2\n", result.out)
    assert "efficientnet_lite0" in result.out
    assert re.search(r"\w+ +\d+ keys in 49 patches, \d+ widened", result.out)


def test_build_json_is_one_object_that_fits_the_file(tmp_path: Path) -> None:
    target = tmp_path / "bank.st"
    summary = fapm("build", *GOOD[:2], "-o", target, "--json").json
    assert summary["bank"] == str(target)
    assert summary["pictures"] == 2
    assert summary["skipped"] == 0
    assert summary["backbone"] == "efficientnet_lite0"
    assert summary["variant"] == "E"
    assert summary["bytes"] == target.stat().st_size
    for layer in summary["layers"].values():
        assert layer["patches"] == 49
        assert layer["keys"] >= 49
        assert 0 <= layer["widened"] <= 49
    assert all(spent >= 0 for spent in summary["seconds"].values())


def test_same_pictures_give_the_same_bytes_wherever_they_lie(tmp_path: Path) -> None:
    folders = tmp_path / "one", tmp_path / "two" / "deeper"
    for folder in folders:
        folder.mkdir(parents=True)
        for picture in GOOD[:3]:
            shutil.copy(picture, folder)
    first, second = (build(tmp_path / f"{folder.name}.st", [folder]) for folder in folders)
    assert first.read_bytes() == second.read_bytes()


def test_build_writes_nothing_but_the_bank(tmp_path: Path) -> None:
    target = build(tmp_path / "bank.st", GOOD[:1])
    assert list(tmp_path.iterdir()) == [target]


def test_unreadable_picture_stops_the_build_and_leaves_no_bank(tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    target = tmp_path / "bank.st"
    result = fapm("build", *GOOD[:2], bad, "-o", target)
    assert_fails(result, str(bad), "--skip-bad")
    assert result.out == ""
    assert list(tmp_path.iterdir()) == [bad]


def test_skip_bad_lists_what_it_left_out(tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    target = tmp_path / "bank.st"
    learnt = (GOOD[0], bad, GOOD[1], "--metric", "plain")
    result = fapm("build", *learnt, "-o", target, "--skip-bad", "--json")
    assert result.code == 0
    assert (result.json["pictures"], result.json["skipped"]) == (2, 1)
    assert [str(bad) in line for line in result.err.splitlines()] == [True, False]
    without = build(tmp_path / "without.st", GOOD[:2])
    assert target.read_bytes() == without.read_bytes()


def test_skip_bad_with_nothing_left_is_an_error(tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    assert_fails(fapm("build", bad, "-o", tmp_path / "bank.st", "--skip-bad"), "no ")


@pytest.mark.parametrize("variant", "ABCDE")
def test_every_variant_builds_loads_and_scores(variant: str, tmp_path: Path) -> None:
    target = build(tmp_path / "bank.st", GOOD[:3], "--variant", variant)
    described = fapm("info", target, "--json").json
    assert described["variant"] == variant
    patches = {len(memory["key_counts"]) for memory in described["memories"].values()}
    assert patches == {49 if variant in "BDE" else 1}
    assert len(described["memories"]) == (2 if variant in "CDE" else 1)
    assert any(any(m["widened"]) for m in described["memories"].values()) == (variant == "E")
    result = fapm("score", target, GOOD[0], ONE_BAD, "--json", "--exit-zero")
    assert result.code == 0
    good, bad = result.scores.values()
    assert 0 <= good < bad


def test_variant_letter_may_be_small(tmp_path: Path) -> None:
    target = build(tmp_path / "bank.st", GOOD[:1], "--variant", "d")
    assert fapm("info", target, "--json").json["variant"] == "D"


@pytest.mark.parametrize(
    ("size", "grid"), [("256", [8, 8]), ("224x288", [7, 9]), ("224X288", [7, 9]), ("64", [2, 2])]
)
def test_size_sets_the_input_and_patches_of_32_px(
    size: str, grid: list[int], tmp_path: Path
) -> None:
    target = build(tmp_path / "bank.st", GOOD[:2], "--size", size)
    config = fapm("info", target, "--json").json["config"]
    sides = [int(side) for side in size.lower().split("x")]
    assert config["preprocessing"]["resize_px"] == [sides[0], sides[-1]]
    assert config["preprocessing"]["crop_px"] == [sides[0], sides[-1]]
    assert config["grid"] == grid
    assert fapm("score", target, ONE_BAD, "--exit-zero").code == 0


@pytest.mark.parametrize("size", ["250", "224x250", "230"])
def test_size_that_cannot_be_cut_names_sizes_that_can(size: str, tmp_path: Path) -> None:
    target = tmp_path / "bank.st"
    result = fapm("build", GOOD[0], "-o", target, "--size", size)
    assert_fails(result, size.split("x")[-1], "sizes that fit")
    named = re.search(r"sizes that fit: (\d+) or (\d+)", result.err)
    assert named is not None
    for side in named.groups():
        fitting = re.sub(r"\d+$", side, size)
        assert fapm("build", GOOD[0], "-o", target, "--size", fitting).code == 0, fitting


@pytest.mark.parametrize(("grid", "cut"), [("14", [14, 14]), ("4x7", [4, 7]), ("1", [1, 1])])
def test_grid_sets_the_patches(grid: str, cut: list[int], tmp_path: Path) -> None:
    target = build(tmp_path / "bank.st", GOOD[:2], "--grid", grid)
    described = fapm("info", target, "--json").json
    assert described["config"]["grid"] == cut
    for memory in described["memories"].values():
        assert len(memory["key_counts"]) == cut[0] * cut[1]
    assert fapm("score", target, ONE_BAD, "--exit-zero").code == 0


def test_coreset_ratio_sets_the_share_of_keys(tmp_path: Path) -> None:
    keys = []
    for ratio in ("0.1", "1"):
        target = tmp_path / "bank.st"
        options = ("--coreset-ratio", ratio, "--variant", "D", "--json")
        layers = fapm("build", *GOOD[:5], "-o", target, *options).json["layers"]
        keys.append(sum(layer["keys"] for layer in layers.values()))
    assert keys[0] == pytest.approx(0.1 * keys[1], rel=0.05)
    known = fapm("score", target, GOOD[0], "--json").json[0]
    assert known["score"] == pytest.approx(0, abs=0.02)


def test_a_metric_of_each_patchs_own_is_told_and_kept_by_what_the_bank_becomes(
    own_bank: Path, tmp_path: Path
) -> None:
    own, first, again = own_bank, tmp_path / "first.st", tmp_path / "again.st"
    made = fapm("build", *GOOD[:16], "--no-thumbnails", "--size", "160", "-o", again)
    assert made.code == 0
    assert own.read_bytes() == again.read_bytes()  # it is the default
    (line,) = [line for line in made.out.splitlines() if line.startswith("metric ")]
    assert line.removeprefix("metric").strip() in fapm("info", own).out
    choice = fapm("info", own, "--json").json["metric"]
    found = {one["floor"]: one["exceeded"] for one in choice["found"]}
    assert found[choice["floor"]] > found[None]
    assert choice["floor"] is not None  # or the rest tests nothing
    bad, good = (fapm("score", own, path, "--json").json[0] for path in (ONE_BAD, ONE_GOOD))
    assert bad["score"] > 1.3 * good["score"]
    assert fapm("add", own, ONE_GOOD, "-o", first).code == 0
    before, after = load_bank(own), load_bank(first)
    assert before.metric == after.metric
    for one, later in zip(before.memories, after.memories, strict=True):
        assert one.metrics is not None
        assert later.metrics is not None
        assert torch.equal(one.metrics, later.metrics)
    other = build(tmp_path / "other.st", GOOD[12:14], "--no-thumbnails", "--size", "160")
    assert_fails(fapm("merge", own, other, "-o", tmp_path / "m.st"), "metric: own and plain")


def test_spread_threshold_decides_which_patches_are_widened(tmp_path: Path) -> None:
    widened = []
    for threshold in ("0", "0.5", "1"):
        options = ("-o", tmp_path / "bank.st", "--spread-threshold", threshold, "--json")
        layers = fapm("build", *GOOD[:5], *options).json["layers"]
        widened.append(sum(layer["widened"] for layer in layers.values()))
    assert widened[0] == 98
    assert widened[2] == 0
    assert 0 <= widened[1] <= 98


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--backbone", "vgg"), ("'vgg'", "efficientnet_lite0", "resnet18")),
        (("--layers", "layer9"), ("'layer9'", "block4_depthwise")),
        (("--layers", ""), ()),
        (("--layers", "block4,block4"), ("block4",)),
        (("--preset", "best"), ("'best'", "default", "paper")),
        (("--preset", "paper", "--size", "256"), ("--size",)),
        (("--variant", "F"), ("'F'", "A", "E")),
        (("--size", "big"), ("'big'",)),
        (("--size", "0"), ("0",)),
        (("--size", "224x"), ("'224x'",)),
        (("--size", "-224"), ("'-224'",)),
        (("--size", "16384"), ("16384",)),
        (("--grid", "0"), ("0",)),
        (("--grid", "5"), ("5 patches",)),
        (("--coreset-ratio", "0"), ("0.0",)),
        (("--coreset-ratio", "nan"), ("nan",)),
        (("--spread-threshold", "2"), ("2.0",)),
        (("--batch-size", "0"), ("--batch-size",)),
        (("--seed", "9" * 20, "--weights", "random"), ()),
        (("--weights", "nowhere.pth"), ("nowhere.pth",)),
    ],
    ids=" ".join,
)
def test_build_refuses_an_option_that_makes_no_sense_in_one_line(
    options: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    result = fapm("build", GOOD[0], "-o", tmp_path / "bank.st", *options)
    assert_fails(result, *words)
    assert list(tmp_path.iterdir()) == []


# --- The paper's preset ------------------------------------------------------------------------


def test_score_notes_that_a_cropping_bank_leaves_a_part_uninspected(paper_bank: Path) -> None:
    result = fapm("score", paper_bank, ONE_GOOD, "--json")
    assert result.code == 0
    assert len(result.err.splitlines()) == 1
    assert "23%" in result.err
    assert "not inspected" in result.err
    assert list(result.json[0]["layer_scores"]) == ["layer2", "layer3"]


def test_default_bank_has_nothing_to_note(bank: Path) -> None:
    assert fapm("score", bank, ONE_GOOD, "--json").err == ""


def test_cropping_bank_never_has_its_peak_outside_the_centre(paper_bank: Path) -> None:
    for record in fapm("score", paper_bank, SAMPLES / "test", "--json").json:
        assert 20 <= record["peak"]["x"] < 300
        assert 20 <= record["peak"]["y"] < 300


def test_random_weights_of_a_seed_are_the_same_every_time(tmp_path: Path) -> None:
    options = ("--backbone", "resnet18", "--weights", "random", "--size", "64")
    first = build(tmp_path / "1.st", GOOD[:1], *options, "--seed", 3).read_bytes()
    assert build(tmp_path / "2.st", GOOD[:1], *options, "--seed", 3).read_bytes() == first
    assert build(tmp_path / "3.st", GOOD[:1], *options, "--seed", 4).read_bytes() != first
