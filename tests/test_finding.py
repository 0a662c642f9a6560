"""Finding: whatever a folder holds is a picture, an error in its place, or counted."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import GOOD, ONE_BAD, ONE_GOOD, SAMPLES, assert_fails, fapm
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from fapm_cli.engine.watching import Watch
from fapm_cli.errors import PictureError
from fapm_cli.finding import FORMATS, SUFFIXES, Unreadable, left_out_as, scan, search

needs_links = pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")


def names(folder: Path) -> list[str]:
    """What a search finds, below the folder; what can't be read with a question mark."""
    return [
        f"{item.path.relative_to(folder)}?"
        if isinstance(item, Unreadable)
        else str(item.relative_to(folder))
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
        "calibrate": ("calibrate", bank, folder, "-o", target),
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
@settings(max_examples=25, deadline=None)
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


def _without_rights(folder: Path) -> list[str] | None:
    """What is found in a folder by one who may not read all; None where that can't be tried."""
    script = (
        "import sys; from pathlib import Path; from fapm_cli.finding import search; "
        "print(*[type(i).__name__ for i in search(Path(sys.argv[1])).items])"
    )
    command = [sys.executable, "-c", script, str(folder)]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            return None
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.split() if done.returncode == 0 else None


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no such rights here")
def test_a_folder_that_may_not_be_entered_is_an_error_in_its_place(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b/x.png", "c.png")
    (tmp_path / "b").chmod(0)
    try:
        found = _without_rights(tmp_path)
    finally:
        (tmp_path / "b").chmod(0o700)
    if found is None or ("Unreadable" not in found and os.geteuid() == 0):
        pytest.skip("no way to be without rights here")
    assert [kind == "Unreadable" for kind in found] == [False, True, False]


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
