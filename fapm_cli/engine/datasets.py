"""Datasets: labelled pictures in the layout of MVTec AD (Bergmann et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fapm_cli.config import Preprocessing
from fapm_cli.errors import PictureError
from fapm_cli.finding import SUFFIXES, find_pictures
from fapm_cli.images import read_mask

GOOD = ("good", "ok")  # BTAD says ok


@dataclass(frozen=True)
class TestPicture:
    """A labelled picture.

    Attributes:
        path: the picture.
        defect: the name of its folder; None for a good one.
        mask: where the defect is marked, if it is.
    """

    __test__ = False

    path: Path
    defect: str | None
    mask: Path | None


@dataclass(frozen=True)
class Category:
    """One kind of part.

    Attributes:
        name: of its folder.
        train: nominal pictures.
        test: labelled pictures.
    """

    name: str
    train: Sequence[Path]
    test: Sequence[TestPicture]

    @property
    def has_masks(self) -> bool:
        """Whether every defective picture has a mask."""
        return all(one.mask is not None for one in self.test if one.defect is not None)


def find_categories(root: Path) -> list[Path]:
    """List category folders: the root itself, or those in it, that have ``train/good``.

    Raises:
        PictureError: there is none.
    """
    if _good_folder(root) is not None:
        return [root]
    found = [p for p in _folders(root) if _good_folder(p) is not None]
    if not found:
        raise PictureError(
            f"dataset {root} has no train/good, nor has a folder in it; "
            "wanted MVTec AD's layout: train/good, test/good, test/DEFECT, ground_truth/DEFECT"
        )
    return found


def read_category(root: Path) -> Category:
    """List a category's pictures.

    Raises:
        PictureError: there are no nominal or no test pictures.
    """
    good = _good_folder(root)
    if good is None:
        raise PictureError(f"category {root} has no train/good")
    test = []
    for folder in _folders(root / "test"):
        defect = None if folder.name in GOOD else folder.name
        for path in find_pictures(folder):
            below = path.relative_to(folder).parent
            mask = (
                None if defect is None else _find_mask(root / "ground_truth" / defect / below, path)
            )
            test.append(TestPicture(path, defect, mask))
    if not test:
        raise PictureError(f"category {root} has no test pictures; wanted test/good, test/DEFECT")
    return Category(root.resolve().name, find_pictures(good), test)


def _good_folder(root: Path) -> Path | None:
    """Where the nominal pictures are; ``good`` may lie beside ``test`` itself."""
    trained = (root / "train" / name for name in GOOD)
    found = next((folder for folder in trained if folder.is_dir()), None)
    if found is None and (root / "good").is_dir() and (root / "test").is_dir():
        return root / "good"
    return found


def _folders(root: Path) -> list[Path]:
    """The folders in a folder, sorted, hidden ones left out."""
    if not root.is_dir():
        return []
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _find_mask(folder: Path, picture: Path) -> Path | None:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    masks = {file.stem: file for file in files if file.suffix.lower() in SUFFIXES}
    return masks.get(f"{picture.stem}_mask") or masks.get(picture.stem)


def read_truth(one: TestPicture, preprocessing: Preprocessing) -> NDArray[np.bool_]:
    """Read where a picture is defective, in the input's pixels.

    Args:
        one: a picture that is good, or has a mask.
        preprocessing: as for :func:`fapm_cli.images.read_mask`.

    Returns:
        (H, W) bool.

    Raises:
        PictureError: the mask can't be read.
    """
    if one.mask is None:
        return np.zeros(preprocessing.crop_px, dtype=bool)
    return read_mask(one.mask, preprocessing)
