"""The command line: its commands, and the one place where errors become exit codes."""

from __future__ import annotations

import copy
import functools
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Annotated

import typer

from fapm_cli.commands import (
    bench,
    build,
    calibrate,
    check,
    drift,
    eval,
    export,
    grow,
    heatmap,
    info,
    score,
    serve,
)
from fapm_cli.commands.help import HelpCommand, HelpGroup
from fapm_cli.commands.terminal import note
from fapm_cli.errors import FapmError
from fapm_cli.version import __version__

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

# As torch says it, of a CPU and of CUDA, and the system of threads.
_WANT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "start new thread",
    "Cannot allocate memory",
    "failed to map segment",
)

_NOT_ON_A_LINE = ("torch", "torchvision")  # packages that only fapm brings, not fapm-line

# ClickException, the root of what is wrong with arguments; newer typers carry their own click.
_ArgumentError: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="fapm",
    help="Learn what good parts look like; find scratches, dents, stains, missing and wrong parts.",
    epilog="Example:  fapm build samples/good -o bank.st",
    cls=HelpGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fapm {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version, and exit."
        ),
    ] = False,
) -> None:
    """Learn what good parts look like; find scratches, dents, stains, missing and wrong parts."""


_COMMANDS: dict[str, Callable[..., int | None]] = {
    "build": build.build,
    "add": grow.add,
    "merge": grow.merge,
    "calibrate": calibrate.calibrate,
    "score": score.score,
    "serve": serve.serve,
    "check": check.check,
    "heatmap": heatmap.heatmap,
    "eval": eval.eval_,
    "bench": bench.bench,
    "info": info.info,
    "drift": drift.drift_,
    "export": export.export,
    "verify": export.verify,
}
_ALONE = ("bench", "check")  # do something with no argument
for _name, _command in _COMMANDS.items():
    app.command(_name, cls=HelpCommand, no_args_is_help=_name not in _ALONE)(_command)


@functools.cache
def _program(name: str | None) -> Callable[..., object]:
    """The commands with their options, made of the functions' signatures once; of one alone, if it
    is named, for to make all takes a tenth of a start.
    """
    program = copy.copy(app)
    program.registered_commands = [
        one for one in app.registered_commands if name in (None, one.name)
    ]
    return typer.main.get_command(program)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; errors become one line on stderr."""
    if sys.stdout is None:
        note("fapm: can't write output: stdout is closed")
        return EXIT_ERROR
    asked = (sys.argv[1:] if arguments is None else arguments)[:1]
    try:
        code = _program(asked[0] if asked and asked[0] in _COMMANDS else None)(
            arguments, prog_name="fapm", standalone_mode=False
        )
        sys.stdout.flush()
    except FapmError as error:
        note(f"fapm: {error}")
        return EXIT_ERROR
    except (typer.Abort, KeyboardInterrupt):
        code = EXIT_INTERRUPTED
    except _ArgumentError as error:
        message = str(getattr(error, "format_message", str)()).rstrip(".")
        if message:
            note(f"fapm: {message}; see fapm --help")
        return EXIT_ERROR
    except Exception as error:  # whatever it is: 1 would mean that a picture is anomalous
        if os.environ.get("FAPM_DEBUG"):
            traceback.print_exc()
        note(f"fapm: {_describe(error)}")
        return EXIT_ERROR
    if code == EXIT_INTERRUPTED:
        note("fapm: interrupted")
    return code if isinstance(code, int) else 0


def _engine_fault(error: Exception) -> str:
    """Say what failed in torch, or in Python for want of memory, and what to do about it."""
    said = str(error).strip()
    reason = said.splitlines()[0].strip() if said else type(error).__name__
    on_cuda = "CUDA" in said or "NVIDIA" in said
    if isinstance(error, MemoryError) or any(words in said for words in _WANT_OF_MEMORY):
        other = ", or --device cpu" * on_cuda
        advice = f"use fewer or smaller pictures, or a smaller --batch-size{other}"
        return f"not enough memory ({reason}); {advice}"
    advice = "check the driver, or use --device cpu" if on_cuda else "is torch installed whole?"
    return f"the engine failed ({reason}); {advice}"


def _describe(error: Exception) -> str:
    """Say what nobody foresaw."""
    said = str(error).strip()
    wants_memory = any(words in said for words in _WANT_OF_MEMORY)
    if wants_memory or isinstance(error, (RuntimeError, MemoryError)):
        return _engine_fault(error)
    if isinstance(error, ImportError) and (error.name or "").split(".")[0] in _NOT_ON_A_LINE:
        return f"this takes {error.name}, which fapm-line does not bring: pip install fapm"
    if isinstance(error, ImportError):
        return f"{error.name or 'a package'} can't be imported ({said}); install fapm anew"
    if isinstance(error, OSError):
        reason = error.strerror or said
        if _cannot_write():
            return f"can't write output: {reason}"
        return reason if error.filename is None else f"{reason}: {error.filename}"
    reason = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return f"unforeseen {reason}; with FAPM_DEBUG=1 it says where: please report it"


def _cannot_write() -> bool:
    """Whether stdout holds what it can't pass on."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _open_streams() -> None:
    """Open what is closed of stdin, stdout and stderr, or the next file opened would be them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - it is open to the end


def main() -> None:
    """Be the ``fapm`` program."""
    _open_streams()
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads us may stop: be silent
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # not every terminal knows every letter
    if isinstance(sys.stdin, io.TextIOWrapper):  # paths, whatever letters the terminal speaks
        encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
        sys.stdin.reconfigure(encoding=encoding, errors=errors, newline="\n")
    code = run()
    for stream, broken in ((sys.stdout, EXIT_ERROR), (sys.stderr, code)):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os._exit(broken)  # said already, if it can be; Python would say it again
    sys.exit(code)
