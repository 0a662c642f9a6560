"""An operator's decisions: on disk with their pictures, and taken by `calibrate` and `add`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ONE_BAD, ONE_GOOD, SAMPLES, assert_fails, fapm
from servers import JSON, Server, serving

from fapm_cli.bank.file import load_bank
from fapm_cli.finding.labels import read_labels
from fapm_cli.serving.keeping import append_line

GOOD_PARTS = sorted((SAMPLES / "test" / "good").glob("*.jpg"))
STAINED = sorted((SAMPLES / "test" / "stain").glob("*.jpg"))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def server(bank: Path, kept: Path) -> Iterator[Server]:
    with serving({"bank": bank}, keep=kept, keep_last=4) as running:
        yield running


def decide(server: Server, address: str, decision: str) -> int:
    return server.ask(f"{address}/decision", json.dumps({"decision": decision}), JSON).status


def judged(server: Server, picture: Path) -> str:
    return server.score(picture).headers["Location"]


def test_calibrate_and_add_take_what_was_decided(
    server: Server, kept: Path, bank: Path, tmp_path: Path
) -> None:
    for pictures, decision in ((GOOD_PARTS, "good"), (STAINED, "defect"), ([ONE_BAD], "unsure")):
        for picture in pictures:
            assert decide(server, judged(server, picture), decision) == 200
    labels = kept / "bank" / "decisions.jsonl"
    by_labels, by_paths = tmp_path / "labels.st", tmp_path / "paths.st"
    done = fapm("calibrate", bank, "--labels", labels, "--allow-few", "-o", by_labels)
    counted = f"{len(GOOD_PARTS)} good, {len(STAINED)} defective, 1 left out, not sure"
    assert (done.code, counted in done.err) == (0, True), done
    bad = [word for path in STAINED for word in ("--bad", path)]
    assert fapm("calibrate", bank, *GOOD_PARTS, *bad, "--allow-few", "-o", by_paths).code == 0
    assert load_bank(by_labels).thresholds == load_bank(by_paths).thresholds
    done = fapm("add", bank, "--labels", labels, "-o", by_labels, "--json")
    assert (done.code, done.json["pictures"]) == (0, 12 + len(GOOD_PARTS)), done


def test_a_decision_outlives_the_picture_and_the_last_one_holds(server: Server, kept: Path) -> None:
    address = judged(server, ONE_GOOD)
    assert [decide(server, address, one) for one in ("good", "defect")] == [200, 200]
    assert server.ask(address).json["decision"] == "defect"
    for _ in range(5):
        server.score(ONE_BAD)
    assert decide(server, address, "good") == 404
    (picture,) = read_labels(kept / "bank" / "decisions.jsonl").defect
    assert picture.read_bytes() == ONE_GOOD.read_bytes()
    assert len(list((kept / "bank" / "last").iterdir())) == 4


@pytest.mark.parametrize("body", ["{}", "[]", "", '{"decision": "great"}', '{"decision": null}'])
def test_what_is_no_decision_is_refused(server: Server, kept: Path, body: str) -> None:
    address = judged(server, ONE_GOOD)
    assert server.ask(f"{address}/decision", body, JSON).status in (400, 409)
    assert not (kept / "bank" / "decisions.jsonl").exists()


def test_without_a_folder_to_keep_them_no_decision_is_taken(bank: Path) -> None:
    with serving({"bank": bank}) as server:
        assert decide(server, judged(server, ONE_GOOD), "good") == 409
        assert server.ask("/banks").json["decisions"] is False


def test_a_new_start_goes_on_in_the_same_file(bank: Path, kept: Path) -> None:
    for _ in range(2):
        with serving({"bank": bank}, keep=kept) as server:
            assert decide(server, judged(server, ONE_GOOD), "good") == 200
    assert len(read_labels(kept / "bank" / "decisions.jsonl").good) == 2
    assert len(list((kept / "bank" / "last").iterdir())) == 1  # the last run's


def test_a_line_that_a_crash_tore_is_cut_before_the_next(tmp_path: Path) -> None:
    file = tmp_path / "decisions.jsonl"
    append_line(file, '{"path": "a.png", "decision": "good"}')
    with file.open("a") as torn:
        torn.write('{"path": "b.png", "dec')
    assert len(read_labels(file).good) == 1
    append_line(file, '{"path": "c.png", "decision": "good"}')
    assert read_labels(file).good == [tmp_path / "a.png", tmp_path / "c.png"]


@pytest.mark.parametrize(
    "line",
    [
        "x",
        "[]",
        '{"path": "a.png"}',
        '{"path": 1, "decision": "good"}',
        '{"path": "", "decision": "good"}',
        '{"path": "a", "decision": ["good"]}',
        '{"path": "a\\u0000", "decision": "good"}',
    ],
)
def test_a_line_that_is_no_decision_is_named(line: str, bank: Path, tmp_path: Path) -> None:
    file = tmp_path / "decisions.jsonl"
    file.write_text('{"path": "a.png", "decision": "good"}\n' + line + "\n")
    assert_fails(fapm("calibrate", bank, "--labels", file), "line 2 is no decision")


def test_labels_that_are_not_there_or_name_nothing_are_told(bank: Path, tmp_path: Path) -> None:
    assert_fails(fapm("add", bank, "--labels", tmp_path / "none"), "none", "can't be read")
    assert_fails(fapm("add", bank), "nothing to add", "--labels")
    file = tmp_path / "decisions.jsonl"
    file.write_text('{"path": "a.png", "decision": "unsure"}\n')
    done = fapm("add", bank, "--labels", file)
    assert (done.code, "nothing to add" in done.err.splitlines()[-1]) == (2, True)
