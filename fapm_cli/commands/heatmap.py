"""``fapm heatmap``: show where a picture is unlike the good ones."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fapm_cli.commands.common import (
    BankArgument,
    BatchSizeOption,
    CalibrationOption,
    DeviceOption,
    LayerWeightsOption,
    NeighborsOption,
    PathsArgument,
    PrecisionOption,
    ReachOption,
    SigmaOption,
    WeightsOption,
    check_threshold,
    find_named,
    note,
    open_detector,
    progress_bar,
    query_changes,
)
from fapm_cli.errors import OptionError, OutputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fapm_cli.engine import Detector, Judged

EXIT_ERROR = 2


def heatmap(
    bank: BankArgument,
    paths: PathsArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")],
    raw_map: Annotated[
        str | None,
        typer.Option("--map", metavar="tiff|npy", help="Also write the raw float32 map."),
    ] = None,
    mask: Annotated[
        bool, typer.Option(help="Also write where the map exceeds the threshold of a px.")
    ] = False,
    threshold: Annotated[
        float | None, typer.Option(help="For --mask (default: the bank's own).")
    ] = None,
    weights: WeightsOption = None,
    neighbors: NeighborsOption = None,
    layer_weights: LayerWeightsOption = None,
    sigma: SigmaOption = None,
    reach: ReachOption = None,
    calibration: CalibrationOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    batch_size: BatchSizeOption = 8,
) -> int:
    """Draw where pictures are unlike the good ones, over the pictures at their own size.

    Colour starts where good parts end and means the same in every picture of a bank. Prints the
    path of each heatmap.

    Example:  fapm heatmap bank.st samples/test -o out/
    """
    check_threshold(threshold)
    if raw_map not in (None, "tiff", "npy"):
        raise OptionError(f"map {raw_map!r}: use tiff or npy")
    if threshold is not None and not mask:
        raise OptionError("--threshold is for --mask: add it, or leave both out")
    from fapm_cli.engine import Unreadable, judge

    changes = query_changes(neighbors, layer_weights, sigma, reach, calibration)
    detector = open_detector(bank, device, precision, weights, changes)
    if mask and threshold is None:
        threshold = detector.pixel_threshold
    named, failures = find_named(paths)
    for _, error in failures:
        note(f"fapm: {error}")
    stems = _stems(named, output)
    failed = len(failures)
    with progress_bar() as advance:
        judged = judge(detector, (file for file, _ in named), batch_size)
        for done, (one, stem) in enumerate(zip(judged, stems, strict=True), start=1):
            if isinstance(one, Unreadable):
                note(f"fapm: {one.error}")
                failed += 1
            else:
                scores = _draw(detector, one, stem)
                _write_extras(scores, stem, raw_map, threshold)
                typer.echo(f"{stem}_heatmap.png")
            advance("heatmap", done, len(named))
    return EXIT_ERROR if failed else 0


_KINDS = ("heatmap.png", "map.tiff", "map.npy", "mask.png")


def _stems(named: list[tuple[Path, str]], output: Path) -> list[str]:
    """Choose a stem for each picture's files: its path below its folder, unique, never an input."""
    if output.exists() and not output.is_dir():
        raise OutputError(f"output {output} is a file; name a folder")
    taken = {str(file.resolve()) for file, _ in named}
    stems = []
    for _, name in named:
        stem = str(output.resolve() / Path(name).with_suffix(""))
        number = 1
        numbered = stem
        while any(f"{numbered}_{kind}" in taken for kind in _KINDS):
            number += 1
            numbered = f"{stem}_{number}"
        taken.update(f"{numbered}_{kind}" for kind in _KINDS)
        stems.append(str(output / Path(name).with_suffix("")) + numbered[len(stem) :])
    return stems


def _draw(detector: Detector, one: Judged, stem: str) -> NDArray[np.float32]:
    """Write the heatmap; returns the anomaly map in the picture's own pixels."""
    import numpy as np

    from fapm_cli.drawing import draw_heatmap
    from fapm_cli.images import read_picture

    picture = one.prepared.picture
    located = detector.locate(one.found, picture.size_px)
    scores = detector.picture_map(one.found.anomaly_maps[0], picture.size_px).cpu().numpy()
    drawn = draw_heatmap(
        np.asarray(read_picture(picture.path).image),
        scores,
        detector.calm_score,
        (located["peak"]["x"], located["peak"]["y"]),
        located["score"],
    )
    _save(Path(f"{stem}_heatmap.png"), _png(drawn))
    return scores


def _write_extras(
    scores: NDArray[np.float32], stem: str, raw_map: str | None, threshold: float | None
) -> None:
    import numpy as np
    from PIL import Image

    data = io.BytesIO()
    if raw_map == "npy":
        np.save(data, scores)
    elif raw_map == "tiff":
        Image.fromarray(scores).save(data, "TIFF")
    if raw_map is not None:
        _save(Path(f"{stem}_map.{raw_map}"), data.getvalue())
    if threshold is not None:
        above = np.where(np.nan_to_num(scores, nan=-np.inf) > threshold, 255, 0).astype(np.uint8)
        _save(Path(f"{stem}_mask.png"), _png(above))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG", compress_level=3)
    return data.getvalue()


def _save(path: Path, data: bytes) -> None:
    from fapm_cli.files import write_atomically

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"can't make folder {path.parent}: {error.strerror}") from error
    write_atomically(path, data)
