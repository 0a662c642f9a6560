"""Pictures of another kind than the bank's: a field in the record, one note per run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from conftest import GOOD, ONE_BAD, ROOT, build, fapm
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fapm_cli.bank.file import load_bank, save_bank
from fapm_cli.bank.presets import default_config
from fapm_cli.pictures.reading import Item, Prepared, prepare_item
from fapm_cli.pictures.seen import DIFFERENCES, Seen

INPUT = (224, 224)
SCHEMA = json.loads((ROOT / "docs" / "score.schema.json").read_text())

pictures = st.builds(
    Seen.one,
    st.booleans(),
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    st.sampled_from([8, 10, 12, 16]),
    st.sampled_from([None, False, True]),
)


@given(st.lists(pictures, min_size=1, max_size=6))
def test_a_picture_among_others_does_not_differ_from_them(some: list[Seen]) -> None:
    seen = Seen.join(some)
    assert [seen.differences(one, INPUT) for one in some] == [[] for _ in some]


@given(st.lists(pictures, min_size=2, max_size=6), st.data())
def test_joining_knows_no_order_and_no_groups(some: list[Seen], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(some) - 1))
    parts = [Seen.join(some[cut:]), Seen.join(some[:cut])]
    assert Seen.join(parts) == Seen.join(some) == Seen.join(some[::-1])


@given(pictures, pictures)
def test_json_keeps_it(one: Seen, other: Seen) -> None:
    seen = Seen.join([one, other])
    assert Seen.from_json(json.loads(json.dumps(seen.to_json()))) == seen


@pytest.mark.parametrize(
    "changes",
    [
        {"aspects": [0, 1]},
        {"aspects": [2, 1]},
        {"aspects": [1, float("inf")]},
        {"aspects": [1]},
        {"least_px": [0, 5]},
        {"least_px": 5},
        {"bits": []},
        {"bits": ["a"]},
        {"grey": None, "colour": None},
        {"lossy": "much"},
        {"lossy": 0},
    ],
)
def test_what_is_out_of_range_is_refused(changes: dict[str, Any]) -> None:
    plain = Seen.one(True, (3, 4), 8).to_json()
    with pytest.raises((ValueError, TypeError, KeyError)):
        Seen.from_json({**plain, **changes})


KNOWN = Seen.join([Seen.one(False, (600, 800), 8, False), Seen.one(False, (300, 400), 8, False)])


@pytest.mark.parametrize(
    ("one", "wanted"),
    [
        (Seen.one(True, (600, 800), 8), ["grey"]),
        (Seen.one(False, (600, 800), 12), ["depth"]),
        (Seen.one(False, (800, 600), 8), ["aspect"]),
        (Seen.one(False, (600, 801), 8), []),
        (Seen.one(False, (600, 800), 8, True), ["compressed"]),
        (Seen.one(False, (600, 800), 8, False), []),
        (Seen.one(False, (600, 840), 8), ["aspect"]),
        (Seen.one(False, (112, 149), 8), []),
        (Seen.one(False, (90, 120), 8), ["small"]),
        (Seen.one(True, (90, 90), 16), ["grey", "aspect", "small", "depth"]),
    ],
)
def test_differences_are_named(one: Seen, wanted: list[str]) -> None:
    assert KNOWN.differences(one, INPUT) == wanted
    assert set(wanted) <= set(DIFFERENCES)


def test_colour_differs_from_grey_alone() -> None:
    grey, colour = (Seen.one(is_grey, (9, 9), 8) for is_grey in (True, False))
    assert grey.differences(colour, (9, 9)) == ["colour"]
    assert Seen.join([grey, colour]).differences(colour, (9, 9)) == []


def test_files_tell_whether_compression_changed_them(tmp_path: Path) -> None:
    with Image.open(ONE_BAD) as image:
        image.save(tmp_path / "one.png")
        image.save(tmp_path / "lossless.webp", lossless=True)
        image.save(tmp_path / "lossy.webp", lossless=False)
        array = np.asarray(image.convert("RGB"))
    names = ("one.png", "lossless.webp", "lossy.webp")
    items: list[Item] = [ONE_BAD, *(tmp_path / name for name in names), array]
    prepared = [prepare_item(item, default_config().preprocessing) for item in items]
    found = [one.like.lossy for one in prepared if isinstance(one, Prepared)]
    assert found == [True, False, False, True, None]


# --- The commands ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One picture in several kinds."""
    folder = tmp_path_factory.mktemp("kinds")
    image = Image.open(ONE_BAD).convert("RGB")
    images = {
        "own": image,
        "grey": image.convert("L"),
        "grey_jpeg": image.convert("L").convert("RGB"),
        "aspect": image.resize((400, 300)),
        "small": image.resize((100, 100)),
    }
    paths = {kind: folder / f"{kind}.{'jpg' if 'jpeg' in kind else 'png'}" for kind in images}
    for kind, path in paths.items():
        images[kind].save(path)
    return paths


def test_a_record_names_in_what_its_picture_differs(bank: Path, kinds: dict[str, Path]) -> None:
    result = fapm("score", bank, *kinds.values(), "--json")
    jsonschema.validate(result.json, SCHEMA)
    found = [record["differs"] for record in result.json]
    assert found == [[], ["grey"], ["grey"], ["aspect"], ["small"]]


@pytest.mark.parametrize("command", ["score", "heatmap"])
def test_one_note_counts_what_differs(
    command: str, bank: Path, kinds: dict[str, Path], tmp_path: Path
) -> None:
    more = ["-o", tmp_path] if command == "heatmap" else []
    (line,) = fapm(command, bank, *kinds.values(), *more).err.splitlines()
    assert line.startswith("note: 4 of 5 pictures are of another kind than the bank's: 2 grey")
    assert "1 of another aspect" in line
    assert "1 much smaller" in line
    assert fapm(command, bank, kinds["own"], *more).err == ""


@pytest.mark.parametrize("command", ["add", "calibrate", "eval"])
def test_what_learns_or_measures_says_so_too(
    command: str, bank: Path, kinds: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "set.csv").write_text(f"path,label\n{kinds['grey']},bad\n{kinds['own']},good\n")
    rest: dict[str, tuple[object, ...]] = {
        "add": (bank, kinds["grey"], kinds["own"], "-o", tmp_path / "n.st", "--keep-suspects"),
        "calibrate": (bank, "--bad", kinds["grey"], "--bad", kinds["own"], "-o", tmp_path / "n.st"),
        "eval": (tmp_path / "set.csv", "--bank", bank),
    }
    result = fapm(command, *rest[command], "--json")
    assert result.code == 0
    assert result.err.count("of another kind") == 1
    assert "1 of 2 pictures are of another kind than the bank's: 1 grey" in result.err
    assert command != "eval" or result.json[0]["num_differing"] == 1


def test_the_report_says_so_of_a_picture(
    bank: Path, kinds: dict[str, Path], tmp_path: Path
) -> None:
    page = tmp_path / "r.html"
    assert fapm("heatmap", bank, kinds["grey"], "--html", page).code == 0
    assert json.dumps(["grey where it knows colour"]) in page.read_text()


def test_a_jpeg_in_colour_differs_in_a_bank_of_grey_pngs(
    kinds: dict[str, Path], tmp_path: Path
) -> None:
    for i, path in enumerate(GOOD[:3]):
        Image.open(path).convert("L").save(tmp_path / f"{i}.png")
    bank = build(tmp_path / "bank.st", sorted(tmp_path.glob("*.png")))
    found = [one["differs"] for one in fapm("score", bank, *GOOD[:1], kinds["grey"], "--json").json]
    assert found == [["colour", "compressed"], []]


def test_a_bank_that_grows_knows_the_new_kind_too(
    bank: Path, kinds: dict[str, Path], tmp_path: Path
) -> None:
    grown = tmp_path / "grown.st"
    assert fapm("add", bank, kinds["grey"], "-o", grown).code == 0
    assert fapm("score", grown, kinds["grey"], "--json").json[0]["differs"] == []
    before = load_bank(bank).seen
    assert before is not None
    assert load_bank(grown).seen == replace(before, grey=True)
    other = build(tmp_path / "other.st", [kinds["aspect"]], "--size", "224x224")
    assert fapm("merge", grown, other, "-o", tmp_path / "both.st").code == 0
    records = fapm("score", tmp_path / "both.st", *kinds.values(), "--json").json
    assert [one["differs"] for one in records] == [[], [], [], [], ["small"]]


def test_of_a_bank_that_does_not_say_nothing_is_said(bank: Path, tmp_path: Path) -> None:
    older = tmp_path / "older.st"
    save_bank(replace(load_bank(bank), seen=None), older)
    result = fapm("score", older, ONE_BAD, "--json")
    assert "differs" not in result.json[0]
    assert result.err == ""
    assert fapm("info", older, "--json").json["seen"] is None
    assert fapm("info", bank, "--json").json["seen"]["colour"]


def test_pictures_of_one_name_are_known_each_for_what_it_is(tmp_path: Path) -> None:
    for kind, mode, path in (("a", "L", GOOD[0]), ("b", "RGB", GOOD[1])):
        (tmp_path / kind).mkdir()
        Image.open(path).convert(mode).save(tmp_path / kind / "part.png")
    bank = load_bank(build(tmp_path / "bank.st", [tmp_path / "a", tmp_path / "b"]))
    assert bank.seen is not None
    assert (bank.seen.grey, bank.seen.colour) == (True, True)
