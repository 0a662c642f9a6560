"""Masks: told from pictures, and found for them, by how datasets name them.

A mask bears its picture's name, or that with ``_mask``, ``_gt`` or ``_label``, in any case and
picture format. It lies in the folder of ground truth, in a folder ``gt`` or ``masks`` beside its
picture, or right beside it; or a folder of that name holds several, which count together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fapm_cli.config import Preprocessing
from fapm_cli.errors import PictureError
from fapm_cli.evaluation.datasets.category import TestPicture
from fapm_cli.finding.folders import below, find_pictures, path_of, search, sorted_paths
from fapm_cli.finding.kinds import SUFFIXES
from fapm_cli.finding.learnable import MASK_ENDINGS
from fapm_cli.pictures.fitting.pose import UPRIGHT, Pose
from fapm_cli.pictures.masks import fit_mask, marked
from fapm_cli.stores.stored import AnyPath

_FOLDERS = frozenset(("gt", "mask", "masks", "ground_truth"))
_COLOUR = "rgb"  # beside it lie masks, and what other sensors saw (MVTec 3D-AD)
_JPEG = frozenset((".jpg", ".jpeg"))


def read_truth(
    one: TestPicture,
    size_px: tuple[int, int],
    preprocessing: Preprocessing,
    pose: Pose = UPRIGHT,
) -> NDArray[np.bool_]:
    """Read where a picture is defective, in the input's pixels.

    Args:
        one: a picture that is good, or has masks: what any of them marks counts.
        size_px: the picture's own height and width.
        preprocessing: masks are resized (nearest pixel) and cropped as the pictures are.
        pose: how the part lies in the picture, beside how it does in the input.

    Returns:
        (H, W) bool.

    Raises:
        PictureError: a mask can't be read, or has another size than its picture.
    """
    whole = np.zeros(size_px, dtype=bool)
    for path in (file for place in one.masks for file in find_pictures(place)):
        mask = marked(path)
        if mask.shape != size_px:
            (height, width), (tall, wide) = mask.shape, size_px
            raise PictureError(
                f"mask {path} has {width}×{height} px, its picture {one.path.name} has "
                f"{wide}×{tall}; give it the picture's size"
            )
        whole |= mask
    return fit_mask(whole, preprocessing, pose)


def pictures_and_masks(
    folder: AnyPath, left_out: Counter[str], truth: AnyPath | None = None
) -> dict[AnyPath, tuple[AnyPath, ...]]:
    """List the pictures under a folder, without masks, each with its own.

    What can't be followed or entered is listed too: reading it will tell.

    Args:
        folder: of pictures, and maybe masks.
        left_out: counts what is neither, by ending or kind.
        truth: of masks, in the same folders below it as the pictures; None for none.

    Raises:
        PictureError: it holds no picture.
    """
    listed = cache(_by_stem)
    found_there = search(folder)
    left_out += found_there.left_out
    files = [file for file in map(path_of, found_there.items) if not _is_set_apart(file, folder)]
    found = {}
    for picture, beside in _beside(files).items():
        parent = picture.parent
        places = [] if truth is None else [truth / str(below(parent, folder))]
        around = listed(parent.parent if parent.name == _COLOUR else parent)
        places += [place for name in sorted(_FOLDERS) for place in around.get(name, ())]
        named = (_named_for(picture, listed(place)) for place in places)
        found[picture] = next((masks for masks in named if masks), tuple(beside[:1]))
    return found


def _is_set_apart(file: AnyPath, folder: AnyPath) -> bool:
    """Whether a file lies in a folder of masks, or in another than ``rgb`` where there is one."""
    if _FOLDERS.intersection(part.casefold() for part in below(file, folder).parts[:-1]):
        return True
    inside = file.parent != folder and file.parent.name != _COLOUR
    return inside and (file.parent.parent / _COLOUR).is_dir()


def _beside(files: Iterable[AnyPath]) -> dict[AnyPath, list[AnyPath]]:
    """Tell pictures from the masks that lie right beside them.

    Of a JPEG and another format under one name, the other is the mask: JPEG would blur it.
    """
    same: dict[tuple[AnyPath, str], list[AnyPath]] = defaultdict(list)
    for file in files:
        same[file.parent, file.stem.casefold()].append(file)
    found: dict[AnyPath, list[AnyPath]] = {}
    for (parent, stem), named in same.items():
        jpegs = [file for file in named if file.suffix.lower() in _JPEG]
        pictures = jpegs if len(jpegs) == 1 else named
        masks = [file for ending in MASK_ENDINGS for file in same.get((parent, stem + ending), ())]
        masks += [file for file in named if file not in pictures]
        found |= dict.fromkeys(pictures, masks)
    taken = {mask for masks in found.values() for mask in masks}
    return {picture: masks for picture, masks in found.items() if picture not in taken}


def _by_stem(folder: AnyPath) -> dict[str, list[AnyPath]]:
    """List what a folder holds, by name without ending, in small letters."""
    entries: dict[str, list[AnyPath]] = defaultdict(list)
    for entry in sorted_paths(folder.iterdir()) if folder.is_dir() else ():
        if entry.is_dir():
            entries[entry.name.casefold()].append(entry)
        elif entry.suffix.lower() in SUFFIXES:
            entries[entry.stem.casefold()].append(entry)
    return entries


def _named_for(picture: AnyPath, entries: dict[str, list[AnyPath]]) -> tuple[AnyPath, ...]:
    """The masks that bear a picture's name: one file, or all in a folder.

    A folder that holds none stands for itself: reading it will tell.
    """
    for ending in (*MASK_ENDINGS, ""):
        for entry in entries.get(picture.stem.casefold() + ending, ()):
            with suppress(PictureError):
                return tuple(find_pictures(entry))
            return (entry,)
    return ()
