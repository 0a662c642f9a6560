"""``fapm drift`` and ``fapm score --drift``: what they say of logs, and how they fail."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOOD, ONE_GOOD, ROOT, assert_fails, fapm
from jsonschema import Draft202012Validator
from PIL import Image

from fapm_cli.finding.kinds import A_DRAWING, kind_of

SCHEMA = Draft202012Validator(json.loads((ROOT / "docs" / "score.schema.json").read_text()))


def log_of(folder: Path, number: int, brighter_from: int = 10**9, **more: Any) -> Path:
    """A log of pictures, from one on brighter ones."""
    rng, path = random.Random(0), folder / "line.jsonl"
    with path.open("w") as file:
        for n in range(1, number + 1):
            measures = {
                "brightness": rng.gauss(100, 2) * (1.15 if n >= brighter_from else 1),
                "sharpness": rng.gauss(0.3, 0.02),
                "x": rng.gauss(0.5, 0.01),
                "y": rng.gauss(0.5, 0.01),
            }
            record = {"path": f"inbox/{n:04}.png", "score": 1.0, "p_value": rng.random()}
            file.write(json.dumps(record | {"measures": measures} | more) + "\n")
    return path


def test_a_calm_log_has_no_alarm(tmp_path: Path) -> None:
    result = fapm("drift", log_of(tmp_path, 100))
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("no alarm in 100 pictures; evidence at most ")
    assert len(result.out.splitlines()) == 1


def test_a_change_is_told_with_its_cause_and_the_picture_it_began_with(tmp_path: Path) -> None:
    log = log_of(tmp_path, 200, brighter_from=101)
    result = fapm("drift", log)
    assert (result.code, result.err) == (1, "")
    head, change = result.out.splitlines()
    assert head == "alarm: light, of 200 pictures"
    found = re.fullmatch(
        r"  brighter since picture (\d+) \(inbox/(\d+)\.png\), noticed at (\d+): "
        r"brightness (\d+\.?\d*) → (\d+\.?\d*)",
        change,
    )
    assert found is not None
    since, name, noticed, before, after = map(float, found.groups())
    assert since == name
    assert 85 <= since <= 105 < noticed < 150
    assert (before, after) == pytest.approx((100, 115), abs=1)


def test_json_and_csv_say_the_same(tmp_path: Path) -> None:
    log = log_of(tmp_path, 200, brighter_from=101)
    told = fapm("drift", log, "--json").json
    assert (told["alarm"], told["cause"], told["pictures"]) == (True, "light", 200)
    (change,) = told["changes"]
    assert (change["measure"], change["rose"]) == ("brightness", True)
    assert change["path"] == f"inbox/{change['since']:04}.png"
    assert change["after"] / change["before"] == pytest.approx(1.15, abs=0.01)
    assert told["most_evidence"]["brightness"] >= 1 > told["most_evidence"]["x"]
    (row,) = csv.DictReader(io.StringIO(fapm("drift", log, "--format", "csv").out))
    assert (row["alarm"], row["cause"]) == ("True", "light")
    assert json.loads(row["changes"]) == told["changes"]
    assert fapm("drift", log, "--format", "jsonl").json == told


def test_logs_follow_one_another_and_stdin_is_one(tmp_path: Path) -> None:
    log = log_of(tmp_path, 200, brighter_from=101)
    lines = log.read_text().splitlines(keepends=True)
    (tmp_path / "one").write_text("".join(lines[:120]))
    (tmp_path / "other").write_text("".join(lines[120:]))
    whole = fapm("drift", log).out
    assert fapm("drift", tmp_path / "one", tmp_path / "other").out == whole
    assert fapm("drift", tmp_path / "one", "-", stdin="".join(lines[120:])).out == whole
    assert fapm("drift", tmp_path / "other", tmp_path / "one").out != whole


def test_what_a_log_does_not_tell_is_noted(tmp_path: Path) -> None:
    result = fapm("drift", log_of(tmp_path, 30, measures={}))
    assert result.code == 0
    assert result.err == "note: the log does not tell of light, focus, position\n"


def test_a_smaller_alpha_asks_for_more_evidence(tmp_path: Path) -> None:
    log = log_of(tmp_path, 200, brighter_from=101)
    usual, strict = (fapm("drift", log, "--alpha", a, "--json").json for a in (0.01, 1e-6))
    assert usual["changes"][0]["noticed"] < strict["changes"][0]["noticed"]
    assert strict["alpha"] == 1e-6


def test_the_course_is_drawn_and_replaces_but_a_drawing(tmp_path: Path) -> None:
    log, plot = log_of(tmp_path, 200, brighter_from=101), tmp_path / "course.png"
    for _ in range(2):
        assert fapm("drift", log, "--plot", plot).code == 1
        assert kind_of(plot) == A_DRAWING
    drawn = np.array(Image.open(plot).convert("RGB"))
    assert drawn.min() < 50
    before = ONE_GOOD.read_bytes()
    assert_fails(fapm("drift", log, "--plot", ONE_GOOD), "is a picture")
    assert ONE_GOOD.read_bytes() == before
    assert_fails(fapm("drift", log, "--plot", tmp_path / "no" / "a.png"), "does not exist")


def test_what_is_no_log_is_refused(tmp_path: Path, bank: Path) -> None:
    log = log_of(tmp_path, 5)
    assert_fails(fapm("drift", tmp_path / "none"), "none can't be read")
    assert_fails(fapm("drift", tmp_path), "can't be read")
    assert_fails(fapm("drift", bank), "line 1 is no record of fapm score")
    assert_fails(fapm("drift", ONE_GOOD), "line 1 is no record of fapm score")
    (tmp_path / "empty").write_text("")
    assert_fails(fapm("drift", tmp_path / "empty"), "has no picture that was judged")
    assert_fails(fapm("drift", log, "--alpha", 0), "alpha 0.0: wanted a share")
    assert_fails(fapm("drift", log, "--bank", tmp_path / "none.st"), "does not exist")
    assert_fails(fapm("drift", log, "--format", "xml"), "format 'xml'")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good pictures that get 15 % brighter."""
    folder = tmp_path_factory.mktemp("line")
    for n in range(50):
        levels = np.asarray(Image.open(GOOD[12 + n % 8]), np.float32) * (1.15 if n >= 4 else 1)
        pixels = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{n:03}.png")
    return folder


def test_score_says_so_as_pictures_come(line: Path, bank: Path, tmp_path: Path) -> None:
    (line / "0005.png").write_bytes(b"no picture")
    try:
        result = fapm("score", bank, line, "--drift", "--json", "--exit-zero")
    finally:
        (line / "0005.png").unlink()
    states = [record.get("drift") for record in result.json]
    assert sum(state is None for state in states) == 1  # of what can't be read
    known = [state for state in states if state]
    alarms = [state["alarm"] for state in known]
    assert alarms == sorted(alarms)
    assert (alarms[0], alarms[-1]) == (False, True)
    assert known[-1]["cause"] == "light"
    notes = [one for one in result.err.splitlines() if "drift" in one]
    assert len(notes) == 1
    assert "pictures are brighter since picture" in notes[0]
    assert f"noticed at picture {alarms.index(True) + 1}: look at the light" in notes[0]
    SCHEMA.validate(result.json)
    plain = fapm("score", bank, line, "--json", "--exit-zero")
    assert all("drift" not in record for record in plain.json)
    # The log tells the same.
    log = tmp_path / "line.jsonl"
    log.write_text("".join(f"{json.dumps(record)}\n" for record in plain.json))
    told = fapm("drift", log, "--bank", bank, "--json").json
    assert told["changes"][0]["noticed"] == alarms.index(True) + 1
    assert told["reference"] == 12
    assert "and 12 parts of the bank" in fapm("drift", log, "--bank", bank).out
    assert fapm("drift", log).code == 0  # 4 pictures alone are too few to tell


def test_csv_says_whether_there_is_an_alarm(line: Path, bank: Path) -> None:
    out = fapm("score", bank, line, "--drift", "--format", "csv", "--exit-zero").out
    rows = [*csv.DictReader(io.StringIO(out))]
    assert [rows[0]["drift"], rows[-1]["drift"]] == ["False", "True"]
    assert float(rows[0]["brightness"]) < float(rows[-1]["brightness"])
