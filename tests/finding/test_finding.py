"""Finding: whatever a folder holds is a picture, an error in its place, or counted."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import GOOD, ONE_BAD, ONE_GOOD, SAMPLES, assert_fails, build, fapm
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from fapm_cli.errors import PictureError
from fapm_cli.files import escaped
from fapm_cli.finding.folders import Unreadable, below, path_of, scan, search
from fapm_cli.finding.kinds import FORMATS, SUFFIXES, left_out_as
from fapm_cli.finding.learnable import masks_beside, not_learnable
from fapm_cli.sources.video import video_frames
from fapm_cli.sources.watched_folder import Watch

posix = pytest.mark.skipif(os.name != "posix", reason="a POSIX file system's names")
needs_links = pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")


def names(folder: Path) -> list[str]:
    """What a search finds, below the folder; what can't be read with a question mark."""
    return [
        f"{below(path_of(item), folder)}{'?' * isinstance(item, Unreadable)}"
        for item in search(folder).items
    ]


def touch(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


# --- Endings and contents ----------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["pgm", "ppm", "pbm", "pnm", "jp2", "jfif", "avif", "gif"])
def test_more_endings_are_pictures_in_any_case(suffix: str, tmp_path: Path) -> None:
    touch(tmp_path, f"a.{suffix}", f"b.{suffix.upper()}", f"c.{suffix.title()}")
    assert names(tmp_path) == [f"a.{suffix}", f"b.{suffix.upper()}", f"c.{suffix.title()}"]


def encoded(kind: str) -> bytes:
    data = io.BytesIO()
    mode = "RGB" if kind != "GIF" else "P"
    Image.effect_noise((24, 16), 50).convert(mode).save(data, kind)
    return data.getvalue()


def can_write(kind: str) -> bool:
    return {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}.get(kind) is None or bool(
        features.check({"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}[kind])
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_without_an_ending_is_known_by_its_first_bytes(kind: str, tmp_path: Path) -> None:
    if not can_write(kind):
        pytest.skip(f"this Pillow writes no {kind}")
    (tmp_path / "picture").write_bytes(encoded(kind))
    assert names(tmp_path) == ["picture"]


@given(data=st.one_of(st.text().map(str.encode), st.binary()))
@settings(max_examples=50)
def test_what_is_found_without_an_ending_starts_as_a_picture_does(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(data)
    starts = [
        "89504e47",
        "ffd8ff",
        "424d",
        "4949",
        "4d4d",
        "52494646",
        "50",
        "0000000c",
        "ff4f",
        "47494638",
    ]
    like_one = data.hex().startswith(tuple(starts)) or data[4:11] == b"ftypavi"
    assert left_out_as(path) is not None or like_one


def test_text_without_an_ending_is_no_picture(tmp_path: Path) -> None:
    for name, text in (("README", "P1 and P2"), ("BMW", "BM is a list of cars"), ("none", "")):
        (tmp_path / name).write_text(text)
    touch(tmp_path, "a.png")
    found = search(tmp_path)
    assert names(tmp_path) == ["a.png"]
    assert found.left_out == Counter({"without ending": 3})


def test_what_a_folder_leaves_out_is_counted_in_one_line(bank: Path, tmp_path: Path) -> None:
    touch(tmp_path, "a.txt", "b.TXT", "sub/c.txt", "Thumbs.db", "noted", ".hidden", ".git/d.txt")
    shutil.copy(ONE_GOOD, tmp_path / "part.jpg")
    result = fapm("score", bank, tmp_path)
    assert result.code == 0
    assert result.err == f"note: left out of {tmp_path}: 3 .txt, 1 .db, 1 without ending\n"


def test_a_folder_without_pictures_says_what_it_holds(bank: Path, tmp_path: Path) -> None:
    touch(tmp_path, "a.txt", "b.mp4", "c.mp4")
    assert_fails(fapm("score", bank, tmp_path), "no picture", "2 .mp4, 1 .txt")


@pytest.mark.parametrize("command", ["build", "add", "calibrate", "score", "heatmap", "watch"])
def test_every_command_counts_what_it_leaves_out(command: str, bank: Path, tmp_path: Path) -> None:
    folder = touch(tmp_path / "parts", "a.txt", "b.db")
    for picture in sorted((SAMPLES / "test" / "good").iterdir()):
        shutil.copy(picture, folder)
    target = tmp_path / "target"
    arguments: dict[str, tuple[object, ...]] = {
        "build": ("build", folder, "-o", target),
        "add": ("add", bank, folder, "-o", target),
        "calibrate": ("calibrate", bank, folder, "-o", target, "--allow-few"),
        "score": ("score", bank, folder),
        "heatmap": ("heatmap", bank, folder, "-o", target),
        "watch": ("score", bank, "--watch", folder, "--limit", 3),
    }
    result = fapm(*arguments[command])
    assert result.code == 0, result
    lines = [line for line in result.err.splitlines() if "left out of" in line]
    assert lines == [f"note: left out of {folder}: 1 .db, 1 .txt"]


# --- Links and rights --------------------------------------------------------------------------


@needs_links
def test_links_that_lead_nowhere_or_to_themselves_stand_in_their_place(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "c.png", "e.png")
    (tmp_path / "b.png").symlink_to("b.png")
    (tmp_path / "d.png").symlink_to("/nowhere/d.png")
    (tmp_path / "line").symlink_to("/nowhere")
    assert names(tmp_path) == ["a.png", "b.png?", "c.png", "d.png?", "e.png", "line?"]


@needs_links
@pytest.mark.parametrize("command", ["score", "heatmap", "build"])
def test_a_bad_link_alone_is_an_error_and_the_rest_is_judged(
    command: str, bank: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for picture in GOOD[:5]:
        shutil.copy(picture, folder)
    (folder / "002.png").symlink_to("002.png")
    target = tmp_path / "target"
    if command == "build":
        assert_fails(fapm("build", folder, "-o", target), "002.png", "--skip-bad")
        result = fapm("build", folder, "-o", target, "--skip-bad", "--json")
        assert (result.code, result.json["pictures"], result.json["skipped"]) == (0, 5, 1)
        return
    options = ("--json",) if command == "score" else ("-o", target)
    result = fapm(command, bank, folder, *options)
    assert result.code == 2
    if command == "score":
        told = ["error" in record for record in result.json]
        assert told == [False, False, False, True, False, False]
    else:
        assert len(result.out.splitlines()) == 5
        assert "002.png" in result.err


@needs_links
@pytest.mark.parametrize("command", ["add", "calibrate", "merge"])
def test_a_bad_link_ends_what_changes_a_bank_and_the_bank_stays(
    command: str, bank: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copy(bank, tmp_path / "own.st"))
    link = tmp_path / "parts" / "000.png"
    link.parent.mkdir()
    link.symlink_to("/nowhere.png")
    shutil.copy(ONE_GOOD, link.parent)
    arguments = (own, link, "-o", own) if command == "merge" else (own, link.parent)
    before = own.read_bytes()
    assert_fails(fapm(command, *arguments), str(link))
    assert own.read_bytes() == before


@needs_links
def test_linked_folders_are_searched_once_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path / "other", "x.png", "deep/y.png")
    folder = touch(tmp_path / "parts", "a.png", "z/b.png")
    (folder / "line2").symlink_to(tmp_path / "other")
    (folder / "line3").symlink_to(tmp_path / "other")
    (folder / "again").symlink_to("z")
    (folder / "z" / "loop").symlink_to(folder)
    assert names(folder) == ["a.png", "line2/deep/y.png", "line2/x.png", "z/b.png"]
    assert search(folder).left_out == Counter({"links to what is searched anyway": 3})


@needs_links
@given(edges=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=8, unique=True))
@settings(max_examples=25)
def test_any_tangle_of_links_gives_each_file_once(
    edges: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("tangle")
    for i in range(5):
        touch(root / f"{i}", f"{i}.png")
    for i, j in edges:
        (root / f"{i}" / f"to{j}").symlink_to(root / f"{j}")
    assert names(root) == [f"{i}/{i}.png" for i in range(5)]
    real = {os.path.realpath(str(item)) for item in scan(root / "0", Counter())}
    reached, fresh = {0}, {0}
    while fresh := {j for i, j in edges if i in fresh} - reached:
        reached |= fresh
    assert real == {os.path.realpath(root / f"{i}" / f"{i}.png") for i in reached}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_are_counted_and_never_opened(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    os.mkfifo(tmp_path / "b.png")
    os.mkfifo(tmp_path / "c")
    assert names(tmp_path) == ["a.png"]
    assert search(tmp_path).left_out == Counter({"pipes or devices": 2})


def _without_rights(forbidden: Path) -> list[str]:
    """How to start a program that may not enter a folder; skips where there is no way."""
    start = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if start and shutil.which("setpriv") is None:
        pytest.skip("no way to be without rights here")
    listed = subprocess.run(
        [*start, "ls", forbidden], capture_output=True, text=True, timeout=60, check=False
    )
    if str(forbidden) not in listed.stderr:
        pytest.skip("no way to be without rights here")
    return start


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no such rights here")
def test_a_folder_that_may_not_be_entered_is_an_error_in_its_place(
    bank: Path, tmp_path: Path
) -> None:
    folder = touch(tmp_path / "parts", "b/x.png")
    for name in ("a.jpg", "c.jpg"):
        shutil.copy(ONE_GOOD, folder / name)
    (folder / "b").chmod(0)
    try:
        command = [*_without_rights(folder / "b"), sys.executable, "-m", "fapm_cli", "score"]
        done = subprocess.run(
            [*command, bank, folder, "--json"], capture_output=True, timeout=120, check=False
        )
    finally:
        (folder / "b").chmod(0o700)
    assert done.returncode == 2
    records = json.loads(done.stdout)
    assert ["error" in record for record in records] == [False, True, False]
    assert str(folder / "b") in records[1]["error"]


@needs_links
def test_a_watched_link_that_leads_nowhere_is_told_once_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "b.png").symlink_to("b.png")
    touch(tmp_path, "a.png", "c.png")
    watch = Watch(tmp_path, interval_s=0.01, patience_s=0)
    items, seen = iter(watch), []
    for _ in range(20):
        item = next(items)
        if isinstance(item, Unreadable):
            assert watch.wants(item)
        if item is not None:
            seen.append(item.path.name if isinstance(item, Unreadable) else item.name)
    assert seen == ["a.png", "b.png", "c.png"]


def test_a_missing_file_is_found_and_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    assert search(tmp_path / "missing.png").items == [tmp_path / "missing.png"]
    with pytest.raises(PictureError, match="no picture"):
        search(tmp_path)
    assert {".png", ".jpg", ".tif"} <= SUFFIXES
    assert ONE_BAD.suffix in SUFFIXES


# --- What fapm drew ----------------------------------------------------------------------------


@pytest.fixture
def drawn_beside(bank: Path, tmp_path: Path) -> Path:
    """A folder of three good pictures, and their heatmaps and masks in it."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for picture in GOOD[:3]:
        shutil.copy(picture, folder)
    assert fapm("heatmap", bank, folder, "-o", folder, "--mask", "--map", "tiff").code == 0
    return folder


def test_makers_refuse_what_fapm_drew(bank: Path, drawn_beside: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.st"
    for arguments in (("build",), ("add", bank), ("calibrate", bank)):
        result = fapm(*arguments, drawn_beside, "-o", target)
        assert_fails(result, "9", str(drawn_beside), "drawn by fapm")
    assert not target.exists()


def test_judges_skip_what_fapm_drew_and_count_it(bank: Path, drawn_beside: Path) -> None:
    before = sorted(path.name for path in drawn_beside.iterdir())
    result = fapm("score", bank, drawn_beside, "--json")
    assert [Path(record["path"]).name for record in result.json] == [p.name for p in GOOD[:3]]
    assert result.err == f"note: left out of {drawn_beside}: 9 drawn by fapm\n"
    options = ("-o", drawn_beside, "--mask", "--map", "tiff")
    assert fapm("heatmap", bank, drawn_beside, *options).code == 0
    assert sorted(path.name for path in drawn_beside.iterdir()) == before


def test_a_heatmap_under_another_name_is_known_by_its_text(
    bank: Path, drawn_beside: Path, tmp_path: Path
) -> None:
    moved = drawn_beside / "000_heatmap.png"
    renamed = shutil.copy(moved, tmp_path / "part.png")
    result = fapm("score", bank, renamed, ONE_GOOD, "--json")
    assert ["error" in record for record in result.json] == [True, False]
    assert "drawn by fapm" in result.json[0]["error"]
    assert_fails(fapm("build", renamed, *GOOD[:3], "-o", tmp_path / "x.st"), "drawn by fapm")


def test_what_was_drawn_of_a_large_picture_is_known_too(bank: Path, tmp_path: Path) -> None:
    """The text stands before the pixels, however many those are."""
    with Image.open(ONE_GOOD) as image:
        image.resize((1500, 1500)).save(tmp_path / "part.jpg")
    options = ("-o", tmp_path, "--mask", "--map", "tiff")
    assert fapm("heatmap", bank, tmp_path / "part.jpg", *options).code == 0
    drawn = ["part_heatmap.png", "part_map.tiff", "part_mask.png"]
    assert sorted(path.name for path in search(tmp_path).drawn) == drawn


def test_a_watched_heatmap_is_no_picture(drawn_beside: Path) -> None:
    items = iter(Watch(drawn_beside, interval_s=0.01))
    given = [next(items) for _ in range(12)]
    assert [item.name for item in given if isinstance(item, Path)] == [p.name for p in GOOD[:3]]


def test_plots_are_known_as_drawn(tmp_path: Path) -> None:
    from fapm_cli.evaluation.plots import draw_histogram

    data = draw_histogram(np.arange(9.0), np.arange(9) > 5, "title", 5.5)
    (tmp_path / "plot.png").write_bytes(data)
    assert left_out_as(tmp_path / "plot.png") == "drawn by fapm"


def test_a_photograph_where_a_heatmap_would_go_is_not_overwritten(
    bank: Path, tmp_path: Path
) -> None:
    photograph = tmp_path / "000_heatmap.png"
    shutil.copy(ONE_BAD, photograph)
    before = photograph.read_bytes()
    result = fapm("heatmap", bank, ONE_GOOD, "-o", tmp_path)
    assert result.out == f"{tmp_path / '000_2_heatmap.png'}\n"
    assert photograph.read_bytes() == before


# --- Folders of more than good parts -----------------------------------------------------------

LAYOUTS = {
    "mvtec": ("train/good", ["test/good", "test/scratch", "ground_truth/scratch"]),
    "any case": ("Train/OK", ["Test/OK", "Test/NG"]),
    "mvtec ad 2": ("train/good", ["validation/good", "test_public/bad", "test_private"]),
    "visa": ("Data/Images/Normal", ["Data/Images/Anomaly", "Data/Masks/Anomaly"]),
    "good beside test": ("good", ["test/good", "test/stain"]),
    "good beside defects": ("good", ["scratch", "dent/deep"]),
    "normal beside defects": ("Normal", ["scratch"]),
    "a root": ("bottle/train/good", ["bottle/test/broken", "bottle/test/good"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_labelled_set_is_told_by_its_folders_and_by_nothing_else(
    layout: str, tmp_path: Path
) -> None:
    good, others = LAYOUTS[layout]
    touch(tmp_path, *(f"{folder}/{i}.png" for folder in (good, *others) for i in range(2)))
    files = search(tmp_path).items
    reason = not_learnable(tmp_path, [path_of(file) for file in files])
    assert reason is not None
    assert f"give {tmp_path / good}" in reason
    below = search(tmp_path / good).items
    assert not_learnable(tmp_path / good, [path_of(file) for file in below]) is None


@pytest.mark.parametrize("names", [("a", "b/c"), ("good",), ("bright", "dark"), ("train/good",)])
def test_folders_of_good_parts_are_learnable_however_they_are_named(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    touch(tmp_path, *(f"{name}/0.png" for name in names))
    assert not_learnable(tmp_path, map(path_of, search(tmp_path).items)) is None


@pytest.mark.parametrize("name", ["ground_truth", "GroundTruth", "GT"])
def test_a_folder_of_masks_is_told_by_its_own_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = touch(tmp_path / name, "scratch/0.png")
    assert_fails(fapm("build", folder, "-o", tmp_path / "x.st"), "give the folders of good parts")
    monkeypatch.chdir(folder)
    assert_fails(fapm("build", ".", "-o", tmp_path / "x.st"), "give the folders of good parts")


@pytest.mark.parametrize("ending", ["_GT", "_mask", "_label"])
def test_makers_refuse_masks_beside_their_pictures(ending: str, bank: Path, tmp_path: Path) -> None:
    folder = touch(tmp_path / "parts", f"0{ending}.png", "1.png", f"1{ending}.bmp", "2.png")
    target = tmp_path / "target.st"
    for arguments in (("build",), ("add", bank), ("calibrate", bank)):
        for paths in ([folder], sorted(folder.iterdir())):
            result = fapm(*arguments, *paths, "-o", target)
            assert_fails(result, "1 of 4 pictures are masks", f"1{ending}.bmp", "good parts alone")


@pytest.mark.parametrize(
    "names",
    [("masks/0.png", "masks/1.png"), ("gas_mask.png", "face_mask.png"), ("a/0.png", "b/0_gt.png")],
)
def test_what_is_only_called_a_mask_is_learnable(names: tuple[str, ...], tmp_path: Path) -> None:
    touch(tmp_path, *names)
    folder = tmp_path / Path(os.path.commonpath(tmp_path / name for name in names))
    files = [path_of(item) for item in search(folder).items]
    assert not_learnable(folder, files) is None
    assert masks_beside(files) == []


def test_makers_refuse_a_category_and_name_its_good_folder(bank: Path, tmp_path: Path) -> None:
    category = tmp_path / "part"
    shutil.copytree(SAMPLES / "good", category / "train" / "good")
    shutil.copytree(SAMPLES / "test", category / "test")
    target = tmp_path / "target.st"
    for arguments in (("build",), ("add", bank), ("calibrate", bank)):
        result = fapm(*arguments, category, "-o", target)
        assert_fails(result, f"give {category / 'train' / 'good'}")
    assert not target.exists()


def test_more_than_a_fifth_of_suspects_is_refused_unless_kept(tmp_path: Path) -> None:
    folder, target = tmp_path / "parts", tmp_path / "target.st"
    folder.mkdir()
    for picture in GOOD[:12]:
        shutil.copy(picture, folder)
    for i in range(4):
        image = Image.open(ONE_BAD).convert("RGB").rotate(90 * i)
        image.paste((255, 0, 0), (40 + 40 * i, 60, 140 + 40 * i, 160))
        image.save(folder / f"bad{i}.png")
    learn = ("build", folder, "-o", target, "--metric", "plain", "--size", "128")
    assert_fails(fapm(*learn), "of 16", "bad", "--keep-suspects")
    assert not target.exists()
    kept = fapm(*learn, "--keep-suspects", "--json")
    assert (kept.code, kept.json["pictures"]) == (0, 16)
    assert len(kept.json["suspects"]) > 16 / 5
    dropped = fapm(*learn, "--drop-outliers")
    assert dropped.code == 0


@pytest.mark.parametrize("options", [(), ("--no-thumbnails",)])
def test_pictures_added_are_checked_for_suspects_as_those_built_from(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    before, target = build(tmp_path / "before.st", GOOD[:8], *options), tmp_path / "grown.st"
    bad = [SAMPLES / "test" / kind / "002.jpg" for kind in ("stain", "scratch")]
    bad = [Path(shutil.copy(path, tmp_path / f"{path.parent.name}.jpg")) for path in bad]
    named = fapm("add", before, *GOOD[8:14], bad[0], "-o", target, "--json")
    assert named.code == 0
    assert [one["name"] for one in named.json["suspects"]] == ["stain.jpg"]
    target.unlink()
    refused = fapm("add", before, *GOOD[8:14], *bad, "-o", target)
    assert_fails(refused, "2 of 8 pictures look unlike the rest", "stain.jpg", "--keep-suspects")
    assert not target.exists()
    kept = fapm("add", before, *GOOD[8:14], *bad, "-o", target, "--keep-suspects")
    assert kept.code == 0


# --- Bank and pictures in the wrong order ------------------------------------------------------


@pytest.mark.parametrize("command", ["score", "heatmap", "calibrate", "add"])
def test_pictures_before_the_bank_are_told_with_the_right_order(
    command: str, bank: Path, tmp_path: Path
) -> None:
    output: tuple[object, ...] = ("-o", tmp_path / "out")
    ways = [output] * (command != "score") + [()] * (command != "heatmap")
    for first in (ONE_GOOD, SAMPLES):
        for options in ways:
            result = fapm(command, first, bank, *options)
            assert_fails(result, f"fapm {command} {bank} {first}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "kind"),
    [("[1]", "JSON"), ('{"a": 1}', "JSON"), ("path,score\na,1\n", "text")],
)
def test_what_stands_in_a_banks_place_is_named(text: str, kind: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(text)
    commands = [("score", other, ONE_GOOD), ("info", other), ("bench", other), ("serve", other)]
    commands += [("export", other, "-o", tmp_path / "part.onnx"), ("verify", other, other)]
    commands += [("heatmap", other, ONE_GOOD, "-o", tmp_path), ("merge", other, other, "-o", "x")]
    for arguments in (*commands, ("eval", SAMPLES, "--bank", other)):
        assert_fails(fapm(*arguments), f"is {kind}, not a bank")
    assert_fails(fapm("info", ONE_GOOD), "is a picture, not a bank")
    assert_fails(fapm("info", tmp_path), "is a folder, not a bank")


def test_a_bank_among_the_pictures_is_no_picture(bank: Path) -> None:
    result = fapm("score", bank, ONE_GOOD, bank, "--json")
    assert (result.code, ["error" in record for record in result.json]) == (2, [False, True])
    assert "is a bank, not a picture" in result.json[1]["error"]


# --- Names -------------------------------------------------------------------------------------


@given(name=st.text(st.characters(exclude_categories=())))
def test_an_escaped_name_is_one_field_of_one_line_and_can_be_read_back(name: str) -> None:
    shown = escaped(name)
    assert shown.isprintable()
    quoted = shown.replace('"', '\\"')
    assert ast.literal_eval(f'"{quoted}"') == name


@posix
def test_names_of_training_pictures_forge_no_record(tmp_path: Path) -> None:
    folder = tmp_path / "a\tb\n c"
    folder.mkdir()
    names = [f"p\n   0.1000\tfake\tok\t{i}\x1b[2K.jpg" for i in range(5)]
    for name, picture in zip(names, GOOD, strict=False):
        shutil.copy(picture, folder / name)
    bank = folder / "b\nank.st"
    made = fapm("build", folder, "-o", bank)
    drawn = fapm("heatmap", bank, folder, "-o", folder / "out", "--html", folder / "r\n.html")
    scored = fapm("score", bank, folder)
    set_anew = fapm("calibrate", bank, *GOOD[5:9], "--allow-few")
    shown = fapm("info", bank)
    assert [r.code for r in (made, drawn, scored, set_anew, shown)] == [0] * 5
    assert len(scored.out.splitlines()) == 5
    assert len({line.count("\t") for line in scored.out.splitlines()}) == 1
    assert len(drawn.out.splitlines()) == 6
    assert len(set_anew.out.splitlines()) == 1
    for result in (made, drawn, scored, set_anew, shown):
        assert "\x1b" not in result.out + result.err
        assert "\tfake" not in result.out + result.err
    back = [ast.literal_eval(f"'{line.split(chr(9))[1]}'") for line in scored.out.splitlines()]
    assert back == [str(folder / name) for name in names]


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", "BANK", ""),
        ("score", "", ONE_GOOD),
        ("score", "BANK", ONE_GOOD, ""),
        ("score", "BANK", "--watch", ""),
        ("score", "BANK", ONE_GOOD, "--roi", ""),
        ("score", "BANK", ONE_GOOD, "--weights="),
        ("build", "", "-o", "x.st"),
        ("build", ONE_GOOD, "-o", ""),
        ("add", "BANK", ""),
        ("merge", "BANK", "", "-o", "x.st"),
        ("calibrate", "BANK", ""),
        ("calibrate", "BANK", ONE_GOOD, "--bad", ""),
        ("heatmap", "BANK", ONE_GOOD, "-o", ""),
        ("heatmap", "BANK", ONE_GOOD, "--html="),
        ("eval", ""),
        ("eval", SAMPLES, "--plots", ""),
        ("bench", ""),
        ("info", ""),
        ("serve", ""),
        ("serve", "BANK", "--keep", ""),
        ("check", ""),
        ("drift", ""),
        ("drift", ONE_GOOD, "--plot", ""),
        ("export", ""),
        ("export", "BANK", "-o", ""),
        ("verify", "BANK", ""),
        ("build", ONE_GOOD, "-o", "x.st", "--scratch", ""),
    ],
    ids=lambda arguments: " ".join(Path(str(a)).name or "''" for a in arguments),
)
def test_an_empty_path_is_a_usage_error(
    arguments: tuple[object, ...], bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ONE_GOOD, tmp_path)
    result = fapm(*(bank if one == "BANK" else one for one in arguments))
    assert_fails(result, "is empty")
    assert [path.name for path in tmp_path.iterdir()] == [ONE_GOOD.name]


# --- Small ones --------------------------------------------------------------------------------


def test_a_heatmaps_name_that_is_too_long_costs_that_picture_only(
    bank: Path, tmp_path: Path
) -> None:
    long = tmp_path / ("a" * 246 + ".jpg")
    shutil.copy(ONE_GOOD, long)
    result = fapm("heatmap", bank, long, ONE_BAD, "-o", tmp_path / "out")
    assert_fails(result, "too long")
    assert result.out == f"{tmp_path / 'out' / '000_heatmap.png'}\n"


def test_a_picture_that_changed_after_it_was_judged_is_not_drawn_under_its_map(
    bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fapm_cli.engines.openvino_judge import OpenVinoJudge

    picture = tmp_path / "live.jpg"
    shutil.copy(ONE_GOOD, picture)
    detect = OpenVinoJudge.detect_inputs

    def overwritten_meanwhile(self: OpenVinoJudge, inputs: object) -> object:
        shutil.copy(ONE_BAD, picture)
        return detect(self, inputs)

    monkeypatch.setattr(OpenVinoJudge, "detect_inputs", overwritten_meanwhile)
    result = fapm("heatmap", bank, picture, "-o", tmp_path / "out")
    assert_fails(result, "live.jpg", "changed")
    assert result.out == ""


@posix
def test_a_video_whose_name_looks_like_a_protocols_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = cv2.VideoWriter(
        str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 64)
    )
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG video")
    for _ in range(3):
        writer.write(np.zeros((64, 64, 3), np.uint8))
    writer.release()
    (tmp_path / "clip.avi").rename(tmp_path / "12:30:45.avi")
    monkeypatch.chdir(tmp_path)
    frames = list(video_frames(Path("12:30:45.avi")))
    assert [type(frame).__name__ for frame in frames] == ["Frame"] * 3
    assert frames[0].path == Path("12:30:45.avi")


def test_eval_counts_what_a_set_holds_besides_pictures(tmp_path: Path) -> None:
    root = touch(tmp_path / "part", "train/good/notes.txt", "test/stain/b.TXT", "test/good/c.db")
    for folder in ("train/good", "test/good", "test/stain"):
        source = GOOD if folder == "train/good" else sorted((SAMPLES / folder).iterdir())
        for picture in source[:3]:
            shutil.copy(picture, root / folder)
    result = fapm("eval", root, "--json")
    assert result.code == 0
    assert "note: part: left out of its folders: 2 .txt, 1 .db\n" in result.err
