"""``fapm score``: records, formats, verdicts, and which pictures are found."""

from __future__ import annotations

import csv
import io
import random
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import GOOD, ONE_BAD, ONE_GOOD, SAMPLES, assert_fails, fapm
from numpy.typing import NDArray
from PIL import Image


def truth(path: Path) -> NDArray[np.uint8]:
    """The mask of a sample's defect."""
    name = f"{path.stem}_mask.png"
    mask = cv2.imread(str(SAMPLES / "ground_truth" / path.parent.name / name), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    return np.asarray(mask, np.uint8)


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
    assert set(record) == wanted | {
        "precision",
        "share_above",
        "unlike",
        "differs",
        "extent",
        "light",
        "p_value",
        "measures",
    }
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


def test_a_p_value_is_told_where_the_banks_own_way_was_asked(bank: Path, tmp_path: Path) -> None:
    good, bad = fapm("score", bank, ONE_GOOD, ONE_BAD, "--json").json
    assert bad["p_value"] == 1 / 13  # of 12 parts
    assert good["p_value"] > bad["p_value"]
    other = fapm("score", bank, ONE_BAD, "--threshold", 99, "--json").json[0]
    assert (other["p_value"], other["verdict"]) == (1 / 13, "ok")
    assert "p_value" not in fapm("score", bank, ONE_BAD, "--sigma", 2, "--json").json[0]
    mask = tmp_path / "roi.png"
    Image.new("L", (320, 320), 255).save(mask)
    assert "p_value" in fapm("score", bank, ONE_BAD, "--roi", mask, "--json").json[0]
    half = Image.new("L", (320, 320))
    half.paste(255, (0, 0, 320, 160))
    half.save(mask)
    assert "p_value" not in fapm("score", bank, ONE_BAD, "--roi", mask, "--json").json[0]
    rows = csv.DictReader(io.StringIO(fapm("score", bank, ONE_BAD, "--format", "csv").out))
    assert [float(row["p_value"]) for row in rows] == [bad["p_value"]]
