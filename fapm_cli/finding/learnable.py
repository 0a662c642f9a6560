"""What may be learnt: of labelled sets, told by their folders' names, the good parts alone; and
what may stand for defective ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from fapm_cli.errors import PictureError
from fapm_cli.finding.folders import Search, below, is_folder, path_of
from fapm_cli.finding.kinds import DRAWN_BY
from fapm_cli.stores.stored import AnyPath

Kind = Literal["good", "defective"]
GOOD = frozenset(("good", "ok", "normal"))
"""What good pictures' labels and folders are called, in any case."""
MASK_ENDINGS = ("_mask", "_gt", "_label")
"""What a mask's name may end in, in any case, behind its picture's."""
_TRUTH = frozenset(("ground_truth", "groundtruth", "gt"))
_NOT_GOOD = _TRUTH.union(
    (
        *("test", "test_public", "test_private", "test_private_mixed"),
        *("mask", "masks"),
        *("anomaly", "anomalous", "abnormal", "bad", "ko", "ng", "defect", "defects", "defective"),
    )
)
_NOT_BAD = GOOD.union(_TRUTH, ("mask", "masks", "train"))


def check_kind(path: AnyPath, found: Search, of: Kind) -> None:
    """Check that nothing under a path tells that it is not of good, or defective, parts alone.

    Raises:
        PictureError: fapm drew some of its pictures, or some are others, by their folders' names.
    """
    if found.drawn:
        raise PictureError(
            f"{len(found.drawn)} of the pictures in {path} were {DRAWN_BY} "
            f"(such as {found.drawn[0]}): they are of no part; move them elsewhere"
        )
    why_not = not_learnable if of == "good" else _not_defective
    reason = why_not(path, map(path_of, found.items)) if is_folder(path) else None
    if reason is not None:
        raise PictureError(reason)


def check_no_masks(files: Sequence[AnyPath], of: Kind) -> None:
    """Check that none of the pictures is the mask of one that lies beside it.

    Raises:
        PictureError: some are, by their names.
    """
    masks = masks_beside(files)
    if masks:
        raise PictureError(
            f"{len(masks)} of {len(files)} pictures are masks of those beside them, by their names "
            f"(such as {masks[0]}): give the pictures of {of} parts alone"
        )


def not_learnable(folder: AnyPath, files: Iterable[AnyPath]) -> str | None:
    """Say why a folder's pictures are not of good parts alone, by folders' names, if so."""
    inside = _folders(folder, files)
    others = [parts for parts in inside if _others(parts)]
    good = [parts for parts in inside if parts[-1:] and _is_good(parts[-1]) and not _others(parts)]
    others += [parts for parts in inside if any(_beside(parts, one) for one in good)]
    trained = [parts for parts in good if "train" in map(str.casefold, parts)] or good
    advice = None
    if trained:
        advice = f"{folder.joinpath(*min(trained))}" + " (or one like it)" * (len(trained) > 1)
    return _why_not(folder, inside, others, "good", advice)


def _not_defective(folder: AnyPath, files: Iterable[AnyPath]) -> str | None:
    """Say why a folder's pictures are not of defective parts alone, by folders' names, if so."""
    inside = _folders(folder, files)
    others = [parts for parts in inside if any(name.casefold() in _NOT_BAD for name in parts)]
    return _why_not(folder, inside, others, "defective")


def _folders(folder: AnyPath, files: Iterable[AnyPath]) -> Counter[tuple[str, ...]]:
    """How many files are in each folder below one, by the names on the way to it."""
    return Counter(below(file, folder).parent.parts for file in files)


def _why_not(
    folder: AnyPath,
    inside: Counter[tuple[str, ...]],
    others: Sequence[tuple[str, ...]],
    of: Kind,
    advice: str | None = None,
) -> str | None:
    """Say that a folder is of masks, or which of those below it are others; None if it is fine."""
    alone = f"the folders of {of} parts alone"
    if folder.resolve().name.casefold() in _TRUTH:
        return f"folder {folder} is of masks, by its name: give {alone}"
    if not others:
        return None
    count, shown = sum(inside[parts] for parts in set(others)), folder.joinpath(*min(others))
    return (
        f"{count} of {sum(inside.values())} pictures in folder {folder} are not of {of} parts, "
        f"by their folders' names (such as {shown}): give {advice or alone}"
    )


def masks_beside(files: Sequence[AnyPath]) -> list[AnyPath]:
    """List those files that are masks, by their names, of others in the same folder."""
    names = {(file.parent, file.stem.casefold()) for file in files}
    masks = {(parent, stem + ending) for parent, stem in names for ending in MASK_ENDINGS}
    return [file for file in files if (file.parent, file.stem.casefold()) in masks]


def _is_good(name: str) -> bool:
    return name.casefold() in GOOD


def _others(parts: tuple[str, ...]) -> bool:
    """Whether a folder's name, or one above it, says that its pictures are no good parts'."""
    return any(name.casefold() in _NOT_GOOD for name in parts)


def _beside(parts: tuple[str, ...], good: tuple[str, ...]) -> bool:
    """Whether a folder lies beside a good one, or below such a one."""
    depth = len(good)
    return parts[: depth - 1] == good[:-1] and parts[depth - 1 : depth] not in ((), good[-1:])
