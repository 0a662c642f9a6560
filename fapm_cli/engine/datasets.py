"""Datasets: labelled pictures in the layout of MVTec AD (Bergmann et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fapm_cli.config import Preprocessing
from fapm_cli.errors import PictureError
from fapm_cli.images import SUFFIXES, find_pictures, read_picture

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
    found = []
    if root.is_dir():
        found = [p for p in sorted(root.iterdir()) if _good_folder(p) is not None]
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
    for folder in sorted(p for p in (root / "test").glob("*") if p.is_dir()):
        defect = None if folder.name in GOOD else folder.name
        for path in find_pictures(folder):
            mask = None if defect is None else _find_mask(root / "ground_truth" / defect, path)
            test.append(TestPicture(path, defect, mask))
    if not test:
        raise PictureError(f"category {root} has no test pictures; wanted test/good, test/DEFECT")
    return Category(root.resolve().name, find_pictures(good), test)


def _good_folder(root: Path) -> Path | None:
    """Where the nominal pictures are; ``good`` may lie beside ``test`` itself."""
    names = (*(f"train/{name}" for name in GOOD), "good")
    return next((root / name for name in names if (root / name).is_dir()), None)


def _find_mask(folder: Path, picture: Path) -> Path | None:
    for stem in (f"{picture.stem}_mask", picture.stem):
        for suffix in sorted(SUFFIXES):
            if (folder / (stem + suffix)).is_file():
                return folder / (stem + suffix)
    return None


def read_mask(one: TestPicture, preprocessing: Preprocessing) -> NDArray[np.bool_]:
    """Read where a picture is defective, in the input's pixels.

    Args:
        one: a picture that is good, or has a mask.
        preprocessing: the mask is resized (nearest pixel) and cropped as the picture is.

    Returns:
        (H, W) bool.

    Raises:
        PictureError: the mask can't be read.
    """
    if one.mask is None:
        return np.zeros(preprocessing.crop_px, dtype=bool)
    height, width = preprocessing.resize_px
    image = read_picture(one.mask).image.convert("L")
    marked = np.asarray(image.resize((width, height), Image.Resampling.NEAREST)) > 0
    crop_height, crop_width = preprocessing.crop_px
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return marked[top : top + crop_height, left : left + crop_width]
