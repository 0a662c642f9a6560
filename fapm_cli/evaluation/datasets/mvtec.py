"""MVTec AD (Bergmann et al., CVPR 2019), and what is laid out like it.

::

    bottle/train/good/000.png
    bottle/test/good/000.png
    bottle/test/broken_large/000.png
    bottle/ground_truth/broken_large/000_mask.png

MPDD and the converted VisA are just so. BTAD calls its folders ``ok`` and ``ko``, and its masks as
the pictures. MVTec 3D-AD has its pictures in ``rgb`` and its masks in ``gt`` of each folder. Good
pictures may also lie in ``good`` beside ``test``, without a ``train``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from fapm_cli.errors import PictureError
from fapm_cli.evaluation.datasets.category import (
    Category,
    Found,
    TestPicture,
    broken_links,
    check,
    entries,
    folders,
    is_good,
    left_out_note,
    omitted,
)
from fapm_cli.evaluation.datasets.masks import pictures_and_masks
from fapm_cli.files import name_first
from fapm_cli.finding.folders import exists, foreign
from fapm_cli.finding.kinds import left_out_as
from fapm_cli.stores.stored import AnyPath

TRUTH = "ground_truth"


def find(root: AnyPath, good: frozenset[str]) -> list[Found]:
    """Find the category of a folder that has ``test``, and ``train`` or ``good``."""
    test = root / "test"
    if not (root / "train").is_dir() and not (test.is_dir() and _good_in(root, good)):
        return []
    return [found(root, test, root / TRUTH, good)]


def found(
    root: AnyPath,
    test: AnyPath,
    truth: AnyPath,
    good: frozenset[str],
    apart: Mapping[str, str] | None = None,
) -> Found:
    """Say where a category's test pictures and masks are; it is named after its folder."""
    name = root.resolve().name
    return Found(name, lambda: _read(name, root, test, truth, good, apart or {}))


def _read(
    name: str,
    root: AnyPath,
    test: AnyPath,
    truth: AnyPath,
    good: frozenset[str],
    apart: Mapping[str, str],
) -> Category:
    train = _good_in(root / "train", good) or _good_in(root, good)
    if not train:
        seen = name_first([folder.name for folder in folders(root / "train")]) or "no folder"
        raise PictureError(
            f"category {root} has no train/good, but {seen}; say which is good with --good NAME"
        )
    left_out = Counter[str]()
    tested, failures = _read_test(test, truth, good, left_out)
    pictures = [path for folder in train for path in pictures_and_masks(folder, left_out)]
    beside = [folder.name for folder in folders(root / "train") if folder not in train]
    notes = omitted(beside, "folder", f"{root / 'train'}, not called good")
    notes += _loose(test, left_out) + _loose(root / "train", left_out)
    notes += left_out_note(left_out)
    failures += broken_links(test) + broken_links(root / "train")
    return check(Category(name, pictures, tested, apart, notes, failures), root)


def _read_test(
    test: AnyPath, truth: AnyPath, good: frozenset[str], left_out: Counter[str]
) -> tuple[list[TestPicture], list[PictureError]]:
    """List the pictures of a folder of tests; also the errors of folders that hold none."""
    tested, failures = list[TestPicture](), list[PictureError]()
    for folder in folders(test):
        if folder.name == TRUTH:
            continue
        defect = None if is_good(folder.name, good) else folder.name
        try:
            marked = pictures_and_masks(folder, left_out, truth / folder.name)
        except PictureError as error:
            failures.append(error)
            continue
        tested += [
            TestPicture(path, defect, masks if defect else ()) for path, masks in marked.items()
        ]
    return tested, failures


def _good_in(root: AnyPath, good: frozenset[str]) -> list[AnyPath]:
    """The folders of good pictures in a folder."""
    return [folder for folder in folders(root) if is_good(folder.name, good)]


def _loose(folder: AnyPath, left_out: Counter[str]) -> list[str]:
    """Name pictures beside a folder's folders, which say what is in them.

    Args:
        folder: of tests, or to learn from.
        left_out: counts the files that are no pictures, by ending or kind.
    """
    files = [path for path in entries(folder) if exists(path) and not path.is_dir()]
    kinds = {path.name: foreign(path) or left_out_as(path) for path in files}
    left_out.update(kind for kind in kinds.values() if kind is not None)
    pictures = [name for name, kind in kinds.items() if kind is None]
    where = f"{folder} itself, in no folder that labels it"
    return omitted(pictures, "picture", where)
