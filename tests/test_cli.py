from __future__ import annotations

import csv
import io
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import GOOD, ONE_BAD, ONE_GOOD, SAMPLES, assert_fails, build, fapm
from numpy.typing import NDArray
from PIL import Image

from fapm_cli.cli import app
from fapm_cli.compute.plan import Plan

PROGRAM = [sys.executable, "-m", "fapm_cli"]
COMMANDS = (*("build", "add", "merge", "calibrate", "score", "heatmap", "eval", "bench", "info"),)


def truth(path: Path) -> NDArray[np.uint8]:
    """The mask of a sample's defect."""
    name = f"{path.stem}_mask.png"
    mask = cv2.imread(str(SAMPLES / "ground_truth" / path.parent.name / name), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    return np.asarray(mask, np.uint8)


# --- build -------------------------------------------------------------------------------------


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
    result = fapm("build", GOOD[0], bad, GOOD[1], "-o", target, "--skip-bad", "--json")
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
        (("--size", "8192"), ("8192",)),
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


# --- score -------------------------------------------------------------------------------------


def test_every_defective_sample_scores_above_every_good_one(bank: Path) -> None:
    scores = fapm("score", bank, SAMPLES / "test", "--json").scores
    good = [score for path, score in scores.items() if "/good/" in path]
    bad = [score for path, score in scores.items() if "/good/" not in path]
    assert (len(good), len(bad)) == (8, 12)
    assert max(good) < min(bad)


def test_peak_lies_at_the_defect(bank: Path) -> None:
    hits = 0
    for record in fapm("score", bank, SAMPLES / "test", "--json").json:
        path = Path(record["path"])
        if path.parent.name == "good":
            continue
        near = cv2.dilate(truth(path), np.ones((33, 33), np.uint8))
        hits += bool(near[record["peak"]["y"], record["peak"]["x"]])
    assert hits >= 10


def test_json_record_has_score_layer_scores_peak_and_nearest(bank: Path) -> None:
    (record,) = fapm("score", bank, ONE_BAD, "--json").json
    wanted = {"path", "score", "threshold", "verdict", "layer_scores", "peak", "nearest", "regions"}
    assert set(record) == wanted | {"precision", "share_above", "unlike", "differs"}
    assert record["path"] == str(ONE_BAD)
    assert record["score"] > 0
    assert set(record["layer_scores"]) == {"block4_depthwise", "block5_expand"}
    assert all(isinstance(value, int) for value in record["peak"].values())
    assert set(record["peak"]) == {"x", "y"}
    assert record["nearest"]["name"] in {path.name for path in GOOD[:12]}


def test_strongest_region_holds_most_of_the_defect_and_good_parts_have_none(bank: Path) -> None:
    shares = []
    for record in fapm("score", bank, SAMPLES / "test", "--json").json:
        path, regions = Path(record["path"]), record["regions"]
        if path.parent.name == "good":
            assert regions == []
            continue
        first = regions[0]
        rows = slice(first["y"], first["y"] + first["height"])
        columns = slice(first["x"], first["x"] + first["width"])
        defect = truth(path) > 0
        shares.append(defect[rows, columns].sum() / defect.sum())
        assert first["peak"] == record["peak"]
        assert first["nearest"] == record["nearest"]
        assert first["score"] >= record["score"]
    assert len(shares) == 12
    assert min(shares) > 0
    assert np.mean(shares) > 0.7


@pytest.mark.parametrize("size", [(320, 320), (61, 90), (1200, 700)])
def test_regions_lie_in_the_picture_strongest_first_each_around_its_peak(
    size: tuple[int, int], bank: Path, tmp_path: Path
) -> None:
    source = tmp_path / "own.png"
    Image.open(ONE_BAD).resize(size).save(source)

    def regions_above(threshold: float) -> list[dict[str, Any]]:
        options = ("--json", "--sigma", 1, "--pixel-threshold", threshold)
        return list(fapm("score", bank, source, *options).json[0]["regions"])

    threshold = 0.5 * regions_above(0)[0]["score"]
    regions = regions_above(threshold)
    assert len(regions) > 1
    scores = [region["score"] for region in regions]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > threshold
    assert sum(region["area_px"] for region in regions) < size[0] * size[1]
    for region in regions:
        for place, side, limit in (("x", "width", size[0]), ("y", "height", size[1])):
            start, end = region[place], region[place] + region[side]
            assert 0 <= start <= region["peak"][place] < end <= limit
        assert 1 <= region["area_px"] <= region["width"] * region["height"]
        assert region["nearest"]["name"] in {path.name for path in GOOD[:12]}


def test_area_of_regions_is_that_of_the_map_above_the_threshold(bank: Path, tmp_path: Path) -> None:
    options = ("--map", "npy", "-o", tmp_path)
    assert fapm("heatmap", bank, ONE_BAD, *options).code == 0
    above = (np.load(tmp_path / f"{ONE_BAD.stem}_map.npy") > 0.8).sum()
    (record,) = fapm("score", bank, ONE_BAD, "--json", "--pixel-threshold", 0.8).json
    assert sum(r["area_px"] for r in record["regions"]) == pytest.approx(above, rel=0.03)


def test_pixel_threshold_bounds_the_regions_and_changes_nothing_else(bank: Path) -> None:
    (usual,) = fapm("score", bank, ONE_BAD, "--json").json
    strongest = usual["regions"][0]["score"]
    (none,) = fapm("score", bank, ONE_BAD, "--json", "--pixel-threshold", repr(strongest)).json
    assert none == {**usual, "regions": []}
    (whole,) = fapm("score", bank, ONE_BAD, "--json", "--pixel-threshold", 0).json
    (region,) = whole["regions"]
    assert (region["x"], region["y"], region["width"], region["height"]) == (0, 0, 320, 320)
    assert region["area_px"] == 320 * 320


@pytest.mark.parametrize("threshold", ["nan", "inf", "-0.1", "high"])
def test_pixel_threshold_must_be_a_number_of_0_or_more(threshold: str, bank: Path) -> None:
    assert_fails(fapm("score", bank, ONE_BAD, f"--pixel-threshold={threshold}"), "threshold")


def test_all_formats_carry_the_same_scores(bank: Path) -> None:
    calls = {
        kind: fapm("score", bank, ONE_GOOD, ONE_BAD, "--format", kind)
        for kind in ("json", "jsonl", "csv", "text")
    }
    assert {(call.code, call.err) for call in calls.values()} == {(1, "")}
    records = calls["json"].json
    assert fapm("score", bank, ONE_GOOD, ONE_BAD, "--json") == calls["json"]
    lines = [line for line in calls["jsonl"].out.splitlines() if line]
    assert f"[{','.join(lines)}]".replace(" ", "") == re.sub(r"[ \n]", "", calls["json"].out)
    table = list(csv.DictReader(io.StringIO(calls["csv"].out)))
    texts = [line.split("\t") for line in calls["text"].out.splitlines()]
    for record, row, text in zip(records, table, texts, strict=True):
        assert row["path"] == record["path"] == text[1]
        assert float(row["score"]) == record["score"] == pytest.approx(float(text[0]), abs=1e-4)
        assert (int(row["x"]), int(row["y"])) == (record["peak"]["x"], record["peak"]["y"])
        assert f"at {record['peak']['x']},{record['peak']['y']}" in text
        assert f"nearest {record['nearest']['name']}" in text
        assert row["nearest"] == record["nearest"]["name"]
        number = len(record["regions"])
        assert int(row["regions"]) == number
        assert text[-1] == ("1 region" if number == 1 else f"{number} regions")
        assert row["verdict"] == record["verdict"] == text[2]
        assert float(row["threshold"]) == record["threshold"]
        assert row["error"] == ""


def test_unknown_format_is_refused(bank: Path) -> None:
    assert_fails(fapm("score", bank, ONE_GOOD, "--format", "xml"), "'xml'", "jsonl")


def test_threshold_gives_verdicts_and_exit_codes(bank: Path) -> None:
    scores = list(fapm("score", bank, ONE_GOOD, ONE_BAD, "--json").scores.values())
    between = sum(scores) / 2
    both = fapm("score", bank, ONE_GOOD, ONE_BAD, "--threshold", between, "--json")
    assert both.code == 1
    assert [record["verdict"] for record in both.json] == ["ok", "anomalous"]
    assert {record["threshold"] for record in both.json} == {between}
    assert fapm("score", bank, ONE_GOOD, "--threshold", between).code == 0
    assert fapm("score", bank, ONE_BAD, "--threshold", between).code == 1
    text = fapm("score", bank, ONE_GOOD, ONE_BAD, "--threshold", between).out.splitlines()
    assert [line.split("\t")[2] for line in text] == ["ok", "anomalous"]


def test_score_equal_to_the_threshold_is_ok(bank: Path) -> None:
    score = fapm("score", bank, ONE_BAD, "--json").json[0]["score"]
    assert fapm("score", bank, ONE_BAD, "--threshold", repr(score)).code == 0


def test_error_wins_over_anomalous_and_exit_zero_over_both(bank: Path, tmp_path: Path) -> None:
    arguments = ("score", bank, tmp_path / "no.png", ONE_BAD, "--threshold", 0)
    assert fapm(*arguments).code == 2
    assert fapm(*arguments, "--exit-zero").code == 0
    assert fapm("score", bank, ONE_BAD, "--threshold", 0, "--exit-zero").code == 0


def test_exit_zero_does_not_hide_a_failure_of_fapm_itself(tmp_path: Path) -> None:
    assert_fails(fapm("score", tmp_path / "no.st", ONE_BAD, "--exit-zero"), "no.st")


@pytest.mark.parametrize("threshold", ["nan", "abc", ""])
def test_threshold_must_be_a_number(threshold: str, bank: Path) -> None:
    assert_fails(fapm("score", bank, ONE_BAD, "--threshold", threshold))


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "text"])
def test_bad_file_among_good_ones_is_an_error_record_in_its_place(
    kind: str, bank: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    result = fapm("score", bank, ONE_GOOD, bad, ONE_BAD, "--format", kind)
    assert result.code == 2
    lines = [line for line in result.out.splitlines() if ".png" in line or ".jpg" in line]
    assert [ONE_GOOD.name in lines[0], bad.name in lines[1], ONE_BAD.name in lines[2]] == [True] * 3
    if kind == "json":
        good, record, worse = result.json
        assert set(record) == {"path", "error"}
        assert "not a picture" in record["error"]
        assert good["score"] < worse["score"]
    elif kind == "text":
        assert_fails(result, str(bad))
        assert lines[1].split("\t")[0].strip() == "error"


def test_bad_files_do_not_change_the_scores_of_others(bank: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    result = fapm("score", bank, bad, ONE_GOOD, bad, ONE_BAD, bad, "--json", "--batch-size", 2)
    scores = [record["score"] for record in result.json if "score" in record]
    alone = list(fapm("score", bank, ONE_GOOD, ONE_BAD, "--json").scores.values())
    assert scores == pytest.approx(alone, rel=1e-5)


def test_scores_depend_neither_on_batch_size_nor_on_order(bank: Path) -> None:
    pictures = sorted((SAMPLES / "test").rglob("*.jpg"))
    wanted = fapm("score", bank, *pictures, "--json", "--batch-size", 1)
    shuffled = random.Random(5).sample(pictures, len(pictures))
    for order, size in ((pictures, 7), (pictures, 32), (shuffled, 7)):
        result = fapm("score", bank, *order, "--json", "--batch-size", size)
        assert result.scores == pytest.approx(wanted.scores, rel=1e-5)
        assert [record["path"] for record in result.json] == [str(path) for path in order]


def test_folders_are_searched_through_and_sorted(bank: Path) -> None:
    paths = [record["path"] for record in fapm("score", bank, SAMPLES / "test", "--json").json]
    assert paths == sorted(str(path) for path in (SAMPLES / "test").rglob("*.jpg"))


def test_folder_search_takes_pictures_of_any_case_and_nothing_hidden_or_else(
    bank: Path, tmp_path: Path
) -> None:
    for name in ("b.JPG", "a/c.jpeg", ".hidden.jpg", ".git/d.jpg", "notes.txt", "a/table.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ONE_GOOD, tmp_path / name)
    result = fapm("score", bank, tmp_path, "--json")
    assert result.code == 0
    assert [record["path"] for record in result.json] == [
        str(tmp_path / name) for name in ("a/c.jpeg", "b.JPG")
    ]


def test_dash_reads_paths_from_stdin(bank: Path) -> None:
    named = fapm("score", bank, ONE_GOOD, ONE_BAD, ONE_GOOD, "--json")
    result = fapm("score", bank, ONE_GOOD, "-", "--json", stdin=f"{ONE_BAD}\r\n\n{ONE_GOOD}")
    assert result == named


def test_dash_may_name_folders_and_missing_files(bank: Path, tmp_path: Path) -> None:
    text = f"{SAMPLES / 'test' / 'stain'}\n{tmp_path / 'no.png'}\n"
    result = fapm("score", bank, "-", "--json", stdin=text)
    assert result.code == 2
    assert ["error" in record for record in result.json] == [False] * 3 + [True]


def test_missing_folder_content_is_an_error_record_and_the_rest_is_scored(
    bank: Path, tmp_path: Path
) -> None:
    result = fapm("score", bank, ONE_GOOD, tmp_path, "--json")
    assert result.code == 2
    records = {record["path"]: record for record in result.json}
    assert "holds no picture" in records[str(tmp_path)]["error"]
    assert records[str(ONE_GOOD)]["score"] > 0


def test_layer_weights_weigh_the_layers(bank: Path) -> None:
    first = fapm("score", bank, ONE_BAD, "--json", "--layer-weights", "1,0").json[0]
    assert first["score"] == pytest.approx(first["layer_scores"]["block4_depthwise"], rel=1e-5)
    second = fapm("score", bank, ONE_BAD, "--json", "--layer-weights", "0,3").json[0]
    assert second["score"] == pytest.approx(second["layer_scores"]["block5_expand"], rel=1e-5)
    even = fapm("score", bank, ONE_BAD, "--json", "--layer-weights", "1,1").json[0]["score"]
    twice = fapm("score", bank, ONE_BAD, "--json", "--layer-weights", "2,2").json[0]["score"]
    assert twice == pytest.approx(even, rel=1e-5)


def test_wider_search_never_raises_and_more_neighbors_never_lower_the_score(bank: Path) -> None:
    def score(*options: object) -> float:
        return float(fapm("score", bank, ONE_BAD, "--json", *options).json[0]["score"])

    assert score("--reach", 1) <= score() * (1 + 1e-5)
    assert score("--neighbors", 4) >= score() * (1 - 1e-5)
    assert score("--sigma", 0) >= score() * (1 - 1e-5)


def test_more_neighbors_than_keys_is_no_silent_nan(bank: Path) -> None:
    result = fapm("score", bank, ONE_BAD, "--neighbors", 64, "--json")
    if result.code == 0:
        assert result.json[0]["score"] > 0
        assert np.isfinite(result.json[0]["score"])
    else:
        assert_fails(result, "64")


# --- The program itself ------------------------------------------------------------------------


def test_program_writes_only_data_to_stdout_and_nothing_to_stderr(bank: Path) -> None:
    result = subprocess.run(
        [*PROGRAM, "score", bank, ONE_BAD, "--threshold", "0.01", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout == fapm("score", bank, ONE_BAD, "--threshold", 0.01, "--json").out
    assert result.stderr == ""


def test_help_answers_at_once() -> None:
    spent = []
    for _ in range(3):
        before = os.times()
        subprocess.run([*PROGRAM, "--help"], capture_output=True, check=True)
        after = os.times()
        spent.append(after[2] + after[3] - before[2] - before[3])
    assert min(spent) < 0.5


def test_help_imports_no_torch() -> None:
    heavy = ("torch", "torchvision", "numpy", "PIL", "cv2")
    code = f"""
import sys
from fapm_cli.cli import run
assert run(["--help"]) == 0
assert run(["score", "--help"]) == 0
print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.stderr == "[]\n"


def test_version_is_printed() -> None:
    result = fapm("--version")
    assert result.code == 0
    assert re.fullmatch(r"fapm \d+\.\d+\.\d+\n", result.out)


def test_help_lists_every_command() -> None:
    text = fapm("--help").out
    assert all(command in text for command in COMMANDS)


def test_score_help_states_the_exit_codes() -> None:
    text = " ".join(fapm("score", "--help").out.split())
    assert "Exit codes: 0 all ok (or for review)" in text
    assert "1 at least one anomalous" in text
    assert "2 any error" in text


@pytest.mark.parametrize("command", ["score", "heatmap", "bench"])
def test_help_swallows_no_bracketed_default(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = fapm(command, "--help").out
    assert "default: the " in text
    assert not re.search(r"\w \.", text)


def test_help_of_every_command_has_one_example() -> None:
    names = {command.name for command in app.registered_commands}
    assert names >= set(COMMANDS)
    for name in names:
        text = fapm(name, "--help").out
        assert len(re.findall(rf"Example: +fapm {name} ", text)) == 1, name


@pytest.mark.parametrize("command", COMMANDS)
def test_example_in_the_help_runs(
    command: str, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = fapm(command, "--help").out
    examples = re.findall(r"Example: +fapm (.*\S)", text)
    assert len(examples) == 1, text
    arguments = shlex.split(examples[0])
    assert arguments[0] == command
    if command == "bench":
        quick = {"--images": "2", "--runs": "1"}
        for option, value in quick.items():
            arguments[arguments.index(option) + 1] = value
        arguments += ["--backbone", "resnet18", "--warm-up", "0"]
    monkeypatch.chdir(tmp_path)
    for folder in ("good", "test/good", "test/stain"):
        shutil.copytree(SAMPLES / folder, tmp_path / "samples" / folder)
    if command == "build":
        for picture in sorted(Path("samples/good").iterdir())[4:]:
            picture.unlink()
    for name in re.findall(r"(?<!-o )\b\w+\.st\b", examples[0]):
        shutil.copy(bank, name)
    result = fapm(*arguments)
    assert result.code == (1 if command == "score" else 0)
    assert result.out
    for name in re.findall(r"-o (\w+\.st)", examples[0]):
        assert Path(name).is_file()
    if command == "heatmap":
        pictures = list(Path("samples/test").rglob("*.jpg"))
        assert len(list(Path("out").rglob("*_heatmap.png"))) == len(pictures) == 11


def test_verdicts_on_the_samples_are_right_with_no_option(tmp_path: Path) -> None:
    target = build(tmp_path / "bank.st", [SAMPLES / "good"])
    result = fapm("score", target, SAMPLES / "test", "--json")
    assert result.code == 1
    for record in result.json:
        assert (record["verdict"] == "ok") == ("/good/" in record["path"]), record
    assert fapm("score", target, SAMPLES / "test" / "good").code == 0


# --- info --------------------------------------------------------------------------------------


def test_info_shows_what_the_bank_holds(bank: Path) -> None:
    result = fapm("info", bank)
    assert (result.code, result.err) == (0, "")
    for text in ("12, 000.jpg to 011.jpg", "efficientnet_lite0", "224x224", "grid 7x7", "E"):
        assert text in result.out
    for layer in ("block4_depthwise", "block5_expand"):
        assert re.search(rf"{layer}  \d+ keys of \d+ values, \d+ of 49 patches", result.out)


def test_info_says_what_its_grids_show_with_a_scale_up_to_the_widest(bank: Path) -> None:
    shown = fapm("info", bank).out
    for words in ("7x7 patches", "radius r", "feature units", "* is a widened patch"):
        assert words in shown
    scales = re.findall(r"^scale (.*)$", shown, re.MULTILINE)
    memories = fapm("info", bank, "--json").json["memories"].values()
    for scale, memory in zip(scales, memories, strict=True):
        steps = [float(step) for step in scale.split()]
        assert steps[0] == 0
        assert steps[-1] == pytest.approx(max(memory["radius_sq"]) ** 0.5, abs=0.01)


def test_info_says_that_the_paper_preset_crops(paper_bank: Path) -> None:
    assert "256x256 px, crop 224x224" in fapm("info", paper_bank).out


def test_info_json_holds_the_whole_header(bank: Path) -> None:
    described = fapm("info", bank, "--json").json
    assert described["config"]["backbone"] == "efficientnet_lite0"
    assert described["variant"] == "E"
    assert described["weights"] == "own"
    assert re.fullmatch(r"[0-9a-f]{64}", described["weights_hash"])
    assert described["backbone_embedded"] is True
    assert {"fapm", "torch"} <= set(described["versions"])
    assert [picture["name"] for picture in described["pictures"]] == [p.name for p in GOOD[:12]]
    assert all(re.fullmatch(r"[0-9a-f]{64}", p["sha256"]) for p in described["pictures"])
    assert all(picture["score"] > 0 for picture in described["pictures"])
    for memory in described["memories"].values():
        assert len(memory["key_counts"]) == len(memory["radius_sq"]) == len(memory["widened"]) == 49


def test_info_shows_picture_names_literally(tmp_path: Path) -> None:
    picture = tmp_path / "part[red]7.jpg"
    shutil.copy(GOOD[0], picture)
    target = build(tmp_path / "bank.st", [picture])
    assert "part[red]7.jpg" in fapm("info", target).out


# --- bench -------------------------------------------------------------------------------------

QUICK = ("--runs", "2", "--warm-up", "1")


def test_bench_puts_all_of_table_2_beside_its_variants() -> None:
    options = ("--images", "2", "--runs", "1", "--warm-up", "0", "--backbone", "resnet18", "--json")
    records = fapm("bench", "--against-paper", *options).json
    paper = {record["variant"]: record["paper_fps"] for record in records}
    assert paper == {"A": 23.4, "B": 34.1, "C": 35.7, "D": 46.0, "E": 44.1}


def test_bench_json_has_times_of_every_variant() -> None:
    shape = ("--backbone", "resnet18", "--images", "4", "--variants", "A,E")
    options = (*shape, "--precision", "fp32", *QUICK)
    records = fapm("bench", *options, "--json").json
    assert [record["variant"] for record in records] == ["A", "E"]
    for record in records:
        assert record["backbone"] == "resnet18"
        assert record["precision"] == "fp32"
        assert record["batch_size"] == 1
        assert 0 < record["median_ms"] <= record["p95_ms"] <= record["p99_ms"]
        assert record["fps"] == pytest.approx(1000 / record["median_ms"])
        ratio = record["median_ms"] / record["backbone_ms"]
        assert record["ratio_to_backbone"] == pytest.approx(ratio)
        assert set(record["stages_ms"]) == {"preprocess", "extract", "knn", "map"}
        assert all(spent > 0 for spent in record["stages_ms"].values())


def test_bench_measures_a_real_bank_at_several_batch_sizes(bank: Path) -> None:
    records = fapm("bench", bank, *QUICK, "--batch-size", "1,2", "--json").json
    assert [record["batch_size"] for record in records] == [1, 2]
    assert {record["backbone"] for record in records} == {"efficientnet_lite0"}
    assert {record["bank"] for record in records} == {str(bank)}
    for record in records:
        fps = 1000 * record["batch_size"] / record["median_ms"]
        assert record["fps"] == pytest.approx(fps)
        assert record["speedup"] == pytest.approx(fps / records[0]["fps"])


def test_bench_measures_each_plan_once(bank: Path) -> None:
    result = fapm("bench", bank, *QUICK, "--precision", "fp32,fp32", "--json")
    assert [record["precision"] for record in result.json] == ["fp32"]
    assert "fp32 is fp32 here, which is measured already" in result.err


def test_bench_holds_a_compiled_engine_against_the_compiled_backbone(
    bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = []

    def uncompiled(work: Callable[..., object], plan: Plan, **_: bool) -> Callable[..., object]:
        plans.append(plan.precision)
        return work

    monkeypatch.setattr("fapm_cli.detection.graphs.runner", uncompiled)
    monkeypatch.setattr("fapm_cli.detection.detector.runner", uncompiled)
    options = ("--precision", "fp32", "--compile")
    table = fapm("bench", bank, *QUICK, *options).out.splitlines()
    assert plans == ["fp32", "fp32, compiled"] * 2
    assert [row.count(" - ") for row in table] == [0, 0, 3]


def test_bench_prints_a_table_on_stdout_and_the_machine_on_stderr(bank: Path) -> None:
    result = fapm("bench", bank, *QUICK)
    assert result.code == 0
    header, row = result.out.splitlines()
    assert header.split()[:4] == ["variant", "backbone", "precision", "batch"]
    assert row.split()[:2] == ["E", "efficientnet_lite0"]
    assert "threads" in result.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--variants", "A,Q", "--backbone", "resnet18"), ("'Q'",)),
        (("--batch-size", "1,x"), ("'1,x'",)),
        (("--batch-size", "0"), ("'0'",)),
        (("--backbone", "vgg"), ("'vgg'",)),
        (("--runs", "0"), ("--runs",)),
        (("no.st",), ("no.st",)),
    ],
    ids=" ".join,
)
def test_bench_refuses_what_makes_no_sense_in_one_line(
    options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert_fails(fapm("bench", *options), *words)
