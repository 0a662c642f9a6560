"""``fapm eval`` on small trees made of the sample pictures."""

from __future__ import annotations

import csv
import io
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import GOOD, SAMPLES, Result, assert_fails, build, fapm
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from fapm_cli.bank.file import load_bank
from fapm_cli.commands.eval_table import beside_paper, echo_figures
from fapm_cli.compute.plan import make_plan
from fapm_cli.detection.detector import Detector
from fapm_cli.detection.stream import Judged, judge
from fapm_cli.evaluation.datasets import find_categories, read_category, read_truth
from fapm_cli.learning.scratch.allowance import Allowance

TRAIN = GOOD[:6]
RATES = ("image_auroc", "pixel_auroc", "aupro", "image_ap", "f1_max")
FIELDS = {
    "category",
    "variant",
    "backbone",
    *RATES,
    "f1_threshold",
    "balanced_accuracy",
    "balanced_accuracy_best",
    "false_alarm_rate",
    "false_alarms_at_most",
    "threshold",
    "images_per_second",
    "num_train",
    "num_test",
    "num_defective",
    "num_masked",
    "num_failures",
    "num_differing",
    "inspected_share",
    "keys",
    "bank_mb",
    "build_seconds",
}
FAST = ("--device", "cpu", "--precision", "fp32")
SMALL = ("--size", "160")  # of banks that are built
RANDOM = ("--backbone", "resnet18", "--weights", "random")


def copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    return target


def make_category(
    root: Path,
    *,
    ok: str = "good",
    defects: tuple[str, ...] = ("stain",),
    mask: str | None = "{}_mask.png",
    train: int = 4,
) -> Path:
    """Two good test pictures and one of each defect."""
    for picture in TRAIN[:train]:
        copy(picture, root / "train" / ok / picture.name)
    for name in ("000", "001"):
        copy(SAMPLES / "test" / "good" / f"{name}.jpg", root / "test" / ok / f"{name}.jpg")
    for defect in defects:
        copy(SAMPLES / "test" / defect / "000.jpg", root / "test" / defect / "000.jpg")
        if mask is not None:
            marked = SAMPLES / "ground_truth" / defect / "000_mask.png"
            copy(marked, root / "ground_truth" / defect / mask.format("000"))
    return root


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A category whose labels no score can follow: a stained picture is said to be good."""
    root = tmp_path_factory.mktemp("part") / "part"
    make_category(root, defects=("stain", "missing", "scratch"), train=6)
    copy(SAMPLES / "test" / "stain" / "001.jpg", root / "test" / "good" / "odd.jpg")
    return root


@pytest.fixture(scope="module")
def part_scores(part: Path) -> Path:
    return part.parent / "scores.csv"


@pytest.fixture(scope="module")
def part_result(part: Path, part_scores: Path) -> Result:
    return fapm("eval", part, *FAST, *SMALL, "--json", "--scores", part_scores)


@pytest.fixture(scope="module")
def part_bank(part: Path) -> Path:
    return build(part.parent / "part.st", TRAIN, *SMALL)


@pytest.fixture(scope="module")
def two_kinds(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The record of a category of two kinds of defects, before anything in it is spoilt."""
    root = make_category(tmp_path_factory.mktemp("whole") / "cap", defects=("stain", "scratch"))
    return only(fapm("eval", root, *FAST, *SMALL, "--json"))


def only(result: Result) -> dict[str, Any]:
    """The one record of a run that went well."""
    assert result.code == 0, result
    [record] = result.json
    assert isinstance(record, dict)
    return record


def read_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def labels_and_scores(path: Path) -> tuple[list[bool], list[float]]:
    rows = read_rows(path.read_text())
    return [row["defect"] != "good" for row in rows], [float(row["score"]) for row in rows]


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    times = ("images_per_second", "build_seconds")
    return {name: value for name, value in record.items() if name not in times}


# --- Records -----------------------------------------------------------------------------------


def test_json_is_one_array_of_records_with_every_field(part: Path, part_result: Result) -> None:
    record = only(part_result)
    assert set(record) == FIELDS
    assert record["category"] == part.name
    assert (record["variant"], record["backbone"]) == ("E", "efficientnet_lite0")
    assert (record["num_train"], record["num_test"], record["num_defective"]) == (6, 6, 3)
    assert all(0 <= record[rate] <= 1 for rate in RATES)
    assert record["images_per_second"] > 0
    assert record["build_seconds"] > 0


def test_keys_and_megabytes_are_those_of_the_bank(part_bank: Path, part_result: Result) -> None:
    memories = load_bank(part_bank).memories
    record = only(part_result)
    assert record["keys"] == sum(len(memory.keys) for memory in memories)
    megabytes = sum(memory.keys.numel() * 4 for memory in memories) / 1e6
    assert record["bank_mb"] == pytest.approx(megabytes)


def test_scores_csv_lists_every_test_picture_once(
    part: Path, part_result: Result, part_scores: Path
) -> None:
    assert part_result.code == 0
    rows = read_rows(part_scores.read_text())
    assert list(rows[0]) == ["category", "variant", "path", "defect", "score"]
    found = sorted(str(path) for path in (part / "test").rglob("*.jpg"))
    assert sorted(row["path"] for row in rows) == found
    for row in rows:
        assert (row["category"], row["variant"]) == (part.name, "E")
        assert row["defect"] == Path(row["path"]).parent.name


def test_scores_are_those_of_fapm_score(part: Path, part_bank: Path, part_scores: Path) -> None:
    scored = fapm("score", part_bank, part / "test", *FAST, "--json").scores
    rows = read_rows(part_scores.read_text())
    assert {row["path"]: float(row["score"]) for row in rows} == pytest.approx(scored, abs=1e-6)


def test_image_figures_agree_with_scikit_learn(part_result: Result, part_scores: Path) -> None:
    record = only(part_result)
    labels, scores = labels_and_scores(part_scores)
    assert record["image_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    assert record["image_auroc"] < 1
    precision = average_precision_score(labels, scores)
    assert record["image_ap"] == pytest.approx(precision, abs=1e-9)
    called = [[score >= threshold for score in scores] for threshold in scores]
    assert record["f1_max"] == pytest.approx(max(f1_score(labels, one) for one in called))
    at_threshold = [score >= record["f1_threshold"] for score in scores]
    assert f1_score(labels, at_threshold) == pytest.approx(record["f1_max"])


def own_aupro(maps: NDArray[np.float32], masks: NDArray[np.bool_]) -> float:
    """Area under mean overlap of regions against false positives, up to 0.3."""
    thresholds = np.unique(maps)[::-1]

    def share(values: NDArray[np.float32]) -> NDArray[np.float64]:
        below = np.searchsorted(np.sort(values), thresholds, side="left")
        return np.concatenate([[0.0], 1 - below / len(values)])

    overlaps = []
    for one, mask in zip(maps, masks, strict=True):
        count, regions = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        overlaps += [share(one[regions == region]) for region in range(1, count)]
    false = share(maps[~masks])
    overlap = np.mean(overlaps, axis=0)
    keep = false < 0.3
    x = np.append(false[keep], 0.3)
    y = np.append(overlap[keep], np.interp(0.3, false, overlap))
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum() / 0.3)


def own_pixel_figures(part: Path, bank: Path) -> tuple[float, float]:
    """Pixel AUROC and AUPRO, by way of the API and scikit-learn."""
    detector = Detector(load_bank(bank), plan=make_plan("cpu", "fp32"))
    preprocessing = detector.bank.config.preprocessing
    paths = sorted((part / "test").rglob("*.jpg"))
    found = [one.found for one in judge(detector, paths) if isinstance(one, Judged)]
    maps = torch.cat([one.anomaly_maps for one in found]).numpy()
    (height, width), (tall, wide) = preprocessing.resize_px, preprocessing.crop_px
    top, left = (height - tall) // 2, (width - wide) // 2
    masks = np.zeros(maps.shape, dtype=bool)
    for path, mask in zip(paths, masks, strict=True):
        marked = part / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        if marked.exists():
            whole = Image.open(marked).resize((width, height), Image.Resampling.NEAREST)
            mask[:] = np.asarray(whole)[top : top + tall, left : left + wide] > 0
    return roc_auc_score(masks.ravel(), maps.ravel()), own_aupro(maps, masks)


def test_pixel_figures_agree_with_an_own_computation(
    part: Path, part_bank: Path, part_result: Result
) -> None:
    auroc, aupro = own_pixel_figures(part, part_bank)
    record = only(part_result)
    assert record["pixel_auroc"] == pytest.approx(auroc, abs=1e-6)
    assert record["aupro"] == pytest.approx(aupro, abs=1e-6)


def test_pixel_figures_of_a_cropping_bank_are_of_what_it_sees(part: Path, paper_bank: Path) -> None:
    auroc, aupro = own_pixel_figures(part, paper_bank)
    record = only(fapm("eval", part, *FAST, "--bank", paper_bank, "--json"))
    assert record["pixel_auroc"] == pytest.approx(auroc, abs=1e-6)
    assert record["aupro"] == pytest.approx(aupro, abs=1e-6)


def test_existing_bank_is_judged_as_one_that_is_built(
    part: Path, part_bank: Path, part_result: Result
) -> None:
    record = only(fapm("eval", part, *FAST, "--bank", part_bank, "--json"))
    assert record["build_seconds"] is None
    assert without_times(record) == pytest.approx(without_times(only(part_result)), abs=1e-9)


def test_layer_weights_are_of_the_layers_of_the_bank(part: Path, tmp_path: Path) -> None:
    layers = "block3_expand,block4_depthwise,block5_expand"
    bank = build(tmp_path / "three.st", GOOD[:4], "--layers", layers, "--size", "96")
    options = (*FAST, "--bank", bank, "--json", "--layer-weights")
    first, last = (only(fapm("eval", part, *options, w)) for w in ("1,0,0", "0,0,1"))
    assert first["image_auroc"] != last["image_auroc"] or first["aupro"] != last["aupro"]
    assert_fails(fapm("eval", part, *options, "1,1"), "wanted one for each of block3_expand")


def test_batch_size_changes_no_figure(part: Path, part_result: Result) -> None:
    record = only(fapm("eval", part, *FAST, *SMALL, "--batch-size", 1, "--json"))
    assert without_times(record) == pytest.approx(without_times(only(part_result)), abs=1e-5)


def test_sample_pictures_are_a_category_and_told_apart() -> None:
    record = only(fapm("eval", SAMPLES, "--json", "--coreset-ratio", "0.02", "--metric", "plain"))
    assert (record["num_train"], record["num_test"], record["num_defective"]) == (30, 20, 12)
    assert record["image_auroc"] > 0.95
    assert record["pixel_auroc"] > 0.95
    assert 0.9 < record["aupro"] < record["pixel_auroc"]


def test_where_memory_is_short_scratch_files_change_no_figure(
    part: Path, part_result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Allowance, "suffices", lambda *_: False)
    begun = time.perf_counter()
    record = only(fapm("eval", part, *FAST, *SMALL, "--json"))
    assert 0 < record["build_seconds"] < time.perf_counter() - begun
    assert without_times(record) == without_times(only(part_result))


# --- Options -----------------------------------------------------------------------------------


def test_variants_give_a_record_each(part: Path, part_result: Result) -> None:
    result = fapm("eval", part, *FAST, *SMALL, "--variants", "A,D,E", "--json")
    assert result.code == 0
    records = result.json
    assert [record["variant"] for record in records] == ["A", "D", "E"]
    assert all(record["build_seconds"] > 0 for record in records)
    assert all(record["images_per_second"] > 0 for record in records)
    assert without_times(records[2]) == without_times(only(part_result))
    assert records[0]["keys"] < records[1]["keys"] < records[2]["keys"]


def test_variant_letters_may_be_small(part: Path) -> None:
    assert only(fapm("eval", part, *FAST, *SMALL, "--variants", "d", "--json"))["variant"] == "D"


@pytest.mark.parametrize(
    "options",
    [
        ("--calibration", "none"),
        ("--layer-weights", "1,0"),
        ("--neighbors", 3),
        ("--sigma", 1),
        ("--reach", 1),
    ],
    ids=lambda options: options[0],
)
def test_query_options_change_scores_and_not_the_bank(
    options: tuple[object, ...], part: Path, part_bank: Path, part_result: Result, tmp_path: Path
) -> None:
    scores = tmp_path / "scores.csv"
    given = ("--bank", part_bank, "--scores", scores)
    record = only(fapm("eval", part, *FAST, *given, "--json", *options))
    assert record["keys"] == only(part_result)["keys"]
    scored = fapm("score", part_bank, part / "test", *FAST, *options, "--json").scores
    plain = fapm("score", part_bank, part / "test", *FAST, "--json").scores
    found = {row["path"]: float(row["score"]) for row in read_rows(scores.read_text())}
    assert found == pytest.approx(scored, abs=1e-6)
    assert found != pytest.approx(plain, abs=1e-4)


def test_calibration_none_changes_scores_of_a_bank_that_is_built(
    part: Path, part_result: Result, part_scores: Path, tmp_path: Path
) -> None:
    scores = tmp_path / "scores.csv"
    options = ("--calibration", "none", "--scores", scores)
    result = fapm("eval", part, *FAST, *SMALL, *options, "--json")
    assert only(result)["keys"] == only(part_result)["keys"]
    assert labels_and_scores(scores)[1] != pytest.approx(labels_and_scores(part_scores)[1])


def test_build_options_change_the_bank(part: Path, part_result: Result) -> None:
    options = ("--coreset-ratio", "0.3", "--spread-threshold", 1, "--size", 128, "--grid", 2)
    record = only(fapm("eval", part, *FAST, *options, "--json"))
    assert record["keys"] != only(part_result)["keys"]
    assert record["variant"] == "E"


def test_paper_preset_works_with_a_small_random_network(tmp_path: Path) -> None:
    root = make_category(tmp_path / "part")
    options = ("--preset", "paper", *RANDOM)
    record = only(fapm("eval", root, *FAST, *options, "--json"))
    assert record["backbone"] == "resnet18"
    assert all(0 <= record[rate] <= 1 for rate in RATES)
    again = only(fapm("eval", root, *FAST, *options, "--json"))
    assert without_times(again) == without_times(record)
    other = only(fapm("eval", root, *FAST, *options, "--seed", 1, "--json"))
    assert other["f1_threshold"] != record["f1_threshold"]


# --- Printing ----------------------------------------------------------------------------------


def test_csv_holds_the_records(part: Path, part_bank: Path, part_result: Result) -> None:
    result = fapm("eval", part, *FAST, "--bank", part_bank, "--csv")
    assert result.code == 0
    [row] = read_rows(result.out)
    record = only(part_result)
    assert set(row) >= FIELDS
    assert (row["category"], row["variant"], row["build_seconds"]) == (part.name, "E", "")
    for name in (*RATES, "f1_threshold", "keys", "bank_mb", "num_test"):
        assert float(row[name]) == pytest.approx(record[name], abs=1e-9), name


def test_verdict_figures_are_those_of_the_banks_threshold(
    part: Path, part_bank: Path, tmp_path: Path
) -> None:
    from sklearn.metrics import balanced_accuracy_score

    for threshold in (0.5, 0.9, 1.2, 5):
        bank = tmp_path / "bank.st"
        options = ("-o", bank, "--threshold", threshold)
        assert fapm("calibrate", part_bank, SAMPLES / "test" / "good", *options).code == 0
        scores = tmp_path / "scores.csv"
        record = only(fapm("eval", part, *FAST, "--bank", bank, "--scores", scores, "--json"))
        rows = read_rows(scores.read_text())
        bad = [row["defect"] != "good" for row in rows]
        values = [float(row["score"]) for row in rows]

        def accuracy(level: float, bad: list[bool] = bad, values: list[float] = values) -> float:
            return float(balanced_accuracy_score(bad, [value > level for value in values]))

        assert record["threshold"] == threshold
        assert record["balanced_accuracy"] == pytest.approx(accuracy(threshold))
        best = max(accuracy(level) for level in (0, *values))
        assert record["balanced_accuracy_best"] == pytest.approx(best)
        good = [value for value, defective in zip(values, bad, strict=True) if not defective]
        alarms = sum(value > threshold for value in good) / len(good)
        assert record["false_alarm_rate"] == pytest.approx(alarms)
        assert 0 <= record["false_alarms_at_most"] <= 1


def test_verdict_figures_are_left_out_where_the_query_is_not_the_banks(
    part: Path, part_bank: Path
) -> None:
    record = only(fapm("eval", part, *FAST, "--bank", part_bank, "--sigma", 2, "--json"))
    assert record["balanced_accuracy"] is record["false_alarm_rate"] is record["threshold"] is None
    assert record["balanced_accuracy_best"] > 0.5


def test_markdown_is_a_table(part: Path, part_bank: Path, part_result: Result) -> None:
    result = fapm("eval", part, *FAST, "--bank", part_bank, "--markdown")
    assert result.code == 0
    lines = result.out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    header, rule, row = cells
    assert len(header) == len(rule) == len(row)
    assert all(line.startswith("|") and line.endswith("|") for line in lines)
    assert all(set(cell) <= {"-", ":"} for cell in rule)
    assert row[:2] == [part.name, "E"]
    percent = float(row[header.index("image AUROC")])
    assert percent == pytest.approx(100 * only(part_result)["image_auroc"], abs=0.01)


def test_text_has_a_row_per_category_and_their_mean(part_bank: Path, tmp_path: Path) -> None:
    make_category(tmp_path / "cap")
    make_category(tmp_path / "lid", defects=("missing", "scratch"))
    arguments = ("eval", tmp_path, *FAST, "--bank", part_bank)
    records = fapm(*arguments, "--json").json
    assert [record["category"] for record in records] == ["cap", "lid"]
    result = fapm(*arguments)
    assert result.code == 0
    header, *rows = (line.split() for line in result.out.splitlines())
    assert header[:2] == ["category", "variant"]
    assert [row[:2] for row in rows] == [["cap", "E"], ["lid", "E"], ["mean", "E"]]
    for column, rate in enumerate(RATES, start=2):
        mean = 100 * (records[0][rate] + records[1][rate]) / 2
        assert float(rows[2][column]) == pytest.approx(mean, abs=0.0051)


@pytest.fixture
def beside(part: Path, part_bank: Path, tmp_path: Path) -> list[dict[str, Any]]:
    """Records of a category that the paper has, of one that it does not have, and of that again."""
    shutil.copytree(part, tmp_path / "bottle")
    options = ("--bank", part_bank, "--against", "paper", "--json")
    bottle = only(fapm("eval", tmp_path / "bottle", *FAST, *options))
    return [bottle, *(beside_paper({**bottle, "category": name}) for name in ("lid", "screw"))]


def test_the_papers_tables_stand_beside_what_is_measured(beside: list[dict[str, Any]]) -> None:
    bottle, lid, screw = beside
    methods = ["SPADE", "DifferNet", "PatchSVDD", "PaDiM", "CFlow", "PatchCore", "FAPM"]
    for record in beside:
        assert set(record) == FIELDS | {"paper", "paper_variant"}
        assert list(record["paper"]) == methods
        assert list(record["paper_variant"].values()) == [0.99, 0.98, 44.1]
        assert record["paper"]["FAPM"]["images_per_second"] == 44.1
    assert list(bottle["paper"]["PaDiM"].values()) == [None, 0.983, 4.4]
    assert {one["image_auroc"] for one in lid["paper"].values()} == {None}
    assert list(screw["paper"]["FAPM"].values()) == [0.952, 0.99, 44.1]


def test_tables_leave_blank_what_the_paper_does_not_have(
    beside: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    echo_figures("markdown", beside)
    printed = capsys.readouterr()
    header, _, bottle, lid, _, mean = (
        [cell.strip() for cell in line.split("|")[1:-1]] for line in printed.out.splitlines()
    )
    assert "Titan RTX" in printed.err
    assert header == [
        "category",
        "variant",
        "here",
        "FPS",
        *beside[0]["paper"],
        "Table 2",
        "its FPS",
    ]
    table_1 = ["98.1 / 98.4", "99.0 / -", "98.6 / 98.1", "- / 98.3"]
    table_1 += ["100.0 / 99.0", "100.0 / 98.6", "100.0 / 98.2"]
    table_2 = ["99.0 / 98.0", "44.1"]
    assert bottle[4:] == [*table_1, *table_2]
    assert lid[4:] == mean[4:] == [*[""] * 7, *table_2]
    echo_figures("csv", beside)
    rows = read_rows(capsys.readouterr().out)
    assert [row["paper.FAPM.image_auroc"] for row in rows] == ["1.0", "", "0.952"]


def test_one_category_has_no_mean_row(part: Path, part_bank: Path) -> None:
    assert len(fapm("eval", part, *FAST, "--bank", part_bank).out.splitlines()) == 2


def test_several_datasets_may_be_named(tmp_path: Path) -> None:
    one, two = make_category(tmp_path / "a" / "cap"), make_category(tmp_path / "b" / "lid")
    records = fapm("eval", two, one, *FAST, *SMALL, "--json").json
    assert [record["category"] for record in records] == ["lid", "cap"]


def test_stdout_of_the_program_is_data_alone(part: Path, part_bank: Path, program: str) -> None:
    command = [*shlex.split(program), "eval", str(part), "--bank", str(part_bank), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    only(Result(result.returncode, result.stdout, result.stderr))


@pytest.mark.parametrize(
    "formats", [("--json", "--csv"), ("--csv", "--markdown"), ("--json", "--csv", "--markdown")]
)
def test_two_formats_are_refused(formats: tuple[str, ...], part: Path) -> None:
    result = fapm("eval", part, *formats)
    assert_fails(result, *formats)
    assert result.out == ""


# --- Plots -------------------------------------------------------------------------------------


def test_plots_are_three_pictures(part: Path, part_bank: Path, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "plots"
    only(fapm("eval", part, *FAST, "--bank", part_bank, "--plots", folder, "--json"))
    files = sorted(folder.iterdir())
    assert [file.suffix for file in files] == [".png"] * 3
    for file in files:
        with Image.open(file) as image:
            image.load()
            assert min(image.size) > 300
        assert file.name.startswith(part.name)


def test_plots_show_the_banks_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    from fapm_cli.evaluation.metrics import image_curve
    from fapm_cli.evaluation.plots import draw_histogram, draw_roc

    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    scores, defective = np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True])
    draw_histogram(scores, defective, "part", 1.5)
    draw_roc(image_curve(scores, defective), "part", 1.5)
    histogram, roc = (figure.axes[0].lines[-1] for figure in figures)
    assert list(np.asarray(histogram.get_xdata())) == [1.5, 1.5]
    assert np.asarray(roc.get_xydata()).tolist() == [[0.5, 1.0]]
    for line in (histogram, roc):
        assert "bank's threshold, 1.5" in str(line.get_label())


def test_plots_of_good_pictures_alone_leave_out_the_roc(part_bank: Path, tmp_path: Path) -> None:
    root = make_category(tmp_path / "part", defects=())
    folder = tmp_path / "plots"
    only(fapm("eval", root, *FAST, "--bank", part_bank, "--plots", folder, "--json"))
    names = [file.stem.rsplit("_", 1)[1] for file in sorted(folder.iterdir())]
    assert names == ["scores", "worst"]


@pytest.mark.parametrize("name", ["a$b^$c", "Schürze_%"])
def test_plots_take_names_as_they_are(
    name: str, part: Path, part_bank: Path, tmp_path: Path
) -> None:
    root = tmp_path / name
    make_category(root)
    copy(part / "test" / "good" / "odd.jpg", root / "test" / "good" / f"{name}.jpg")
    folder = tmp_path / "plots"
    only(fapm("eval", root, *FAST, "--bank", part_bank, "--plots", folder, "--json"))
    assert len(list(folder.iterdir())) == 3


def test_categories_of_one_name_have_plots_of_their_own(part_bank: Path, tmp_path: Path) -> None:
    roots = [make_category(tmp_path / line / "cap") for line in ("left", "right")]
    folder = tmp_path / "plots"
    arguments = ("eval", *roots, *FAST, "--bank", part_bank, "--plots", folder)
    assert fapm(*arguments).code == 0
    names = [f"cap_E{number}_{kind}.png" for number in ("", "_2") for kind in ("roc", "scores")]
    assert {*names} < {file.name for file in folder.iterdir()}
    assert len(list(folder.iterdir())) == 6


# --- Layouts -----------------------------------------------------------------------------------


def test_good_pictures_may_lie_in_folders_called_ok(tmp_path: Path) -> None:
    btad = make_category(tmp_path / "01", ok="ok", defects=("stain",), mask="{}.png")
    mvtec = make_category(tmp_path / "02")
    first, second = (only(fapm("eval", one, *FAST, *SMALL, "--json")) for one in (btad, mvtec))
    assert (first["num_train"], first["num_test"], first["num_defective"]) == (4, 3, 1)
    assert first["pixel_auroc"] is not None
    names = {"category": "any"}
    assert without_times(first) | names == without_times(second) | names


def test_mask_is_resized_with_hard_edges_and_cropped_as_the_picture_is(
    tmp_path: Path, paper_bank: Path
) -> None:
    root = make_category(tmp_path / "part", defects=("scratch",))
    preprocessing = load_bank(paper_bank).config.preprocessing
    [defective] = [one for one in read_category(root).test if one.defect is not None]
    [mask_path] = defective.masks
    image = Image.new("L", (512, 512))
    image.paste(1, (64, 128, 448, 192))  # x 64 to 448, y 128 to 192; 1 counts as well as 255
    image.save(str(mask_path))
    mask = read_truth(defective, (512, 512), preprocessing)
    expected = np.zeros((224, 224), dtype=bool)
    expected[64 - 16 : 96 - 16, 32 - 16 : 224 - 16] = True
    assert (mask == expected).all()


def test_missing_masks_leave_pixel_figures_out_and_say_so(part_bank: Path, tmp_path: Path) -> None:
    root = make_category(tmp_path / "part", defects=("stain", "scratch"))
    shutil.rmtree(root / "ground_truth")
    arguments = ("eval", root, *FAST, "--bank", part_bank)
    result = fapm(*arguments, "--json")
    record = only(result)
    assert (record["pixel_auroc"], record["aupro"]) == (None, None)
    assert record["image_auroc"] is not None
    assert [line for line in result.err.splitlines() if "part" in line and "mask" in line]
    text = fapm(*arguments).out.splitlines()[1].split()
    assert text[3:5] == ["-", "-"]


def test_a_missing_mask_costs_that_picture_s_pixels_alone_and_names_it(
    part_bank: Path, tmp_path: Path
) -> None:
    root = make_category(tmp_path / "part", defects=("stain", "scratch"))
    (root / "ground_truth" / "stain" / "000_mask.png").unlink()
    result = fapm("eval", root, *FAST, "--bank", part_bank, "--json")
    record = only(result)
    assert "1 of 2 defective pictures" in result.err
    assert "stain/000.jpg" in result.err
    assert (record["num_test"], record["num_masked"]) == (4, 1)
    alone = make_category(tmp_path / "alone" / "part", defects=("scratch",))
    expected = only(fapm("eval", alone, *FAST, "--bank", part_bank, "--json"))
    for figure in ("pixel_auroc", "aupro"):
        assert record[figure] == pytest.approx(expected[figure], abs=1e-9)


def test_a_mask_of_another_size_is_an_error_of_that_picture_alone(
    part_bank: Path, tmp_path: Path
) -> None:
    root = make_category(tmp_path / "part", defects=("stain", "scratch"))
    mask = root / "ground_truth" / "stain" / "000_mask.png"
    with Image.open(mask) as image:
        image.resize((image.width // 2, image.height // 2)).save(mask)
    result = fapm("eval", root, *FAST, "--bank", part_bank, "--json")
    assert result.code == 2
    assert "stain/000_mask.png has 160×160 px" in result.err
    [record] = result.json
    assert (record["num_test"], record["num_masked"], record["num_failures"]) == (4, 1, 1)
    assert record["pixel_auroc"] > 0.8


def test_inverted_masks_are_warned_of(part_bank: Path, tmp_path: Path) -> None:
    root = make_category(tmp_path / "part", defects=("stain", "scratch"))
    arguments = ("eval", root, *FAST, "--bank", part_bank, "--json")
    assert "inverted" not in fapm(*arguments).err
    for mask in (root / "ground_truth").rglob("*.png"):
        with Image.open(mask) as image:
            Image.eval(image.convert("L"), lambda value: 255 - value).save(mask)
    result = fapm(*arguments)
    only(result)
    assert "2 of 2 masks mark more than half" in result.err


def test_pixels_outside_the_roi_count_in_no_figure(part: Path, tmp_path: Path) -> None:
    """A stain outside, which the bank may not see, would count as missed."""
    bank = load_bank(build(tmp_path / "whole.st", TRAIN, *SMALL))
    root = make_category(tmp_path / "part", defects=("stain",))
    [marked] = root.rglob("*_mask.png")
    size = bank.config.preprocessing.crop_px
    with Image.open(marked) as image:
        ys, _ = np.nonzero(np.asarray(image.convert("L").resize(size[::-1])))
        middle = (int(ys.min()) + int(ys.max())) // 2
        roi = Image.new("L", image.size)
        roi.paste(255, (0, 0, image.width, middle * image.height // size[0]))
    roi.save(tmp_path / "roi.png")
    limited = build(tmp_path / "limited.st", TRAIN, *SMALL, "--roi", tmp_path / "roi.png")
    result = fapm("eval", root, *FAST, "--bank", limited, "--json")
    record = only(result)
    share = record["inspected_share"]
    assert 0 < share < 1
    assert f"pixel figures are of the {share:.0%} of each picture" in result.err

    detector = Detector(load_bank(limited), plan=make_plan("cpu", "fp32"))
    inside = detector.roi
    assert inside is not None
    maps, masks = [], []
    for one in read_category(root).test:
        [judged] = judge(detector, [one.path])
        assert isinstance(judged, Judged)
        maps.append(judged.found.anomaly_maps[0][inside].numpy())
        mask = read_truth(one, judged.prepared.picture.size_px, bank.config.preprocessing)
        masks.append(mask[inside])
    expected = roc_auc_score(np.concatenate(masks), np.concatenate(maps))
    assert record["pixel_auroc"] == pytest.approx(expected, abs=1e-6)


def test_good_pictures_alone_have_no_figures(part_bank: Path, tmp_path: Path) -> None:
    root = make_category(tmp_path / "part", defects=())
    record = only(fapm("eval", root, *FAST, "--bank", part_bank, "--json"))
    assert (record["num_test"], record["num_defective"]) == (2, 0)
    assert all(record[rate] is None for rate in (*RATES, "f1_threshold"))


def test_no_good_test_pictures_are_an_error_that_says_what_is_there(tmp_path: Path) -> None:
    root = make_category(tmp_path / "part")
    (root / "test" / "good").rename(root / "test" / "fine")
    result = fapm("eval", root, *FAST, "--json")
    assert result.code == 2
    [record] = result.json
    assert set(record) == {"category", "error"}
    assert "fine, stain" in record["error"]
    assert "--good" in record["error"]


@pytest.mark.parametrize("name", ["Good", "OK", "normal", "ok", "fine"])
def test_good_folders_may_be_called_in_any_case_or_as_the_option_says(
    name: str, part_bank: Path, tmp_path: Path
) -> None:
    root = make_category(tmp_path / "part", ok=name)
    option = ("--good", "Fine") if name == "fine" else ()
    record = only(fapm("eval", root, *FAST, *option, "--bank", part_bank, "--json"))
    assert (record["num_test"], record["num_defective"]) == (3, 1)


def test_folders_that_are_no_category_are_passed_over(tmp_path: Path) -> None:
    cap = make_category(tmp_path / "cap")
    copy(GOOD[0], tmp_path / "notes" / "readme.jpg")
    (tmp_path / "license.txt").write_text("free")
    assert [one.name for one in find_categories(tmp_path)] == [cap.name]


def test_what_is_left_out_of_a_dataset_is_said(part_bank: Path, tmp_path: Path) -> None:
    make_category(tmp_path / "set" / "cap")
    copy(GOOD[0], tmp_path / "set" / "notes" / "readme.jpg")
    result = fapm("eval", tmp_path / "set", *FAST, "--bank", part_bank, "--json")
    assert only(result)["num_test"] == 3
    assert f"note: 1 folder in {tmp_path / 'set'}, no category: left out: notes\n" in result.err


@pytest.mark.parametrize("place", ["set/line", "set/cap/train/line", "set/cap/test/line"])
def test_a_broken_link_is_an_error_wherever_it_lies(
    place: str, part_bank: Path, tmp_path: Path
) -> None:
    make_category(tmp_path / "set" / "cap")
    (tmp_path / place).symlink_to("/nowhere")
    result = fapm("eval", tmp_path / "set", *FAST, "--bank", part_bank, "--json")
    assert result.code == 2
    assert f"link {tmp_path / place} can't be followed" in result.err
    record, *error = result.json
    assert (record["num_test"], record["num_failures"] + len(error)) == (3, 1)


@pytest.mark.parametrize("layout", ["mvtec", "btad", "mpdd"])
def test_the_layout_that_is_named_is_read(layout: str, part_bank: Path, tmp_path: Path) -> None:
    root = make_category(tmp_path / "cap")
    arguments = ("eval", root, *FAST, "--bank", part_bank, "--json", "--layout")
    assert only(fapm(*arguments, layout))["num_test"] == 3
    assert_fails(fapm(*arguments, "visa"), "not in the layout visa")
    assert_fails(fapm(*arguments, "coco"), "use one of table, visa")


def test_hidden_folders_hold_no_test_pictures(tmp_path: Path) -> None:
    root = make_category(tmp_path / "part")
    copy(GOOD[7], root / "test" / ".ipynb_checkpoints" / "000-checkpoint.jpg")
    assert {one.defect for one in read_category(root).test} == {None, "stain"}
    (root / "test" / ".empty").mkdir()
    assert len(read_category(root).test) == 3


def test_mask_suffix_may_be_in_capitals_as_a_picture_s_may(tmp_path: Path) -> None:
    root = make_category(tmp_path / "part", mask="{}_mask.PNG")
    assert not read_category(root).unmarked


def test_pictures_of_one_name_in_deeper_folders_have_masks_of_their_own(tmp_path: Path) -> None:
    root = make_category(tmp_path / "part", defects=())
    for camera, source in (("left", "000"), ("right", "001")):
        picture = SAMPLES / "test" / "stain" / f"{source}.jpg"
        copy(picture, root / "test" / "stain" / camera / "000.jpg")
        mask = SAMPLES / "ground_truth" / "stain" / f"{source}_mask.png"
        copy(mask, root / "ground_truth" / "stain" / camera / "000_mask.png")
    masks = [one.masks for one in read_category(root).defective]
    folder = root / "ground_truth" / "stain"
    assert masks == [(folder / "left" / "000_mask.png",), (folder / "right" / "000_mask.png",)]


def test_pictures_that_lie_in_test_itself_are_counted_and_named(
    part_bank: Path, tmp_path: Path
) -> None:
    root = make_category(tmp_path / "part")
    copy(GOOD[7], root / "test" / "stray.jpg")
    result = fapm("eval", root, *FAST, "--bank", part_bank, "--json")
    assert only(result)["num_test"] == 3
    [line] = [line for line in result.err.splitlines() if "stray.jpg" in line]
    assert line.startswith("note: part: 1 picture in ")


def test_logical_and_structural_anomalies_have_figures_apart(
    part_bank: Path, tmp_path: Path
) -> None:
    """As if each had been the only kind; columns are there for such sets alone."""
    root = make_category(tmp_path / "part", defects=("missing", "scratch"))
    kinds = {"logical": "missing", "structural": "scratch"}
    for kind, defect in kinds.items():
        (root / "test" / defect).rename(root / "test" / f"{kind}_anomalies")
        truth = root / "ground_truth" / f"{kind}_anomalies" / "000"
        copy(root / "ground_truth" / defect / "000_mask.png", truth / "000.png")
        shutil.rmtree(root / "ground_truth" / defect)
    arguments = ("eval", root, *FAST, "--bank", part_bank)
    record = only(fapm(*arguments, "--json"))
    for kind, defect in kinds.items():
        alone = make_category(tmp_path / kind / "part", defects=(defect,))
        expected = only(fapm("eval", alone, *FAST, "--bank", part_bank, "--json"))
        for figure in ("image_auroc", "pixel_auroc", "aupro"):
            assert record[f"{kind}_{figure}"] == pytest.approx(expected[figure], abs=1e-9)
        assert not any(name.startswith(kind) for name in expected)
    header, row = fapm(*arguments).out.splitlines()
    assert header.endswith("structural AUROC  structural pixel  structural AUPRO")
    assert row.split()[-1] == f"{100 * record['structural_aupro']:.2f}"
    [csv_row] = read_rows(fapm(*arguments, "--csv").out)
    assert float(csv_row["logical_aupro"]) == pytest.approx(record["logical_aupro"])


def test_a_table_is_judged_by_a_bank_and_learnt_from_where_it_has_a_split(
    part_bank: Path, tmp_path: Path
) -> None:
    root = make_category(tmp_path / "part")
    tests = ["part/test/good/000.jpg,good,", "part/test/good/001.jpg,OK,"]
    tests += ["part/test/stain/000.jpg,stain,part/ground_truth/stain/000_mask.png"]
    table = tmp_path / "parts.csv"
    table.write_text("\n".join(("path,label,mask", *tests)))
    whole = only(fapm("eval", root, *FAST, "--bank", part_bank, "--json"))
    listed = only(fapm("eval", table, *FAST, "--bank", part_bank, "--json"))
    assert listed["category"] == "parts"
    names = {"category": "any"}
    assert without_times(listed) | names == without_times(whole) | names
    unsplit = fapm("eval", table, *FAST)
    assert unsplit.code == 2
    assert "--bank" in unsplit.err
    learnt = [f"part/train/good/{one.name},good,,train" for one in TRAIN[:4]]
    table.write_text("\n".join(("path,label,mask,split", *learnt, *(f"{t},test" for t in tests))))
    assert only(fapm("eval", table, *FAST, *SMALL, "--json"))["num_train"] == 4


# --- Failures ----------------------------------------------------------------------------------


def make_unreadable(root: Path) -> None:
    (root / "test" / "good" / "bad.png").write_text("no picture")


def make_all_unreadable(root: Path) -> None:
    for file in (root / "test").rglob("*.jpg"):
        file.write_text("no picture")


def make_without_test(root: Path) -> None:
    shutil.rmtree(root / "test")


def make_unreadable_train(root: Path) -> None:
    (root / "train" / "good" / "bad.png").write_text("no picture")


def make_unreadable_mask(root: Path) -> None:
    (root / "ground_truth" / "stain" / "000_mask.png").write_bytes(b"")


def make_empty_defect(root: Path) -> None:
    (root / "test" / "dent").mkdir()
    (root / "test" / "dent" / "notes.txt").write_text("none yet")


def make_empty_good(root: Path) -> None:
    for file in (root / "test" / "good").iterdir():
        file.unlink()


def make_empty_mask_folder(root: Path) -> None:
    (root / "ground_truth" / "stain" / "000_mask.png").unlink()
    (root / "ground_truth" / "stain" / "000").mkdir()


def make_without_train(root: Path) -> None:
    for file in (root / "train" / "good").iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (make_unreadable, "bad.png"),
        (make_unreadable_train, "bad.png"),
        (make_unreadable_mask, "000_mask.png"),
        (make_empty_defect, "dent holds no picture"),
        (make_empty_mask_folder, "000 holds no picture"),
    ],
)
def test_what_cannot_be_read_is_named_and_left_out_and_the_figures_stand(
    spoil: Any, words: str, two_kinds: dict[str, Any], tmp_path: Path
) -> None:
    root = make_category(tmp_path / "cap", defects=("stain", "scratch"))
    spoil(root)
    scores = tmp_path / "scores.csv"
    options = (*SMALL, "--variants", "D,E", "--json", "--scores", scores)
    result = fapm("eval", root, *FAST, *options)
    assert result.code == 2
    [error] = [line for line in result.err.splitlines() if line.startswith("fapm: ")]
    assert error.startswith("fapm: cap: ")
    assert words in error
    record = result.json[1]
    assert record["image_auroc"] == pytest.approx(two_kinds["image_auroc"], abs=1e-9)
    assert (record["num_test"], record["num_defective"]) == (4, 2)
    assert record["pixel_auroc"] is not None
    of = [line for line in result.err.splitlines() if "figures are of" in line]
    assert of == (
        ["note: cap: figures are of 4 of 5 test pictures"] if spoil is make_unreadable else []
    )
    assert len(read_rows(scores.read_text())) == 8


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (make_all_unreadable, ".jpg"),
        (make_without_test, "test"),
        (make_without_train, "good"),
        (make_empty_good, "test/good holds no picture"),
    ],
)
def test_category_that_fails_leaves_the_other(spoil: Any, words: str, tmp_path: Path) -> None:
    spoil(make_category(tmp_path / "cap"))
    make_category(tmp_path / "lid")
    result = fapm("eval", tmp_path, *FAST, *SMALL, "--json", "--scores", tmp_path / "scores.csv")
    assert result.code == 2
    cap, lid = result.json
    assert set(cap) == {"category", "error"}
    assert cap["category"] == "cap"
    assert words in cap["error"]
    assert set(lid) == FIELDS
    errors = [line for line in result.err.splitlines() if line.startswith("fapm: ")]
    assert len(errors) == 1
    assert "cap" in errors[0]
    rows = read_rows((tmp_path / "scores.csv").read_text())
    assert {row["category"] for row in rows} == {"lid"}


def test_category_that_fails_is_a_row_of_the_csv_too(tmp_path: Path) -> None:
    make_all_unreadable(make_category(tmp_path / "cap"))
    make_category(tmp_path / "lid")
    result = fapm("eval", tmp_path, *FAST, *SMALL, "--csv")
    assert result.code == 2
    cap, lid = read_rows(result.out)
    assert (cap["category"], cap["image_auroc"]) == ("cap", "")
    assert ".jpg" in cap["error"]
    assert (lid["category"], lid["error"]) == ("lid", "")


def test_category_that_fails_is_named_where_it_is_the_folder_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_category(tmp_path / "cap")
    make_without_test(root)
    monkeypatch.chdir(root)
    [record] = fapm("eval", ".", *FAST, "--json").json
    assert record["category"] == "cap"


@pytest.mark.parametrize("kind", ["empty", "missing", "file", "test_only"])
def test_what_is_no_dataset_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "thing"
    if kind == "empty":
        target.mkdir()
    elif kind == "file":
        copy(GOOD[0], target)
    elif kind == "test_only":
        copy(GOOD[0], target / "test" / "good" / "000.jpg")
    result = fapm("eval", target, "--json")
    assert_fails(result, str(target), "train/good")
    assert result.out == ""


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--variants", "X"), "X"),
        (("--variants", "E,"), "variant"),
        (("--against", "patchcore"), "'patchcore'"),
        (("--backbone", "nonesuch"), "nonesuch"),
        (("--sigma", "-1"), "sigma"),
        (("--bank", "nowhere/bank.st"), "nowhere"),
    ],
)
def test_option_that_makes_no_sense_is_refused_once_and_not_per_category(
    options: tuple[str, ...], word: str, tmp_path: Path
) -> None:
    make_category(tmp_path / "cap")
    make_category(tmp_path / "lid")
    result = fapm("eval", tmp_path, "--json", *options)
    assert_fails(result, word)
    assert result.out == ""


@pytest.mark.parametrize("option", ["--scores", "--plots"])
def test_output_that_cannot_be_written_is_refused_before_the_work(
    option: str, part: Path, part_bank: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file" / "deeper"
    assert_fails(fapm("eval", part, "--bank", part_bank, option, target), str(tmp_path / "file"))


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
@pytest.mark.parametrize("option", ["--scores", "--plots"])
def test_picture_whose_name_is_no_unicode_is_scored_and_plotted(
    option: str, part_bank: Path, tmp_path: Path
) -> None:
    root = make_category(tmp_path / "part")
    odd = os.fsdecode(b"odd\xff.jpg")
    try:
        copy(GOOD[7], root / "test" / "good" / odd)
    except OSError:
        pytest.skip("this disk wants names in Unicode")
    target = tmp_path / "target"
    only(fapm("eval", root, *FAST, "--bank", part_bank, option, target, "--json"))
    if option == "--scores":
        assert target.read_bytes().count(b"\n") == 5
    else:
        assert len(list(target.iterdir())) == 3
