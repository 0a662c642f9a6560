"""What a line is: banks, sources, sinks, and the service that all of it runs in."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fapm_cli.errors import OptionError
from fapm_cli.serving.feeding import Inlet
from fapm_cli.serving.settings import Settings, read_token
from fapm_cli.sources.source import Source, camera_source, files_source, watch_source


@dataclass(frozen=True)
class LineSource:
    """A source of a line, one of three kinds, and the bank that judges what it gives.

    Attributes:
        bank: by name.
        watch: a folder.
        camera: a number, or ``genicam:PRODUCER#DEVICE``.
        video: a file.
        only_new: of a folder, whether to leave out what is there at first.
        every: of a video, judge each so many-th frame.
    """

    bank: str
    watch: Path | None = None
    camera: int | str | None = None
    video: Path | None = None
    only_new: bool = False
    every: int = 1

    @property
    def name(self) -> str:
        """What it is called in messages."""
        if isinstance(self.camera, int):
            return f"camera:{self.camera}"
        return str(self.camera or self.watch or self.video)

    def open(self) -> Source:
        """Open it.

        Raises:
            PictureError, DeviceError: it can't be opened.
        """
        if self.watch is not None:
            return watch_source(self.watch, only_new=self.only_new)
        if self.camera is not None:
            return camera_source(self.camera)
        assert self.video is not None
        return files_source([self.video], self.every)

    def inlet(self) -> Inlet:
        """As a service takes it. A folder that was gone is watched on, by what was known of it."""
        opened = functools.cache(self.open) if self.watch is not None else self.open
        return Inlet(self.name, self.bank, opened, ends=self.video is not None)


@dataclass(frozen=True)
class Line:
    """All that ``fapm serve`` is told; each field but the first two is an option of it.

    Attributes:
        banks: files by the names they have in addresses.
        sources: what is judged without being asked for.
        to: addresses of sinks.
        queue: where records wait for them; None for the usual place.
        queue_size: most that wait, in MB.
        host: where the service listens.
        port: likewise; 0 for any that is free.
        token_file: holds what every request has to show; None for what the environment says.
        root: the folder of pictures that may be named by path.
        keep: where pictures and decisions are kept.
        keep_last: how many pictures are kept, and shown.
        drift: whether to follow the drift of each bank's pictures.
        max_waiting: how many requests may wait.
        max_mb: MiB of a picture's file that is sent.
        max_megapixels: millions of px of one.
        body_timeout: seconds in which a file has to come.
        threads: that judge; None for one a core.
        log: how lines on stderr are written, ``text`` or ``json``; None for what FAPM_LOG says.
    """

    banks: Mapping[str, Path] = field(default_factory=dict)
    sources: tuple[LineSource, ...] = ()
    to: tuple[str, ...] = ()
    queue: Path | None = None
    queue_size: int = 256
    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    root: Path | None = None
    keep: Path | None = None
    keep_last: int = 100
    drift: bool = False
    max_waiting: int = 16
    max_mb: int = 32
    max_megapixels: int = 50
    body_timeout: float = 10
    threads: int | None = None
    log: str | None = None

    def settings(self) -> Settings:
        """How its service is run.

        Raises:
            OptionError: the token can't be read, or is none.
        """
        return Settings(
            host=self.host,
            port=self.port,
            token=read_token(self.token_file),
            root=self.root,
            keep=self.keep,
            keep_last=self.keep_last,
            queue=self.max_waiting,
            most_bytes=self.max_mb * 2**20,
            most_px=self.max_megapixels * 1_000_000,
            body_seconds=self.body_timeout,
            drift=self.drift,
        )


def check_bank_name(name: str) -> str:
    """Check that a bank's name can stand in an address, and give it.

    Raises:
        OptionError: it can't.
    """
    if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise OptionError(
            f"{name!r} can't stand in an address: name it by letters, digits, - and _, like "
            "part=BANK"
        )
    return name
