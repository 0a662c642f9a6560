"""How ``--help`` reads: options under their topics, each with its value, in 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from fapm_cli.commands.colour import coloured
from fapm_cli.commands.options import TOPICS
from fapm_cli.commands.parsing import Command

if TYPE_CHECKING:
    _Base = TyperCommand
else:
    _Base = object


class _Help(_Base):
    """Help by topic; of a switch the side that changes something; without arguments, help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Show the help, and exit 2, where nothing is said."""
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            raise typer.Exit(2)
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """Write what stands on the command line, in its order."""
        given = [str(p.metavar) for p in self.params if p.param_type_name == "argument"]
        given = given or ["COMMAND ..."]
        formatter.write_usage(ctx.command_path, " ".join(["[OPTIONS]", *given]))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, each under its topic, in two columns for all."""
        topics: dict[str, list[tuple[str, str]]] = {}
        for one in sorted(self.get_params(ctx), key=_place):
            if not getattr(one, "hidden", False):
                topics.setdefault(_topic(one), []).append((_names(one), _help(one)))
        width = max(len(names) for rows in topics.values() for names, _ in rows)
        for topic, rows in topics.items():
            with formatter.section(coloured(topic, bold=True)):
                formatter.write_dl([(coloured(n.ljust(width), fg="cyan"), h) for n, h in rows])


class HelpCommand(_Help, Command):
    """A command whose help is by topic, and that takes nothing empty."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep what was given, for advice on how to call the command next."""
        ctx.meta["given"] = [*args]
        return super().parse_args(ctx, args)


class HelpGroup(_Help, TyperGroup):
    """The program, whose help is by topic, then the commands."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, then the options."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)


_ORDER = ("Arguments", *TOPICS, "Options")


def _topic(one: Any) -> str:
    default = "Arguments" if one.param_type_name == "argument" else "Options"
    return getattr(one, "rich_help_panel", None) or default


def _place(one: Any) -> int:
    return _ORDER.index(_topic(one))


def _names(one: Any) -> str:
    """``-o, --output FILE``; of a switch that is on, the side that turns it off."""
    if one.param_type_name == "argument":
        return str(one.metavar)
    names = one.secondary_opts if one.secondary_opts and one.default is True else one.opts
    value = "" if one.is_flag else f" {one.metavar or one.name.upper()}"
    return ", ".join(sorted(names, key=len)) + value


def _help(one: Any) -> str:
    text, more = str(one.help or ""), ""
    if one.param_type_name == "option" and one.required:
        more = "required"
    elif isinstance(one.default, (str, int, float)) and not isinstance(one.default, bool):
        more = f"default: {one.default}"
    return f"{text.rstrip('.')} ({more})." if more else text
