"""Labelled sets, told by their folders' names: what may be learnt of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from fapm_cli.errors import PictureError
from fapm_cli.finding.kinds import DRAWN_BY
from fapm_cli.finding.search import Search, path_of

_GOOD = frozenset(("good", "ok"))
_NOT_GOOD = frozenset(
    (
        *("test", "test_public", "test_private", "test_private_mixed"),
        *("ground_truth", "groundtruth", "gt", "mask", "masks"),
        *("anomaly", "anomalous", "abnormal", "bad", "ko", "ng", "defect", "defects", "defective"),
    )
)


def check_learnable(path: Path, found: Search) -> None:
    """Check that nothing under a path tells that it is not of good parts alone.

    Raises:
        PictureError: fapm drew some of its pictures, or it holds labelled ones.
    """
    if found.drawn:
        raise PictureError(
            f"{len(found.drawn)} of the pictures in {path} were {DRAWN_BY} "
            f"(such as {found.drawn[0]}): they are of no part; move them elsewhere"
        )
    reason = not_learnable(path, map(path_of, found.items)) if path.is_dir() else None
    if reason is not None:
        raise PictureError(reason)


def not_learnable(folder: Path, files: Iterable[Path]) -> str | None:
    """Say why a folder's pictures are not of good parts alone, by their folders' names, if so."""
    inside = Counter(file.relative_to(folder).parent.parts for file in files)
    others = [parts for parts in inside if _others(parts)]
    good = [parts for parts in inside if parts[-1:] and _is_good(parts[-1]) and not _others(parts)]
    others += [parts for parts in inside if any(_beside(parts, one) for one in good)]
    if not others:
        return None
    count = sum(inside[parts] for parts in set(others))
    shown = folder.joinpath(*min(others))
    trained = [parts for parts in good if "train" in map(str.casefold, parts)] or good
    advice = (
        f"give {folder.joinpath(*min(trained))}" + " (or one like it)" * (len(trained) > 1)
        if trained
        else "give the folders of good parts alone"
    )
    return (
        f"{count} of {sum(inside.values())} pictures in folder {folder} are not of good parts, "
        f"by their folders' names (such as {shown}): {advice}"
    )


def _is_good(name: str) -> bool:
    return name.casefold() in _GOOD


def _others(parts: tuple[str, ...]) -> bool:
    """Whether a folder's name, or one above it, says that its pictures are no good parts'."""
    return any(name.casefold() in _NOT_GOOD for name in parts)


def _beside(parts: tuple[str, ...], good: tuple[str, ...]) -> bool:
    """Whether a folder lies beside a good one, or below such a one."""
    depth = len(good)
    return parts[: depth - 1] == good[:-1] and parts[depth - 1 : depth] not in ((), good[-1:])
