"""Parts and their shots: what counts once, in every command that makes or calibrates a bank."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import GOOD, assert_fails, fapm
from helpers import small_bank, version_1_bytes
from parts import take_shots
from PIL import Image

from fapm_cli.bank.bank import Bank
from fapm_cli.bank.file import bank_bytes, load_bank, save_bank
from fapm_cli.bank.nominal_pictures import NominalPicture, scores_of_groups
from fapm_cli.bank.presets import default_config
from fapm_cli.detection.detector import Detector
from fapm_cli.learning.batches import NominalBatch
from fapm_cli.learning.build import build_bank
from fapm_cli.network.loading import load_extractor
from fapm_cli.scores.calibration import mean_of_groups
from fapm_cli.scores.suspects import find_suspects

SMALL = ("--size", "96")


def built(pictures: torch.Tensor, parts: list[str] | None = None) -> Bank:
    config = default_config(size_px=(128, 128))
    names = [f"{i}.png" for i in range(len(pictures))]
    batch = NominalBatch(pictures, names, [f"{i:064x}" for i in range(1, len(names) + 1)], parts)
    return build_bank([batch], len(names), config, load_extractor(config))


@pytest.mark.parametrize(("parts", "shots"), [(6, 5), (10, 3), (30, 1)])
def test_the_promise_of_false_alarms_holds_for_fresh_parts(parts: int, shots: int) -> None:
    bank = built(take_shots(range(parts), shots))
    assert bank.num_groups == bank.thresholds.num_pictures == parts
    fresh = take_shots(range(1000, 1200), 1)
    detector = Detector(bank)
    scores = torch.cat([detector.detect(some).image_scores for some in torch.split(fresh, 20)])
    false_alarms = float((scores > bank.thresholds.score).float().mean())
    assert false_alarms <= bank.thresholds.at_most


def test_of_a_part_the_largest_score_counts() -> None:
    rows = [(0.5, 1.0, 0), (0.2, 3.0, 1), (0.7, 0.1, 0), (0.3, 0.2, 2), (0.1, 0.5, 1)]
    pictures = [NominalPicture("n", "", "", score, peak, part) for score, peak, part in rows]
    assert scores_of_groups(pictures) == ([0.7, 0.2, 0.3], [1.0, 3.0, 0.2])


def test_ten_shots_of_a_part_say_what_one_does_of_its_places() -> None:
    responses = torch.rand(4, 2, 3, generator=torch.Generator().manual_seed(0))
    groups = torch.tensor([0, 1, 1, 2])
    expected = torch.stack([responses[0], (responses[1] + responses[2]) / 2, responses[3]])
    assert torch.equal(mean_of_groups(responses, groups), expected)
    assert torch.equal(mean_of_groups(responses, torch.arange(4)), responses)


def test_what_is_usual_is_told_by_parts() -> None:
    # Most pictures are of one part, which is the odd one.
    spots = [1.0, 1.1, 0.9, 1.05, 0.95, 1.02] + [3.0] * 20
    groups = [*range(6), *[6] * 20]
    found = find_suspects(spots, [1.0] * 26, groups)
    assert sorted(number for number, _ in found) == list(range(6, 26))


def test_where_most_pictures_are_the_same_no_other_is_a_million_sigma_off() -> None:
    found = find_suspects([1.0] * 10 + [1.05, 2.0], [1.0] * 12)
    assert [number for number, _ in found] == [11]
    assert found[0][1] < 100


def test_shots_of_one_part_alone_still_make_a_bank() -> None:
    shots = take_shots(range(1), 3)
    bank = built(shots, ["part"] * 3)
    assert bank.num_groups == bank.thresholds.num_pictures == 1
    detector = Detector(bank)
    assert float(detector.detect(shots[:1]).image_scores[0]) < bank.thresholds.score


# --- The commands ------------------------------------------------------------------------------


def save_shots(folder: Path, numbers: range, shots: int) -> Path:
    folder.mkdir(exist_ok=True)
    for i, shot in enumerate(take_shots(numbers, shots)):
        name = f"part{numbers[i // shots]:03}_{i % shots}.png"
        Image.fromarray(shot.numpy()).save(folder / name)
    return folder


def parts_of_suspects(patch: pytest.MonkeyPatch, module: str) -> list[Sequence[int] | None]:
    """The parts by which each search for suspects tells what is usual."""
    asked: list[Sequence[int] | None] = []

    def find(
        spots: Sequence[float], levels: Sequence[float], groups: Sequence[int] | None = None
    ) -> list[tuple[int, float]]:
        asked.append(groups)
        return find_suspects(spots, levels, groups)

    patch.setattr(f"fapm_cli.{module}.find_suspects", find)
    return asked


def alike(bank: Path) -> str:
    """Tells banks that are the same, but for what undoes the last change."""
    same = bank_bytes(replace(load_bank(bank), previous_thresholds=None))
    return hashlib.sha256(same).hexdigest()


def groups_in(bank: Path) -> list[int]:
    return [picture.group for picture in load_bank(bank).pictures]


def test_build_says_which_pictures_are_twins_and_what_n_counts_as(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shots, bank = save_shots(tmp_path / "shots", range(6), 3), tmp_path / "bank.st"
    asked = parts_of_suspects(monkeypatch, "learning.learn")
    result = fapm("build", shots, "-o", bank, "--json", *SMALL)
    assert result.code == 0
    assert "12 of 18 pictures are nearly the same as another (part000_1.png, " in result.err
    assert "N counts as 6" in result.err
    assert "--group" in result.err
    assert (result.json["pictures"], result.json["groups"]) == (18, 6)
    assert result.json["thresholds"]["num_pictures"] == 6
    assert asked == [groups_in(bank)] == [[i // 3 for i in range(18)]]
    assert json.loads(fapm("info", bank, "--json").out)["pictures"][4]["group"] == 1
    assert fapm("score", bank, GOOD[0], "--json").json[0]["p_value"] == 1 / 7  # no part reaches it
    text = fapm("build", shots, "-o", bank, *SMALL).out
    assert "pictures  18 of 6 parts\n" in text
    assert " 18 of 6 parts, part000_0.png to " in fapm("info", bank).out


@pytest.mark.parametrize("pattern", [r"part(\d+)", r"part\d+", "^([^_]*)_"])
def test_a_pattern_names_the_part_in_a_pictures_name(tmp_path: Path, pattern: str) -> None:
    shots = save_shots(tmp_path / "shots", range(3), 2)
    result = fapm("build", shots, "-o", tmp_path / "bank.st", "--group", pattern, *SMALL)
    assert (result.code, "nearly the same" in result.err) == (0, False)
    assert groups_in(tmp_path / "bank.st") == [0, 0, 1, 1, 2, 2]


def test_what_group_says_replaces_the_search_for_twins(tmp_path: Path) -> None:
    shots = save_shots(tmp_path / "shots", range(3), 2)
    assert fapm("build", shots, "-o", tmp_path / "bank.st", "--group", ".*", *SMALL).code == 0
    assert groups_in(tmp_path / "bank.st") == list(range(6))


def test_a_folder_may_name_the_part(tmp_path: Path) -> None:
    folders = [save_shots(tmp_path / name, range(i, i + 2), 1) for i, name in enumerate("ab")]
    result = fapm("build", *folders, "-o", tmp_path / "bank.st", "--group", "folder", *SMALL)
    assert result.code == 0
    assert groups_in(tmp_path / "bank.st") == [0, 0, 1]  # the part that both show is a copy


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(", "regular expression"),
        (r"(\d{5})", "finds no part"),
        ("x*", "finds an empty part"),
        ("part(x?)", "finds an empty part"),
    ],
)
def test_a_pattern_that_is_none_or_finds_no_part_is_told(
    tmp_path: Path, pattern: str, words: str
) -> None:
    shots = save_shots(tmp_path / "shots", range(2), 1)
    result = fapm("build", shots, "-o", tmp_path / "bank.st", "--group", pattern, *SMALL)
    assert_fails(result, "--group", words)
    assert not (tmp_path / "bank.st").exists()


def test_add_and_merge_find_twins_of_what_banks_hold(tmp_path: Path) -> None:
    first, second = tmp_path / "1.st", tmp_path / "2.st"
    all_shots = save_shots(tmp_path / "shots", range(6), 2)
    for bank, shot in ((first, 0), (second, 1)):
        assert fapm("build", *all_shots.glob(f"*_{shot}.png"), "-o", bank, *SMALL).code == 0
        assert load_bank(bank).num_groups == 6
    merged = fapm("merge", first, second, "-o", tmp_path / "merged.st")
    added = fapm("add", first, *all_shots.glob("*_1.png"), "-o", tmp_path / "added.st")
    for result, name in ((merged, "merged.st"), (added, "added.st")):
        assert result.code == 0
        assert "6 of 12 pictures are nearly the same as another" in result.err
        assert load_bank(tmp_path / name).thresholds.num_pictures == 6


@pytest.mark.parametrize("pattern", ["folder", r"^[^/]*"])
def test_later_shots_of_a_part_that_names_tell_are_of_that_part(
    pattern: str, tmp_path: Path
) -> None:
    days = [tmp_path / f"day{day}" for day in range(2)]
    for number in range(4):
        for shot in (tmp_path / "shots").glob("*"):
            shot.unlink()
        for shot in sorted(save_shots(tmp_path / "shots", range(number, number + 1), 3).iterdir()):
            folder = days[shot.stem[-1] == "2"] / f"part{number}"
            folder.mkdir(parents=True, exist_ok=True)
            shot.rename(folder / shot.name)
    banks = [tmp_path / f"{name}.st" for name in ("0", "1", "added", "merged", "at_once")]
    for day, bank in zip(days, banks, strict=False):
        assert fapm("build", day, "-o", bank, "--group", pattern, *SMALL).code == 0
        assert load_bank(bank).num_groups == 4
    *of_days, added, merged, at_once = banks
    result = fapm("add", of_days[0], days[1], "-o", added, "--group", pattern)
    assert "4 of 4 new pictures show parts that the bank knows" in result.err
    assert "N counts as 4" in result.err
    assert fapm("merge", *of_days, "-o", merged, "--group", pattern).code == 0
    assert fapm("build", *days, "-o", at_once, "--group", pattern, *SMALL).code == 0
    for bank in (added, merged):
        assert load_bank(bank).thresholds.num_pictures == 4
    if pattern != "folder":  # at once it tells day0/part0 from day1/part0, as where they lie
        assert alike(added) == alike(merged) == alike(at_once)


def test_a_name_that_tells_no_part_leaves_its_picture_as_it_was(tmp_path: Path) -> None:
    bank, shots = tmp_path / "bank.st", save_shots(tmp_path / "shots", range(4), 2)
    assert fapm("build", shots, "-o", bank, "--group", r"part(\d+)", *SMALL).code == 0
    for number, pattern in enumerate(("folder", r"^fresh(\d+)")):
        fresh = tmp_path / "fresh"
        for shot in save_shots(fresh, range(10 + 3 * number, 13 + 3 * number), 1).iterdir():
            shot.rename(fresh / f"fresh{shot.name[4:]}")
        result = fapm("add", bank, fresh, "--group", pattern)
        assert result.code == 0, result
        assert "show parts that the bank knows" not in result.err
        assert ("hold no folder" in result.err) == (pattern == "folder")
        assert load_bank(bank).num_groups == (5, 8)[number]
        for shot in fresh.iterdir():
            shot.unlink()


def test_a_merge_by_a_pattern_that_no_name_fits_is_refused(tmp_path: Path) -> None:
    banks = [tmp_path / "1.st", tmp_path / "2.st"]
    for number, bank in enumerate(banks):
        shots = save_shots(tmp_path / str(number), range(2 * number, 2 * number + 2), 1)
        assert fapm("build", shots, "-o", bank, *SMALL).code == 0
    for pattern in ("typo(.)", "folder"):
        result = fapm("merge", *banks, "-o", tmp_path / "all.st", "--group", pattern)
        assert_fails(result, "--group finds no part in any name", "part000_0.png")


def test_what_was_said_of_a_banks_own_pictures_is_not_said_again(tmp_path: Path) -> None:
    bank, shots = tmp_path / "bank.st", save_shots(tmp_path / "shots", range(3), 2)
    assert fapm("build", shots, "-o", bank, "--group", r"part(\d+)", *SMALL).code == 0
    fresh = save_shots(tmp_path / "fresh", range(5, 6), 1)
    assert "nearly the same" not in fapm("add", bank, fresh).err


def test_banks_that_share_a_picture_of_a_part_share_the_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shots = save_shots(tmp_path / "shots", range(4), 3)
    halves = [sorted(shots.glob(f"*_[{k}].png")) for k in ("01", "12")]
    for name, files in zip("ab", halves, strict=True):
        options = ("--group", r"\d+", "--no-thumbnails", *SMALL)
        assert fapm("build", *files, "-o", tmp_path / f"{name}.st", *options).code == 0
    result = fapm("merge", tmp_path / "a.st", tmp_path / "b.st", "-o", tmp_path / "c.st")
    assert "4 pictures are in several banks: counted once" in result.err
    assert len(groups_in(tmp_path / "c.st")) == 12
    assert load_bank(tmp_path / "c.st").thresholds.num_pictures == 4
    asked = parts_of_suspects(monkeypatch, "growing.grow")
    fresh = save_shots(tmp_path / "fresh", range(4, 6), 2)
    assert fapm("add", tmp_path / "c.st", fresh, "--group", r"\d+").code == 0
    assert asked == [[4, 4, 5, 5]]


@pytest.fixture(scope="module")
def part_bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of one shot each of 12 parts."""
    folder = tmp_path_factory.mktemp("parts")
    result = fapm("build", save_shots(folder, range(12), 1), "-o", folder / "bank.st", *SMALL)
    assert result.code == 0
    return folder / "bank.st"


def calibrated(bank: Path, *arguments: object) -> tuple[int, str]:
    """How many parts thresholds come from, and what is noted."""
    target = bank.parent / "other.st"
    result = fapm("calibrate", bank, *arguments, "-o", target, "--allow-few", "--json")
    assert result.code == 0, result.err
    return result.json["num_pictures"], result.err


def test_calibrate_counts_a_part_once_whatever_its_shots(
    part_bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shots = save_shots(tmp_path / "shots", range(100, 104), 3)
    asked = parts_of_suspects(monkeypatch, "api.fresh_pictures")
    count, notes = calibrated(part_bank, shots)
    assert count == 4
    assert asked == [[i // 3 for i in range(12)]]
    assert "8 of 12 pictures are nearly the same as another" in notes
    count, notes = calibrated(part_bank, shots, "--group", r"part(\d+)")
    assert count == 4
    assert "nearly the same" not in notes
    assert calibrated(part_bank, shots, "--group", ".*")[0] == 12


def test_calibrate_counts_copies_once(part_bank: Path, tmp_path: Path) -> None:
    for name in "abc":
        save_shots(tmp_path / name, range(100, 105), 1)
    for path in (tmp_path / "c").iterdir():
        with Image.open(path) as image:
            image.save(path.with_suffix(".bmp"))
        path.unlink()
    count, notes = calibrated(part_bank, tmp_path)
    assert count == 5
    assert "10 pictures are in the bank, which knows them, or copies: left out" in notes


def test_further_shots_of_what_the_bank_knows_are_not_fresh(
    part_bank: Path, tmp_path: Path
) -> None:
    shots = save_shots(tmp_path / "shots", range(8, 16), 2)
    count, notes = calibrated(part_bank, shots)
    assert count == 4
    assert "4 pictures are in the bank, which knows them, or copies: left out" in notes
    assert "4 pictures show parts that are in the bank, which knows them: left out" in notes


def test_further_shots_of_parts_that_names_tell_are_not_fresh(
    part_bank: Path, tmp_path: Path
) -> None:
    shots = save_shots(tmp_path / "shots", range(100, 104), 1)
    for number, path in enumerate(sorted(shots.iterdir())):
        path.rename(shots / f"part{10 + number:03}_other.png")  # two are of parts that it knows
    count, notes = calibrated(part_bank, shots, "--group", r"part(\d+)")
    assert count == 2
    assert "2 pictures show parts that are in the bank, which knows them: left out" in notes
    assert calibrated(part_bank, shots, "--group", ".*")[0] == 4


# --- Copies ------------------------------------------------------------------------------------


def save_copies(folder: Path, pictures: list[Path]) -> Path:
    """Save pictures as other files of equal pixels."""
    folder.mkdir()
    for level in (1, 9):
        for i, path in enumerate(pictures):
            with Image.open(path) as image:
                image.convert("RGB").save(folder / f"{i}_{level}.png", compress_level=level)
                image.convert("RGB").save(folder / f"{i}_{level}.bmp")
    return folder


def test_copies_in_other_encodings_count_once(tmp_path: Path) -> None:
    copies = save_copies(tmp_path / "copies", GOOD[:2])
    bank = tmp_path / "bank.st"
    result = fapm("build", copies, "-o", bank)
    assert result.code == 0
    assert len(load_bank(bank).pictures) == 2
    notes = [line for line in result.err.splitlines() if "in the bank already" in line]
    assert len(notes) == 1
    assert "and 3 more" in notes[0]
    again = fapm("add", bank, copies)
    assert_fails(replace(again, err=again.err.splitlines()[-1]), "nothing to add")


def test_one_picture_in_eight_encodings_promises_what_one_does(tmp_path: Path) -> None:
    copies = save_copies(tmp_path / "copies", GOOD[:1])
    result = fapm("build", copies, "-o", tmp_path / "bank.st", "--json")
    assert result.json["thresholds"]["num_pictures"] == 1
    assert result.json["thresholds"]["false_alarms"]["at_most"] > 0.94


def test_merge_counts_copies_in_other_encodings_once(tmp_path: Path) -> None:
    shots, banks = save_shots(tmp_path / "png", range(4), 1), [tmp_path / f"{n}.st" for n in "abc"]
    (tmp_path / "bmp").mkdir()
    for path in shots.iterdir():
        with Image.open(path) as image:
            image.save(tmp_path / "bmp" / f"other_{path.stem}.bmp")
    for folder, bank in zip((shots, tmp_path / "bmp"), banks, strict=False):
        assert fapm("build", folder, "-o", bank, *SMALL).code == 0
    result = fapm("merge", *banks[:2], "-o", banks[2])
    assert "4 pictures are in several banks: counted once" in result.err
    assert groups_in(banks[2]) == [0, 1, 2, 3]
    assert load_bank(banks[2]).thresholds.num_pictures == 4


def test_merge_counts_copies_once_also_in_banks_of_version_1(tmp_path: Path) -> None:
    pictures = small_bank().pictures
    other = tuple(replace(p, sha256=f"{i + 100:064x}") for i, p in enumerate(pictures))
    one, two = tmp_path / "1.st", tmp_path / "2.st"
    one.write_bytes(version_1_bytes(small_bank()))
    two.write_bytes(version_1_bytes(replace(small_bank(), pictures=other)))
    from fapm_cli.growing.anew import with_pixels
    from fapm_cli.growing.merge import _join_pictures, _number_pictures

    banks = [with_pixels(load_bank(path)) for path in (one, two)]
    numbers = _number_pictures(banks)
    assert numbers == [[0, 1, 2], [0, 1, 2]]
    assert _join_pictures(banks, numbers) == banks[0].pictures


def test_pictures_of_one_flat_colour_each_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    for grey in (255, 254, 0):
        Image.new("RGB", (90, 90), (grey,) * 3).save(folder / f"{grey}.png")
    result = fapm("build", folder, "-o", tmp_path / "bank.st")
    assert_fails(result, "each of 3 pictures is of one flat colour")
    assert not (tmp_path / "bank.st").exists()


def test_a_group_survives_a_dropped_picture(tmp_path: Path) -> None:
    path = tmp_path / "bank.st"
    bank = small_bank()
    twins = tuple(
        replace(p, group=group) for p, group in zip(bank.pictures, (0, 1, 1), strict=True)
    )
    save_bank(replace(bank, pictures=twins), path)
    from fapm_cli.learning.build import _only

    assert [p.group for p in _only(load_bank(path), [1, 2]).pictures] == [0, 0]
