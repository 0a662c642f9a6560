"""The Python door: paths, PIL pictures and arrays alike, equal to the command line's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import GOOD, ONE_BAD, ONE_GOOD, SAMPLES, fapm
from PIL import Image

import fapm_cli


@pytest.fixture(scope="module")
def detector(bank: Path) -> fapm_cli.Detector:
    return fapm_cli.load(bank).detector()


@pytest.mark.parametrize("kind", ["path", "string", "PIL", "array"])
def test_any_kind_of_picture_gives_the_command_lines_record(
    kind: str, bank: Path, detector: fapm_cli.Detector
) -> None:
    array = np.asarray(Image.open(ONE_BAD).convert("RGB"))
    pictures = {"path": ONE_BAD, "string": str(ONE_BAD), "PIL": Image.open(ONE_BAD), "array": array}
    result = detector(pictures[kind])  # type: ignore[arg-type]
    [line] = fapm("score", bank, ONE_BAD, "--format", "jsonl").out.splitlines()
    if kind in ("path", "string"):
        assert result.to_json() == line
    want = json.loads(line)
    assert {**result.record, "path": want["path"]} == want
    assert (result.score, result.verdict) == (want["score"], "anomalous")
    assert result.threshold == want["threshold"]
    assert result.peak == (want["peak"]["x"], want["peak"]["y"])
    assert result.regions == want["regions"]
    assert result.nearest == want["nearest"]
    assert result.anomaly_map.shape == array.shape[:2]


def test_a_heatmap_is_the_command_lines(
    bank: Path, detector: fapm_cli.Detector, tmp_path: Path
) -> None:
    assert fapm("heatmap", bank, ONE_BAD, "-o", tmp_path).code == 0
    drawn = np.asarray(Image.open(tmp_path / f"{ONE_BAD.stem}_heatmap.png"))
    assert np.array_equal(np.asarray(detector(ONE_BAD).heatmap()), drawn)
    of_array = detector(np.asarray(Image.open(ONE_BAD).convert("RGB"))).heatmap()
    assert np.array_equal(np.asarray(of_array), drawn)


def test_a_bank_of_a_folder_is_the_command_lines_byte_for_byte(tmp_path: Path) -> None:
    folder = SAMPLES / "test" / "good"
    fapm_cli.build(folder).save(tmp_path / "ours.st")
    assert fapm("build", folder, "-o", tmp_path / "theirs.st").code == 0
    assert (tmp_path / "ours.st").read_bytes() == (tmp_path / "theirs.st").read_bytes()


def test_whole_numbers_give_the_bytes_of_a_bank_that_is_read_and_written(tmp_path: Path) -> None:
    query = {"sigma": 4, "layer_weights": [2, 1]}
    aim = fapm_cli.Aim(threshold=1)
    bank = fapm_cli.build(GOOD[:2], size=64, coreset_ratio=1, metric="plain", query=query, aim=aim)
    bank.save(tmp_path / "built.st")
    fapm_cli.load(tmp_path / "built.st").save(tmp_path / "read.st")
    assert (tmp_path / "built.st").read_bytes() == (tmp_path / "read.st").read_bytes()
    detector = fapm_cli.load(tmp_path / "read.st").detector(threshold=2)
    assert detector(GOOD[3]).threshold == 2


def test_a_bank_of_pictures_in_memory_scores_as_that_of_their_files() -> None:
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in GOOD[:3]]
    pictures = [Image.open(path) for path in GOOD[:3]]
    scores = [
        fapm_cli.build(some, size=96).detector()(ONE_BAD).score
        for some in (GOOD[:3], arrays, pictures)
    ]
    assert scores[0] == scores[1] == scores[2]


def test_stream_gives_what_cannot_be_read_in_its_place_and_a_call_raises(
    detector: fapm_cli.Detector, tmp_path: Path
) -> None:
    missing = tmp_path / "none.jpg"
    first, second, third = detector.stream([ONE_GOOD, missing, ONE_BAD])
    assert (first.error, first.verdict, third.verdict) == (None, "ok", "anomalous")
    assert "does not exist" in (second.error or "")
    assert json.loads(second.to_json()) == {"path": str(missing), "error": second.error}
    for ask in (lambda: detector(missing), second.heatmap):
        with pytest.raises(fapm_cli.PictureError, match="does not exist"):
            ask()


def test_stream_goes_through_a_folder_as_the_command_does(
    bank: Path, detector: fapm_cli.Detector
) -> None:
    folder = SAMPLES / "test" / "stain"
    lines = [result.to_json() for result in detector.stream(folder)]
    assert lines == fapm("score", bank, folder, "--format", "jsonl").out.splitlines()


def test_what_is_asked_is_what_the_options_ask(bank: Path) -> None:
    result = fapm_cli.load(bank).detector(sigma=2.0, precision="fp32")(ONE_BAD)
    [record] = fapm("score", bank, ONE_BAD, "--sigma", 2, "--precision", "fp32", "--json").json
    assert (result.record, result.verdict) == (record, None)


def test_layer_weights_that_fit_no_memory_are_refused(bank: Path) -> None:
    with pytest.raises(fapm_cli.OptionError, match="layer weights"):
        fapm_cli.load(bank).detector(layer_weights=(1.0, 1.0, 1.0))


def test_evaluate_gives_the_rows_of_eval() -> None:
    [row] = fapm_cli.evaluate(SAMPLES, metric="plain")
    [said] = fapm("eval", SAMPLES, "--metric", "plain", "--json").json
    assert row["image_auroc"] == said["image_auroc"]
    assert row["num_test"] == said["num_test"]


def test_folders_that_build_refuses_are_refused() -> None:
    with pytest.raises(fapm_cli.PictureError, match="not of good parts"):
        fapm_cli.build(SAMPLES)
    with pytest.raises(fapm_cli.OptionError, match="default or paper"):
        fapm_cli.build(GOOD[:1], preset="other")
    with pytest.raises(fapm_cli.OptionError, match="resizes to 256"):  # and is not ignored
        fapm_cli.build(GOOD[:1], preset="paper", size=224)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_pil_pictures_of_any_mode_score_as_their_files(
    mode: str, detector: fapm_cli.Detector, tmp_path: Path
) -> None:
    picture = Image.open(ONE_BAD).convert(mode)
    picture.save(tmp_path / "one.png")
    assert detector(picture).score == detector(tmp_path / "one.png").score
    with pytest.raises(fapm_cli.PictureError, match="I;16"):
        detector(picture.convert("L").convert("I;16"))


def test_nothing_is_imported_before_it_is_used() -> None:
    script = (
        "import sys, fapm_cli; assert 'torch' not in sys.modules; assert 'build' in dir(fapm_cli); "
        "fapm_cli.FapmError; assert 'torch' not in sys.modules; fapm_cli.load; import torch"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    with pytest.raises(AttributeError, match="nothing"):
        fapm_cli.nothing  # noqa: B018
