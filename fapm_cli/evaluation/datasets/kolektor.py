"""KolektorSDD (Tabernik et al., 2019) and KolektorSDD2 (Božič et al., 2021): masks say what is bad.

::

    KolektorSDD/kos01/Part0.jpg               KolektorSDD2/train/10000.png
    KolektorSDD/kos01/Part0_label.bmp         KolektorSDD2/train/10000_GT.png
    KolektorSDD/kos50/Part7.jpg               KolektorSDD2/test/20000.png
    KolektorSDD/kos50/Part7_label.bmp         KolektorSDD2/test/20000_GT.png

A picture is good where its mask is black. KolektorSDD has no split for learning from good parts
alone. Here the good pictures of every fifth commutator (kos01, kos06, …) are tested with all that
are defective, and the other good ones are learnt from: of one commutator, none in both. Of
KolektorSDD2's ``train`` the defective pictures are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fapm_cli.errors import PictureError
from fapm_cli.evaluation.datasets.category import (
    Category,
    Found,
    TestPicture,
    broken_links,
    check,
    folders,
    left_out_note,
    omitted,
)
from fapm_cli.evaluation.datasets.masks import pictures_and_masks
from fapm_cli.files import name_first
from fapm_cli.pictures.masks import marked
from fapm_cli.stores.stored import AnyPath

_TESTED = 5  # one in so many commutators


def find(root: AnyPath, good: frozenset[str]) -> list[Found]:
    """Find the one category of either dataset; what is good, masks say."""
    name = root.resolve().name
    parts = [folder for folder in folders(root) if any(folder.glob("*_label.bmp"))]
    if parts:
        return [Found(name, lambda: _read_parts(name, root, parts))]
    train, test = root / "train", root / "test"
    if any(train.glob("*_GT.png")) and any(test.glob("*_GT.png")):
        return [Found(name, lambda: _read_split(name, root, train, test))]
    return []


def _read_parts(name: str, root: AnyPath, parts: list[AnyPath]) -> Category:
    """Read KolektorSDD: a folder a commutator."""
    tested = set(parts[::_TESTED])
    labelled, notes = _labelled(parts)
    others = [folder.name for folder in folders(root) if folder not in parts]
    notes += omitted(others, "folder", f"{root}, without masks")
    is_tested = [one.defect is not None or one.path.parent in tested for one in labelled]
    pairs = list(zip(labelled, is_tested, strict=True))
    train = [one.path for one, is_test in pairs if not is_test]
    tests = [one for one, is_test in pairs if is_test]
    return check(Category(name, train, tests, {}, notes, broken_links(root)), root)


def _read_split(name: str, root: AnyPath, train: AnyPath, test: AnyPath) -> Category:
    """Read KolektorSDD2: a folder to learn from, and one to test."""
    learnt, learnt_notes = _labelled([train])
    tested, notes = _labelled([test])
    pictures = [one.path for one in learnt if one.defect is None]
    return check(Category(name, pictures, tested, {}, learnt_notes + notes), root)


def _labelled(parts: Iterable[AnyPath]) -> tuple[list[TestPicture], list[str]]:
    """Label pictures by their masks; also a note of those whose masks don't tell."""
    labelled, untold, left_out = [], [], Counter[str]()
    found = (pictures_and_masks(part, left_out) for part in parts)
    for path, masks in (pair for part in found for pair in part.items()):
        try:
            is_bad = marked(masks[0]).any() if masks else None
        except PictureError:
            is_bad = None
        if is_bad is None:
            untold.append(f"{path.parent.name}/{path.name}")
        else:
            labelled.append(TestPicture(path, *(("defect", masks) if is_bad else (None, ()))))
    count = f"{len(untold)} of {len(labelled) + len(untold)} pictures are left out"
    notes = [f"{count}: no mask that can be read says whether they are good: {name_first(untold)}"]
    return labelled, (notes if untold else []) + left_out_note(left_out)
