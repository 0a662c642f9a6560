"""The files that a heatmap is written to."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fapm_cli.commands.paths import Named
from fapm_cli.errors import OutputError, PictureError
from fapm_cli.finding.kinds import DRAWN_BY, is_drawn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    Strips = Iterator[tuple[int, NDArray[np.float32]]]

_KINDS = ("heatmap.png", "map.tiff", "map.npy", "mask.png")


def files_of(named: list[Named]) -> list[Path]:
    """The pictures that can be read."""
    return [item for item, _ in named if isinstance(item, Path)]


def choose_stems(named: list[Named], output: Path) -> list[str]:
    """Choose a stem for each picture's files: its path below its folder, unique.

    No input is overwritten, nor another picture that fapm did not draw.
    """
    if output.exists() and not output.is_dir():
        raise OutputError(f"output {output} is a file; name a folder")
    taken = {str(file.resolve()) for file in files_of(named)}
    stems = []
    for _, name in named:
        stem = str(output.resolve() / Path(name).with_suffix(""))
        number = 1
        numbered = stem
        while any(one in taken or _is_foreign(one) for one in _targets(numbered)):
            number += 1
            numbered = f"{stem}_{number}"
        taken.update(_targets(numbered))
        stems.append(str(output / Path(name).with_suffix("")) + numbered[len(stem) :])
    return stems


def _targets(stem: str) -> list[str]:
    return [f"{stem}_{kind}" for kind in _KINDS]


def _is_foreign(target: str) -> bool:
    """Whether there is a picture that fapm did not draw."""
    return target.endswith((".png", ".tiff")) and os.path.exists(target) and not is_drawn(target)


def write_map(strips: Strips, size_px: tuple[int, int], stem: str, kind: str) -> None:
    """Write the map as it is."""
    if kind == "npy":
        data: bytes | Iterator[bytes] = _npy(strips, size_px)
    else:
        data = encoded(_assemble("F", strips, size_px), "TIFF")
    save(Path(f"{stem}_map.{kind}"), data)


def _npy(strips: Strips, size_px: tuple[int, int]) -> Iterator[bytes]:
    from numpy.lib.format import write_array_header_1_0

    header = io.BytesIO()
    write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": size_px})
    yield header.getvalue()
    for _, scores in strips:
        yield scores.astype("<f4").tobytes()


def write_mask(strips: Strips, size_px: tuple[int, int], stem: str, threshold: float) -> None:
    """Write where the map exceeds the threshold: white there, else black."""
    import numpy as np

    # What is not inspected is NaN, and that exceeds nothing.
    above = ((top, np.where(scores > threshold, 255, 0).astype(np.uint8)) for top, scores in strips)
    mask = _assemble("L", above, size_px)
    save(Path(f"{stem}_mask.png"), encoded(mask, "PNG", compress_level=3))


def _assemble(
    mode: str, strips: Iterable[tuple[int, NDArray[Any]]], size_px: tuple[int, int]
) -> Image.Image:
    """Put strips together to a picture."""
    from PIL import Image

    whole = Image.new(mode, size_px[::-1])
    for top, values in strips:
        whole.paste(Image.fromarray(values), (0, top))
    return whole


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Encode a picture as PNG or TIFF, marked as drawn by fapm."""
    from PIL import PngImagePlugin

    data, texts = io.BytesIO(), PngImagePlugin.PngInfo()
    texts.add_text("Software", DRAWN_BY)
    image.save(data, kind, pnginfo=texts, software=DRAWN_BY, **options)
    return data.getvalue()


def save(path: Path, data: bytes | Iterator[bytes]) -> None:
    """Write a file whole, or leave what was there."""
    from fapm_cli.files import write_atomically

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"can't make folder {path.parent}: {error.strerror}") from error
    try:
        write_atomically(path, data)
    except OutputError as error:
        if getattr(error.__cause__, "errno", None) != errno.ENAMETOOLONG:
            raise
        raise PictureError(str(error)) from error  # the next picture's name may be shorter
