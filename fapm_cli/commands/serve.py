"""``fapm serve``: banks in one process, asked over HTTP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fapm_cli.commands.options import MACHINE, OUTPUT, PICTURES, VERDICTS, ThreadsOption
from fapm_cli.commands.sinks import QueueOption, QueueSizeOption, ToOption, publishing
from fapm_cli.commands.terminal import log_as, note
from fapm_cli.commands.watchdog import Watchdog
from fapm_cli.errors import OptionError

if TYPE_CHECKING:
    from fapm_cli.line.line import Line


def serve(
    context: typer.Context,
    banks: Annotated[
        list[str],
        typer.Argument(
            metavar="BANK...",
            help="Banks made by fapm build, each as FILE or NAME=FILE; or one fapm.toml.",
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
            help="What it holds, every request has to show (default: FAPM_TOKEN_FILE, FAPM_TOKEN).",
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
    log: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Lines on stderr as text or json (default: FAPM_LOG, or text).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Judge pictures that are sent over HTTP, and show them to an operator.

    Prints the address, which in a browser is the operator's page. A bank whose file changes is put
    in place between two pictures. Ends with SIGTERM or Ctrl-C (exit code 0).

    Or all of it from a file, fapm.toml: banks, sources, sinks and these options, without --; an
    option that is given here goes before the one there.

    Example:  fapm serve bank.st --port 8000
    """
    from fapm_cli.compute.cores import use_threads
    from fapm_cli.serving.serve import serve as serve_banks

    line = _line(context)
    log_as(line.log)
    use_threads(line.threads)
    watchdog = Watchdog()

    def ready(address: str) -> None:
        typer.echo(address)
        watchdog.ready()

    with publishing([*line.to], line.queue, line.queue_size) as publish:
        serve_banks(
            line.banks,
            line.settings(),
            say=note,
            ready=ready,
            publish=publish,
            sources=[source.inlet() for source in line.sources],
            alive=watchdog.alive,
        )
        watchdog.stopping()


def _line(context: typer.Context) -> Line:
    """What was asked for: by a file, where that is named, and options, which go before it.

    Raises:
        OptionError: the file is none of a line, or banks are named badly.
    """
    from fapm_cli.line.file import load_line
    from fapm_cli.line.line import Line

    asked = dict(context.params)
    banks = asked.pop("banks")
    asked["to"] = tuple(asked["to"] or ())
    if not any(Path(one).suffix == ".toml" for one in banks):
        return Line(_name_banks(banks), **asked)
    if len(banks) > 1:
        raise OptionError(f"{', '.join(banks)}: name either banks, or one fapm.toml that has them")
    given = {name: value for name, value in asked.items() if _is_given(context, name)}
    return replace(load_line(Path(banks[0])), **given)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _name_banks(given: list[str]) -> dict[str, Path]:
    """Banks by their names: of ``NAME=FILE``, or else of the file.

    Raises:
        OptionError: a name stands for two, or can't stand in an address.
    """
    from fapm_cli.line.line import check_bank_name

    banks: dict[str, Path] = {}
    for one in given:
        name, equals, path = one.partition("=")
        file = Path(path if equals and "/" not in name else one)
        name = name if equals and "/" not in name else file.stem
        try:
            check_bank_name(name)
        except OptionError as error:
            raise OptionError(f"bank {one}: {error}") from error
        if name in banks:
            raise OptionError(f"banks {banks[name]} and {file} are both {name}: say NAME=BANK")
        banks[name] = file
    return banks
