"""Sources: where the pictures to judge come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fapm_cli.detection.stream import Judged
from fapm_cli.errors import PictureError
from fapm_cli.finding.folders import Unreadable
from fapm_cli.pictures.reading import Item
from fapm_cli.sources.video import is_video, open_camera, video_frames
from fapm_cli.sources.watched_folder import Watch
from fapm_cli.stores.stored import AnyPath, StoredPath


def _all(one: Judged | Unreadable) -> bool:
    return True


@dataclass(frozen=True)
class Source:
    """Where pictures come from.

    Attributes:
        items: for :func:`fapm_cli.detection.stream.judge`.
        total: how many there are; None if that can't be known.
        live: whether they come when they will, and should be judged at once.
        wants: whether what came of one is worth telling; asked once for each.
        left_out: how many files of a watched folder are left out at first, by ending or kind.
    """

    items: Iterable[Item | None]
    total: int | None = None
    live: bool = False
    wants: Callable[[Judged | Unreadable], bool] = _all
    left_out: Counter[str] = field(default_factory=Counter)


def files_source(files: list[AnyPath | Unreadable], every: int = 1) -> Source:
    """Give pictures in their order; of a video every frame, or each ``every``-th."""

    def items() -> Iterator[Item]:
        for file in files:
            if isinstance(file, Path) and is_video(file):
                yield from video_frames(file, every)
            elif isinstance(file, StoredPath) and is_video(file):
                yield Unreadable(file, PictureError(f"video {file} is not here: copy it first"))
            else:
                yield file

    has_video = any(isinstance(file, Path) and is_video(file) for file in files)
    return Source(items(), None if has_video else len(files))


def watch_source(folder: Path, *, only_new: bool = False) -> Source:
    """Give a folder's pictures as they are finished, each once for every content.

    Args:
        folder: searched through again and again, with the folders in it.
        only_new: whether to leave out what is there at first, until it changes.

    Raises:
        PictureError: the folder is not there, or can't be read.
    """
    watch = Watch(folder, only_new=only_new)
    return Source(watch, live=True, wants=watch.wants, left_out=watch.left_out)


def camera_source(camera: int | str) -> Source:
    """Give a camera's newest frame whenever one is asked for, each once.

    Frames that come meanwhile are left out, so that judging never lags behind.

    Args:
        camera: its number, of those that OpenCV finds; or ``genicam:PRODUCER.cti#SERIAL``, one of
            GenICam by its maker's GenTL producer (extra ``fapm[genicam]``).

    Raises:
        DeviceError: it can't be opened.
        OptionError: the package that it takes is missing.
    """
    return Source(open_camera(camera), live=True)
