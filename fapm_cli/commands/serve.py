"""``fapm serve``: banks in one process, asked over HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from fapm_cli.commands.options import MACHINE, OUTPUT, PICTURES, VERDICTS, ThreadsOption
from fapm_cli.commands.sinks import QueueOption, QueueSizeOption, ToOption, publishing
from fapm_cli.commands.terminal import note
from fapm_cli.errors import OptionError

TOKEN_VARIABLE, SHORTEST_TOKEN = "FAPM_TOKEN", 16


def serve(
    banks: Annotated[
        list[str],
        typer.Argument(
            metavar="BANK...", help="Banks made by fapm build, each as FILE or NAME=FILE."
        ),
    ],
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Where to listen; beyond this machine a token is needed.",
            rich_help_panel=MACHINE,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, metavar="N", help="0: any that is free.", rich_help_panel=MACHINE
        ),
    ] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What it holds, every request has to show (default: FAPM_TOKEN).",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Pictures below it may be named by their paths.",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Keep the last pictures and all decisions there.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    keep_last: Annotated[
        int,
        typer.Option(
            min=1,
            max=10_000,
            metavar="N",
            help="Pictures to keep and show.",
            rich_help_panel=OUTPUT,
        ),
    ] = 100,
    drift: Annotated[
        bool,
        typer.Option(
            "--drift",
            help="Say of each picture whether light, focus, position or process changed so far.",
            rich_help_panel=VERDICTS,
        ),
    ] = False,
    to: ToOption = None,
    queue: QueueOption = None,
    queue_size: QueueSizeOption = 256,
    max_waiting: Annotated[
        int,
        typer.Option(
            min=0,
            max=10_000,
            metavar="N",
            help="Pictures that may wait; more are told to come again.",
            rich_help_panel=MACHINE,
        ),
    ] = 16,
    max_mb: Annotated[
        int,
        typer.Option(
            min=1, max=1024, metavar="N", help="MiB of a file at most.", rich_help_panel=PICTURES
        ),
    ] = 32,
    max_megapixels: Annotated[
        int,
        typer.Option(
            min=1,
            max=200,
            metavar="N",
            help="Millions of px of a picture at most.",
            rich_help_panel=PICTURES,
        ),
    ] = 50,
    body_timeout: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=3600,
            metavar="S",
            help="Seconds in which a file has to come.",
            rich_help_panel=PICTURES,
        ),
    ] = 10,
    threads: ThreadsOption = None,
) -> None:
    """Judge pictures that are sent over HTTP, and show them to an operator.

    Prints the address, which in a browser is the operator's page. A bank whose file changes is put
    in place between two pictures. Ends with SIGTERM or Ctrl-C (exit code 0).

    Example:  fapm serve bank.st --port 8000
    """
    from fapm_cli.compute.cores import use_threads
    from fapm_cli.serving.serve import serve as serve_banks
    from fapm_cli.serving.settings import Settings

    files = _name_banks(banks)
    settings = Settings(
        host=host,
        port=port,
        token=_read_token(token_file),
        root=root,
        keep=keep,
        keep_last=keep_last,
        queue=max_waiting,
        most_bytes=max_mb * 2**20,
        most_px=max_megapixels * 1_000_000,
        body_seconds=body_timeout,
        drift=drift,
    )
    use_threads(threads)
    with publishing(to, queue, queue_size) as publish:
        serve_banks(files, settings, say=note, ready=typer.echo, publish=publish)


def _read_token(file: Path | None) -> str | None:
    """The token in a file, or else in the environment; None where neither is given.

    Raises:
        OptionError: it can't be read, or is too short to be a secret.
    """
    token, where = os.environ.get(TOKEN_VARIABLE), TOKEN_VARIABLE
    if file is not None:
        where = f"token file {file}"
        try:
            token = file.read_text("utf-8")
        except (OSError, ValueError) as error:
            raise OptionError(f"{where} can't be read: {error}") from error
    if token is None:
        return None
    token = token.strip()
    if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()):
        raise OptionError(
            f"{where} has {len(token)} characters; wanted {SHORTEST_TOKEN} or more of ASCII, like "
            "those of: openssl rand -hex 32"
        )
    return token


def _name_banks(given: list[str]) -> dict[str, Path]:
    """Banks by their names: of ``NAME=FILE``, or else of the file.

    Raises:
        OptionError: a name stands for two, or can't stand in an address.
    """
    banks: dict[str, Path] = {}
    for one in given:
        name, equals, path = one.partition("=")
        file = Path(path if equals and "/" not in name else one)
        name = name if equals and "/" not in name else file.stem
        if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise OptionError(
                f"bank {one}: {name!r} can't stand in an address: name it by letters, digits, "
                "- and _, like part=BANK"
            )
        if name in banks:
            raise OptionError(f"banks {banks[name]} and {file} are both {name}: say NAME=BANK")
        banks[name] = file
    return banks
