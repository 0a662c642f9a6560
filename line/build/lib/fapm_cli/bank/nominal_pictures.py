"""What a bank knows of each nominal picture, and how that stands in its file.

As arrays: a header of JSON is read whole before anything else, and has a limit that the names of
some 700,000 pictures exceed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fapm_cli.arrays import Array, host
from fapm_cli.bank.arrays import Arrays, check_array

_DIGEST_BYTES = 32
_UNKNOWN = bytes(_DIGEST_BYTES)
_NAMES, _ENDS = "picture_names", "picture_name_ends"
_SHA256, _PIXELS = "picture_sha256", "picture_pixels"
_SCORES, _PEAKS, _GROUPS = "picture_scores", "picture_peaks", "picture_groups"
ARRAYS = frozenset((_NAMES, _ENDS, _SHA256, _PIXELS, _SCORES, _PEAKS, _GROUPS))


@dataclass(frozen=True)
class NominalPicture:
    """A picture that the bank was built from.

    Attributes:
        name: its path below the folder that was given, with ``/``.
        sha256: of the file's bytes; empty where that is not known.
        pixels: SHA-256 of the backbone's input, (H, W, 3) uint8; empty in a bank of version 1.
        score: its image score, the keys of its group left out.
        peak: the maximum of its anomaly map, likewise.
        group: number of the part that it shows, from 0: pictures of one group are shots of one
            part, which say of other parts what one shot would.
    """

    name: str
    sha256: str
    pixels: str
    score: float
    peak: float
    group: int

    @property
    def digests(self) -> set[str]:
        """What tells a copy: the file's digest and the px', as far as they are known."""
        return {self.sha256, self.pixels} - {""}


def pixels_digest(pixels: Array) -> str:
    """SHA-256 of a prepared picture, (H, W, 3) uint8: equal for copies in other encodings."""
    return hashlib.sha256(host(pixels).tobytes()).hexdigest()


def in_groups(
    pictures: Sequence[NominalPicture], groups: Iterable[Hashable]
) -> list[NominalPicture]:
    """Pictures with new groups, which any values tell: numbered from 0, as they first come."""
    numbers: dict[Hashable, int] = {}
    return [
        replace(picture, group=numbers.setdefault(group, len(numbers)))
        for picture, group in zip(pictures, groups, strict=True)
    ]


def scores_of_groups(pictures: Sequence[NominalPicture]) -> tuple[list[float], list[float]]:
    """Score and peak of each part: the largest of its shots.

    What ranks promise holds where those that are ranked are exchangeable, and shots of one part are
    not: parts are. A part to come exceeds the k-th largest of G such scores with any of as many
    shots with a chance of k / (G + 1), and all the more rarely with one shot.
    """
    shots: dict[int, list[NominalPicture]] = {}
    for picture in pictures:
        shots.setdefault(picture.group, []).append(picture)
    scores = [max(one.score for one in group) for group in shots.values()]
    return scores, [max(one.peak for one in group) for group in shots.values()]


def pack_pictures(pictures: Sequence[NominalPicture]) -> Arrays:
    """Lay pictures out as arrays, N of each.

    Raises:
        ValueError: a digest is no SHA-256 in hexadecimal.
    """
    # A file's name may be no text: Python then writes its bytes as lone surrogates.
    names = [p.name.encode("utf-8", "surrogatepass") for p in pictures]
    return {
        _NAMES: np.frombuffer(b"".join(names), np.uint8),
        _ENDS: np.cumsum([len(name) for name in names], dtype=np.int64),
        _SHA256: _pack_digests([p.sha256 for p in pictures]),
        _PIXELS: _pack_digests([p.pixels for p in pictures]),
        _SCORES: np.array([p.score for p in pictures], np.float64),
        _PEAKS: np.array([p.peak for p in pictures], np.float64),
        _GROUPS: np.array([p.group for p in pictures], np.int64),
    }


def unpack_pictures(arrays: Arrays) -> tuple[NominalPicture, ...]:
    """Undo :func:`pack_pictures`, every value checked.

    Args:
        arrays: ``ARRAYS``, and any others.

    Raises:
        ValueError: types, shapes, lengths or values make no sense.
    """
    count = len(arrays[_ENDS]) if arrays[_ENDS].ndim else 0
    if count == 0:
        raise ValueError("no pictures")
    names = _unpack_names(
        _checked(arrays, _NAMES, np.uint8, arrays[_NAMES].size),
        _checked(arrays, _ENDS, np.int64, count),
    )
    digests = [
        _unpack_digests(_checked(arrays, name, np.uint8, count, _DIGEST_BYTES))
        for name in (_SHA256, _PIXELS)
    ]
    values = [_checked(arrays, name, np.float64, count) for name in (_SCORES, _PEAKS)]
    if not all(np.isfinite(one).all() for one in values):
        raise ValueError("a picture's score is not finite")
    groups = _checked(arrays, _GROUPS, np.int64, count)
    if groups.min() < 0 or groups.max() >= count:
        raise ValueError("picture_groups out of range")
    columns = (names, *digests, *(one.tolist() for one in (*values, groups)))
    return tuple(NominalPicture(*row) for row in zip(*columns, strict=True))


def _checked(
    arrays: Arrays, name: str, dtype: type[np.generic], *shape: int
) -> NDArray[np.generic]:
    array = arrays[name]
    check_array(name, array, dtype, *shape)
    return array


def _unpack_names(data: NDArray[np.generic], ends: NDArray[np.generic]) -> list[str]:
    stops = [int(end) for end in ends.tolist()]
    starts = [0, *stops[:-1]]
    if stops[-1] != len(data) or not all(a <= b for a, b in zip(starts, stops, strict=True)):
        raise ValueError("picture_name_ends don't add up")
    whole = data.tobytes()
    return [whole[a:b].decode("utf-8", "surrogatepass") for a, b in zip(starts, stops, strict=True)]


def _pack_digests(digests: Sequence[str]) -> NDArray[np.uint8]:
    rows = [bytes.fromhex(digest) or _UNKNOWN for digest in digests]
    if not all(len(row) == _DIGEST_BYTES for row in rows):
        raise ValueError("a picture's digest is no SHA-256")
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, _DIGEST_BYTES)


def _unpack_digests(rows: NDArray[np.generic]) -> list[str]:
    return ["" if row == _UNKNOWN else row.hex() for row in map(bytes, rows.astype(np.uint8))]
