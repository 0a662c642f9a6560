"""How the command line's words become arguments, beyond what typer does."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand


class Command(TyperCommand):
    """A command that takes nothing empty: an empty path would be the current folder."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Check the words as they were given, then parse as typer does.

        Raises:
            typer.BadParameter: an argument or option is empty.
        """
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        for param in self.params:
            words = given.get(str(param.name))
            if "" in (words if isinstance(words, (list, tuple)) else (words,)):
                name = next((opt for opt in param.opts if opt.startswith("-")), str(param.metavar))
                raise typer.BadParameter(f"{name} is empty: give a value (. is this folder)")
        return super().parse_args(ctx, args)
