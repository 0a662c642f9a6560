"""Each layout is read from a tiny copy of its real tree, and told by what is there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image

from fapm_cli.errors import OptionError, PictureError
from fapm_cli.evaluation.datasets import LAYOUTS, Category, find_categories, read_category
from fapm_cli.finding import folders
from fapm_cli.stores.stored import AnyPath

SIZE = (8, 6)


def paint(path: Path, *, mark: int | None = None) -> Path:
    """Make a small picture, or a mask that marks one px with a value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", SIZE, (90, 120, 60)) if mark is None else Image.new("L", SIZE)
    if mark:
        image.putpixel((3, 2), mark)
    image.save(path)
    return path


def paint_all(root: Path, pictures: str, masks: str = "") -> None:
    """Make pictures and masks at paths that are divided by spaces."""
    for name in pictures.split():
        paint(root / name)
    for name in masks.split():
        paint(root / name, mark=255)


def read(root: Path) -> dict[str, Category]:
    """Read all categories, by name."""
    return {found.name: found.read() for found in find_categories(root)}


def below(root: Path, paths: Iterable[AnyPath]) -> list[str]:
    return [folders.below(path, root).as_posix() for path in paths]


def labels(root: Path, category: Category) -> dict[str, tuple[str | None, list[str]]]:
    """Defect and masks of each test picture."""
    return {
        below(root, [one.path])[0]: (one.defect, below(root, one.masks)) for one in category.test
    }


# --- Layouts -----------------------------------------------------------------------------------


def test_mvtec_ad(tmp_path: Path) -> None:
    paint_all(
        tmp_path,
        "bottle/train/good/000.png bottle/train/good/001.png bottle/test/good/000.png "
        "bottle/test/broken_large/000.png cable/train/good/000.png cable/test/good/000.png",
        "bottle/ground_truth/broken_large/000_mask.png",
    )
    (tmp_path / "license.txt").write_text("CC BY-NC-SA 4.0")
    (tmp_path / "bottle" / "readme.txt").write_text("see license")
    bottle, cable = read(tmp_path).values()
    assert (bottle.name, cable.name) == ("bottle", "cable")
    assert below(tmp_path, bottle.train) == [
        "bottle/train/good/000.png",
        "bottle/train/good/001.png",
    ]
    assert labels(tmp_path / "bottle", bottle) == {
        "test/broken_large/000.png": (
            "broken_large",
            ["ground_truth/broken_large/000_mask.png"],
        ),
        "test/good/000.png": (None, []),
    }


def test_mpdd_is_laid_out_like_mvtec_ad(tmp_path: Path) -> None:
    root = tmp_path / "bracket_black"
    paint_all(
        root,
        "train/good/000.png test/good/000.png test/hole/000.png test/scratches/000.png",
        "ground_truth/hole/000_mask.png ground_truth/scratches/000_mask.png",
    )
    category = read(tmp_path)["bracket_black"]
    assert [one.defect for one in category.test] == [None, "hole", "scratches"]
    assert not category.unmarked
    assert find_categories(root, "mpdd")[0].read() == category


def test_mvtec_3d_has_pictures_in_rgb_and_masks_in_gt_of_each_folder(tmp_path: Path) -> None:
    kinds = ("train/good", "validation/good", "test/good", "test/hole")
    paint_all(
        tmp_path / "bagel",
        " ".join(f"{kind}/rgb/000.png {kind}/xyz/000.tiff" for kind in kinds),
        " ".join(f"{kind}/gt/000.png" for kind in kinds),
    )
    bagel = read_category(tmp_path)
    assert below(tmp_path, bagel.train) == ["bagel/train/good/rgb/000.png"]
    assert labels(tmp_path / "bagel", bagel) == {
        "test/good/rgb/000.png": (None, []),
        "test/hole/rgb/000.png": ("hole", ["test/hole/gt/000.png"]),
    }


def test_mvtec_loco_ad(tmp_path: Path) -> None:
    root = tmp_path / "pushpins"
    paint_all(
        root,
        "train/good/000.png validation/good/000.png test/good/000.png "
        "test/logical_anomalies/000.png test/structural_anomalies/000.png",
        "ground_truth/logical_anomalies/000/000.png ground_truth/logical_anomalies/000/001.png "
        "ground_truth/structural_anomalies/000/000.png",
    )
    (root / "defects_config.json").write_text("[]")
    category = read(tmp_path)["pushpins"]
    assert below(root, category.train) == ["train/good/000.png"]
    assert labels(root, category) == {
        "test/good/000.png": (None, []),
        "test/logical_anomalies/000.png": (
            "logical_anomalies",
            [
                "ground_truth/logical_anomalies/000/000.png",
                "ground_truth/logical_anomalies/000/001.png",
            ],
        ),
        "test/structural_anomalies/000.png": (
            "structural_anomalies",
            ["ground_truth/structural_anomalies/000/000.png"],
        ),
    }
    assert category.apart == {"logical": "logical_anomalies", "structural": "structural_anomalies"}


def test_mvtec_ad_2(tmp_path: Path) -> None:
    root = tmp_path / "can"
    paint_all(
        root,
        "train/good/000_regular.png validation/good/000_regular.png "
        "test_public/good/000_regular.png test_public/bad/000_regular.png "
        "test_public/bad/000_shift_1.png test_private/000_regular.png "
        "test_private_mixed/000_mixed.png",
        "test_public/ground_truth/bad/000_regular_mask.png "
        "test_public/ground_truth/bad/000_shift_1_mask.png",
    )
    category = read(tmp_path)["can"]
    assert below(root, category.train) == ["train/good/000_regular.png"]
    truth = "test_public/ground_truth/bad"
    assert labels(root, category) == {
        "test_public/bad/000_regular.png": ("bad", [f"{truth}/000_regular_mask.png"]),
        "test_public/bad/000_shift_1.png": ("bad", [f"{truth}/000_shift_1_mask.png"]),
        "test_public/good/000_regular.png": (None, []),
    }


def test_visa(tmp_path: Path) -> None:
    paint_all(tmp_path, "candle/Data/Images/Normal/0000.JPG candle/Data/Images/Normal/0001.JPG")
    paint_all(tmp_path, "candle/Data/Images/Anomaly/000.JPG pcb1/Data/Images/Normal/0000.JPG")
    paint(tmp_path / "candle/Data/Masks/Anomaly/000.png", mark=3)
    (tmp_path / "candle" / "image_anno.csv").write_text("image,label,mask\n")
    rows = [
        "object,split,label,image,mask",
        "candle,train,normal,candle/Data/Images/Normal/0000.JPG,",
        "candle,test,normal,candle/Data/Images/Normal/0001.JPG,",
        "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png",
        "pcb1,test,normal,pcb1/Data/Images/Normal/0000.JPG,",
    ]
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv" / "1cls.csv").write_text("\n".join(rows))
    (tmp_path / "split_csv" / "2cls_fewshot.csv").write_text(rows[0])
    categories = read(tmp_path)
    assert list(categories) == ["candle", "pcb1"]
    candle = categories["candle"]
    assert below(tmp_path, candle.train) == ["candle/Data/Images/Normal/0000.JPG"]
    assert labels(tmp_path, candle) == {
        "candle/Data/Images/Normal/0001.JPG": (None, []),
        "candle/Data/Images/Anomaly/000.JPG": ("anomaly", ["candle/Data/Masks/Anomaly/000.png"]),
    }


def test_btad(tmp_path: Path) -> None:
    paint_all(
        tmp_path,
        "01/train/ok/0000.bmp 01/test/ok/0001.bmp 01/test/ko/0000.bmp "
        "02/train/ok/0000.png 02/test/ok/0001.png 02/test/ko/0000.png",
        "01/ground_truth/ko/0000.png 02/ground_truth/ko/0000.png",
    )
    categories = read(tmp_path)
    assert list(categories) == ["01", "02"]
    assert below(tmp_path, categories["01"].train) == ["01/train/ok/0000.bmp"]
    assert labels(tmp_path, categories["01"]) == {
        "01/test/ko/0000.bmp": ("ko", ["01/ground_truth/ko/0000.png"]),
        "01/test/ok/0001.bmp": (None, []),
    }


def test_kolektor_sdd_tests_every_fifth_commutator_and_all_that_is_defective(
    tmp_path: Path,
) -> None:
    root = tmp_path / "KolektorSDD"
    for number in range(1, 8):
        for part in range(2):
            name = f"kos{number:02}/Part{part}"
            paint(root / f"{name}.jpg")
            bad = (number, part) in ((1, 0), (3, 1))
            paint(root / f"{name}_label.bmp", mark=255 if bad else 0)
    category = read_category(root)
    assert category.name == "KolektorSDD"
    assert labels(root, category) == {
        "kos01/Part0.jpg": ("defect", ["kos01/Part0_label.bmp"]),
        "kos01/Part1.jpg": (None, []),
        "kos03/Part1.jpg": ("defect", ["kos03/Part1_label.bmp"]),
        "kos06/Part0.jpg": (None, []),
        "kos06/Part1.jpg": (None, []),
    }
    parts = [(number, part) for number in (2, 3, 4, 5, 7) for part in range(2)]
    learnt = [
        f"kos{number:02}/Part{part}.jpg" for number, part in parts if (number, part) != (3, 1)
    ]
    assert below(root, category.train) == learnt
    assert category.notes == []


def test_kolektor_sdd2_learns_from_what_is_good_and_names_what_no_mask_tells(
    tmp_path: Path,
) -> None:
    root = tmp_path / "KolektorSDD2"
    for name, mark in {
        "train/10000": 0,
        "train/10001": 255,
        "test/20000": 0,
        "test/20001": 9,
    }.items():
        paint(root / f"{name}.png")
        paint(root / f"{name}_GT.png", mark=mark)
    paint(root / "train" / "10001_GT (copy).png", mark=255)
    category = read_category(root)
    assert below(root, category.train) == ["train/10000.png"]
    assert labels(root, category) == {
        "test/20000.png": (None, []),
        "test/20001.png": ("defect", ["test/20001_GT.png"]),
    }
    [note] = category.notes
    assert "1 of 3 pictures" in note
    assert "train/10001_GT (copy).png" in note


TABLES = {
    "parts.csv": "path,label,mask\na.png,Good,\nb.png,scratch,m/b.png\nc.png,dent,\n",
    "bare.csv": "a.png,Good\nb.png,scratch,m/b.png\nc.png,dent\n",
    "parts.jsonl": "\n".join(
        json.dumps(row)
        for row in (
            {"path": "a.png", "label": "Good", "mask": None},
            {"path": "b.png", "label": "scratch", "mask": "m/b.png"},
            {"path": "c.png", "label": "dent"},
        )
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_table(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(TABLES[name])
    category = read_category(tmp_path / name)
    assert category.name == Path(name).stem
    assert labels(tmp_path, category) == {
        "a.png": (None, []),
        "b.png": ("scratch", ["m/b.png"]),
        "c.png": ("dent", []),
    }


def test_table_says_which_rows_are_left_out(tmp_path: Path) -> None:
    table = tmp_path / "parts.csv"
    rows = ("a.png,ok,train", "b.png,cut,train", "c.png,ok,test", "d.png,ok,validation")
    table.write_text("\n".join(("path,label,split", *rows)))
    category = read_category(table)
    assert below(tmp_path, category.train) == ["a.png"]
    assert list(labels(tmp_path, category)) == ["c.png"]
    assert category.notes == ["2 of 4 rows are left out: neither for test, nor good and for train"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("parts.csv", "path,label\na.png,\n", "row 1"),
        ("parts.jsonl", "[1]\n", "can't be read"),
        ("parts.jsonl", "{", "can't be read"),
        ("parts.csv", "a.png,cut\n", "no good test pictures, labels are cut"),
    ],
)
def test_table_that_makes_no_sense_is_refused(
    name: str, text: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PictureError, match=words):
        read_category(tmp_path / name)


def test_a_layout_that_is_named_is_the_only_one_tried(tmp_path: Path) -> None:
    paint_all(tmp_path / "part", "train/good/0.png test/good/0.png")
    assert [one.name for one in find_categories(tmp_path, "mvtec")] == ["part"]
    for layout in sorted({*LAYOUTS} - {"mvtec", "mpdd", "btad"}):
        with pytest.raises(PictureError, match=f"not in the layout {layout}"):
            find_categories(tmp_path, layout)
    with pytest.raises(OptionError, match="use one of table, visa"):
        find_categories(tmp_path, "coco")


def test_what_is_no_picture_is_counted_and_a_bad_link_stands_in_its_place(tmp_path: Path) -> None:
    paint_all(tmp_path, "train/good/0.png test/good/0.png test/cut/0_heatmap.png test/cut/1.png")
    (tmp_path / "test" / "cut" / "notes.txt").write_text("deep")
    (tmp_path / "test" / "cut" / "2.png").symlink_to("gone.png")
    category = read_category(tmp_path)
    assert list(labels(tmp_path, category)) == [
        "test/cut/1.png",
        "test/cut/2.png",
        "test/good/0.png",
    ]
    [note] = category.notes
    assert "1 .txt" in note
    assert "1 drawn by fapm" in note


def test_nothing_of_a_category_is_left_out_without_a_note(tmp_path: Path) -> None:
    root = tmp_path / "part"
    paint_all(root, "train/good/0.png train/new/0.png train/loose.png test/good/0.png test/1.png")
    (root / "test" / "notes.txt").write_text("stray")
    (root / "test" / "README").write_text("stray")
    (root / "train" / ".hidden").write_text("")
    (root / "test" / "line").symlink_to("/nowhere")
    (root / "test" / "2.png").symlink_to("2.png")
    category = read_category(root)
    assert below(root, category.train) == ["train/good/0.png"]
    assert list(labels(root, category)) == ["test/good/0.png"]
    assert category.notes == [
        f"1 folder in {root / 'train'}, not called good: left out: new",
        f"1 picture in {root / 'test'} itself, in no folder that labels it: left out: 1.png",
        f"1 picture in {root / 'train'} itself, in no folder that labels it: left out: loose.png",
        "left out of its folders: 1 .txt, 1 without ending",
    ]
    assert [str(error) for error in category.failures] == [
        f"link {root / 'test' / name} can't be followed: it leads nowhere"
        for name in ("2.png", "line")
    ]


def test_what_lies_beside_categories_and_is_none_is_told(tmp_path: Path) -> None:
    paint_all(tmp_path, "a/train/good/0.png a/test/good/0.png docs/0.png notes/0.png")
    (tmp_path / "b").symlink_to("/nowhere")
    notes: list[str] = []
    category, broken = find_categories(tmp_path, on_note=notes.append)
    assert category.name == "a"
    assert notes == [f"2 folders in {tmp_path}, no category: left out: docs, notes"]
    with pytest.raises(PictureError, match=r"link .*b can't be followed"):
        broken.read()


def test_rows_and_folders_that_no_layout_uses_are_told(tmp_path: Path) -> None:
    paint_all(tmp_path, "kos01/Part0.jpg kos02/Part0.jpg other/0.jpg")
    for name in ("kos01", "kos02"):
        paint(tmp_path / name / "Part0_label.bmp", mark=0)
    assert read_category(tmp_path).notes == [
        f"1 folder in {tmp_path}, without masks: left out: other"
    ]
    rows = ["object,split,label,image,mask", "pcb,test,normal,0.JPG,", "pcb,val,normal,1.JPG,"]
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv" / "1cls.csv").write_text("\n".join([*rows, "pcb,train,anomaly,2.JPG,"]))
    [note] = read_category(tmp_path).notes
    assert note == "2 of 3 rows are left out: neither for test, nor good and for train"


# --- Masks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mask",
    [
        "ground_truth/cut/000_mask.png",
        "ground_truth/cut/000_Mask.bmp",
        "ground_truth/cut/000_GT.tif",
        "ground_truth/cut/000_label.bmp",
        "ground_truth/cut/000.webp",
        "ground_truth/cut/000/0.png",
        "test/cut/000_mask.png",
        "test/cut/000_gt.png",
        "test/cut/000_label.BMP",
        "test/cut/000.png",
        "test/cut/gt/000.png",
        "test/cut/Masks/000_mask.png",
        "test/cut/ground_truth/000.png",
    ],
)
def test_masks_are_found_and_not_tested_however_they_are_named(mask: str, tmp_path: Path) -> None:
    paint_all(tmp_path, "train/good/0.jpg test/good/0.jpg test/cut/000.jpg test/cut/001.jpg", mask)
    category = read_category(tmp_path)
    assert labels(tmp_path, category) == {
        "test/cut/000.jpg": ("cut", [mask]),
        "test/cut/001.jpg": ("cut", []),
        "test/good/0.jpg": (None, []),
    }
    assert [one.path.name for one in category.unmarked] == ["001.jpg"]


def test_masks_beside_good_pictures_are_neither_learnt_nor_tested(tmp_path: Path) -> None:
    paint_all(
        tmp_path,
        "train/good/0.png test/good/0.png",
        "train/good/0_mask.png test/good/0_mask.png test/good/0_gt.png",
    )
    category = read_category(tmp_path)
    assert below(tmp_path, category.train) == ["train/good/0.png"]
    assert labels(tmp_path, category) == {"test/good/0.png": (None, [])}


def test_a_picture_that_is_called_a_mask_is_a_picture_where_no_other_has_its_name(
    tmp_path: Path,
) -> None:
    paint_all(tmp_path, "train/good/gas_mask.png test/good/gas_mask.png test/cut/face_mask.png")
    category = read_category(tmp_path)
    assert list(labels(tmp_path, category)) == ["test/cut/face_mask.png", "test/good/gas_mask.png"]
