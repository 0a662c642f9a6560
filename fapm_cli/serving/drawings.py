"""What is shown of a picture that was judged: itself, its heatmap, the nearest good part."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from fapm_cli.bank.bank import nominal_picture
from fapm_cli.errors import PictureError
from fapm_cli.pictures.picture import Encoded, read_picture
from fapm_cli.pictures.wide_samples import ALL_BITS
from fapm_cli.serving.history import Judgement

SHOWN = ("picture", "heatmap", "nearest")


def draw(one: Judgement, what: str, most_px: int | None) -> bytes:
    """Draw what is asked for.

    Args:
        one: the picture.
        what: one of :data:`SHOWN`: itself, upright; that with its heatmap, as ``fapm heatmap``
            draws it; or the picture of the bank that comes nearest at the worst spot.
        most_px: the longer side is no longer than this; None for its own size.

    Returns:
        A PNG where ``most_px`` is None, else a JPEG.

    Raises:
        PictureError: it can't be shown any more, or never could.
    """
    image = _nearest(one) if what == "nearest" else _own(one, with_heat=what == "heatmap")
    data = BytesIO()
    if most_px is None:
        image.save(data, "PNG", compress_level=1)
    else:
        image.thumbnail((most_px, most_px), Image.Resampling.LANCZOS, reducing_gap=3.0)
        image.save(data, "JPEG", quality=85)
    return data.getvalue()


def _own(one: Judgement, *, with_heat: bool) -> Image.Image:
    file, result, loaded = one.file, one.result, one.loaded
    if file is None or (with_heat and result is None):
        raise PictureError(f"picture {one.id} can't be drawn: {_reason(one)}")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise PictureError(f"the copy of picture {one.id} can't be read: {error}") from error
    if result is not None and with_heat:
        return result.with_file(data).heatmap()
    bits = ALL_BITS if loaded is None else loaded.detector.learnt.config.preprocessing.bit_depth
    return read_picture(Encoded(file, data), bits).image


def _nearest(one: Judgement) -> Image.Image:
    result, loaded = one.result, one.loaded
    if result is None or loaded is None:
        raise PictureError(f"picture {one.id} has no nearest one now: {_reason(one)}")
    pixels = nominal_picture(loaded.detector.learnt, int(result.nearest["picture"]))
    if pixels is None:
        raise PictureError(f"bank {one.bank} keeps no pictures")
    return Image.fromarray(pixels)


def _reason(one: Judgement) -> str:
    if "error" in one.record:
        return "it could not be judged"
    if one.file is None:
        return "no copy of it is kept"
    return "the bank was replaced since, or too many came after it"
