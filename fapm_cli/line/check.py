"""Checking a line: whether all that its file names is there, and would do."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from fapm_cli.api.bank import load
from fapm_cli.errors import FapmError, OptionError, OutputError
from fapm_cli.line.file import LineFile, read_line
from fapm_cli.line.findings import Finding
from fapm_cli.line.keys import SECTIONS
from fapm_cli.line.line import Line, LineSource
from fapm_cli.packages import need, reason_of
from fapm_cli.secret import check_kept, secret_file
from fapm_cli.serving.serve import PACKAGES
from fapm_cli.serving.settings import TOKEN
from fapm_cli.sinks.address import SECRETS, read_address
from fapm_cli.sinks.opening import open_sink
from fapm_cli.sources.video import is_video

Check = Callable[[], str]
"""Says what an entry is, or raises what is wrong with it."""


def check_line(path: Path, *, connect: bool = False) -> Iterator[Finding]:
    """Check a line's file, entry by entry, in its order.

    Args:
        path: of the file.
        connect: whether to open cameras, and reach sinks; none is sent anything.

    Yields:
        A finding for each entry of the file, and for the service's host and port.

    Raises:
        OptionError: it can't be read, or is no TOML.
    """
    read = read_line(path)
    checks = _checks(read, connect)
    entries = {**dict.fromkeys(read.findings), **dict.fromkeys(checks)}
    for entry in sorted(entries, key=_section):
        finding, check = read.findings.get(entry), checks.get(entry)
        if finding is not None and (check is None or not finding.ok):
            yield finding
        elif check is not None:
            yield _found(entry, check)


def _section(entry: str) -> int:
    first = entry.split(".")[0]
    return SECTIONS.index(first) if first in SECTIONS else -1


def _found(entry: str, check: Check) -> Finding:
    try:
        return Finding(entry, True, check())
    except FapmError as error:
        return Finding(entry, False, str(error))
    except Exception as error:  # whatever a library says of what it can't reach
        return Finding(entry, False, reason_of(error))


def _checks(read: LineFile, connect: bool) -> dict[str, Check]:
    line, checks = read.line, dict[str, Check]()
    for name, file in line.banks.items():
        checks[f"banks.{name}"] = functools.partial(_bank, file)
    for entry, source in read.sources.items():
        checks[entry] = functools.partial(_source, source, connect)
    names: dict[str, str] = {}
    for entry, url in read.to.items():
        checks[entry] = functools.partial(_sink, entry, url, connect, names)
    if line.queue is not None:
        checks["sinks.queue"] = functools.partial(_writable, line.queue)
    checks["service.host"] = functools.partial(_host, line)
    checks["service.port"] = functools.partial(_port, line)
    if _token_file(line) is not None:
        checks["service.token-file"] = functools.partial(_token, line)
    if line.root is not None:
        checks["service.root"] = functools.partial(_folder, line.root)
    if line.keep is not None:
        checks["service.keep"] = functools.partial(_writable, line.keep)
    return checks


def _bank(file: Path) -> str:
    bank = load(file)
    return f"{file}: {len(bank.learnt.pictures)} pictures; {bank.thresholds.describe()}"


def _source(source: LineSource, connect: bool) -> str:
    said = f"{source.name}, judged by {source.bank}"
    if source.camera is not None and not connect:
        return f"{said} (not opened: --connect does that)"
    if source.video is not None and not (is_video(source.video) and source.video.is_file()):
        raise OptionError(f"video {source.video} is not there, or no video by its name")
    items = source.open().items
    if source.camera is not None and hasattr(items, "close"):
        items.close()
    return said


def _sink(entry: str, url: str, connect: bool, names: dict[str, str]) -> str:
    if url.startswith("@"):
        check_kept(Path(url[1:]))
    address = read_address(url)
    if address.name in names:
        raise OptionError(f"{address.name} is {names[address.name]}, too: leave one out")
    names[address.name] = entry
    file = secret_file(SECRETS.get(address.scheme, ""))
    if file is not None and not address.password:
        check_kept(file)
    with contextlib.closing(open_sink(address)) as sink:
        try:
            sink.reach(ask=connect)
        except OptionError:
            raise
        except Exception as error:
            said = address.hide(reason_of(error))
            raise OutputError(f"{address.name} can't be used: {said}") from error
    far = address.host and not connect
    return f"{address.name} (not asked: --connect does that)" if far else address.name


def _host(line: Line) -> str:
    try:
        settings = line.settings()
    except OptionError:
        if _token_file(line) is not None:
            return line.host  # that the token is none is told of its file
        raise
    replace(settings, root=None).check()
    return line.host


def _token_file(line: Line) -> Path | None:
    return line.token_file or secret_file(TOKEN)


def _port(line: Line) -> str:
    for package in PACKAGES:
        need(package, "serve")
    try:
        found = socket.getaddrinfo(line.host, line.port, type=socket.SOCK_STREAM)
        socket.create_server(found[0][4][:2], family=found[0][0]).close()
    except OSError as error:
        number = error.errno or 0
        said = os.strerror(number) if number > 0 else reason_of(error)
        raise OptionError(
            f"port {line.port} of {line.host} can't be had ({said}): is another running? "
            "Stop it, or name another port"
        ) from error
    return f"{line.port} of {line.host} is free"


def _token(line: Line) -> str:
    file = _token_file(line)
    assert file is not None
    check_kept(file)
    line.settings()
    return str(file)


def _folder(folder: Path) -> str:
    if not folder.is_dir():
        raise OptionError(f"folder {folder} is not there: make it, or name another")
    return str(folder)


def _writable(folder: Path) -> str:
    """Check that a folder can be made, or written in."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise OptionError(f"folder {folder} can't be written: {there} is read-only, or no folder")
    return str(folder)
