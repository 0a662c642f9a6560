"""The depth of a set of pictures, where their samples have more than 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from fapm_cli.errors import PictureError
from fapm_cli.pictures.decoding import used_range
from fapm_cli.pictures.read_ahead import in_order
from fapm_cli.pictures.wide_samples import ALL_BITS

_DEPTHS = (8, 10, 12, 14, 16)


def find_bit_depth(
    files: Iterable[Path], on_done: Callable[[int], None] = lambda done: None
) -> int:
    """Find how many bits the samples of a set of pictures use, where they have more than 8.

    The files may say it, but only of how many the camera gave: a PNG's values may be scaled up to
    16 bits all the same. So it is the least of 8, 10, 12, 14 and 16, or what the files say, that
    holds the largest value of them all.

    Args:
        files: of pictures; only those of more than 8 bits are decoded.
        on_done: told how many were looked at, whenever one has more than 8 bits.

    Returns:
        16 where none has more than 8 bits.

    Raises:
        PictureError: files say different things.
    """
    said: dict[int, Path] = {}
    largest = -1
    paths = list(files)
    for done, (path, used) in enumerate(zip(paths, in_order(paths, used_range), strict=True), 1):
        if used is not None:
            bits, most = used
            largest = max(largest, most)
            if bits < ALL_BITS:
                said.setdefault(bits, path)
            on_done(done)
    if len(said) > 1:
        of_each = ", ".join(f"{bits} bits ({said[bits]})" for bits in sorted(said))
        raise PictureError(
            f"pictures say different depths: {of_each}; give pictures of one camera, or say how "
            "many bits all of them use with --bit-depth"
        )
    if largest < 0:
        return ALL_BITS
    least = max(said, default=min(_DEPTHS))
    return min(d for d in {*_DEPTHS, least} if d >= least and largest < 1 << d)
