"""The command line: its commands, and the one place where errors become exit codes."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

import fapm_cli
from fapm_cli.commands import bench, build, heatmap, info, score
from fapm_cli.errors import FapmError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

# ClickException, the root of what is wrong with arguments; newer typers carry their own click.
_ArgumentError: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="fapm",
    help="Learn what good parts look like; find scratches, dents, stains, missing and wrong parts.",
    epilog="Example:  fapm build samples/good -o bank.st  &&  fapm score bank.st samples/test",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fapm {fapm_cli.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Learn what good parts look like; find scratches, dents, stains, missing and wrong parts."""


for _command in (build.build, score.score, heatmap.heatmap, bench.bench, info.info):
    app.command(no_args_is_help=_command is not bench.bench)(_command)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; errors become one line on stderr."""
    try:
        code = app(arguments, standalone_mode=False)
    except FapmError as error:
        typer.echo(f"fapm: {error}", err=True)
        return EXIT_ERROR
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("fapm: interrupted", err=True)
        return EXIT_INTERRUPTED
    except _ArgumentError as error:
        message = error.format_message()  # type: ignore[attr-defined]
        if message:
            typer.echo(f"fapm: {message}; see fapm --help", err=True)
        return EXIT_ERROR
    return code if isinstance(code, int) else 0


def main() -> None:
    """Be the ``fapm`` program."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads us may stop: be silent
    sys.exit(run())
