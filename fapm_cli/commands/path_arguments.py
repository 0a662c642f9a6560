"""Arguments that name pictures: as paths, or by their addresses elsewhere."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fapm_cli.stores.locating import located

WHERE = "addresses (s3://, gs://, az://, sftp://, https://), lists of them (.txt) and tar files"


def paths_argument(metavar: str, told: str) -> Any:
    """Make the argument that names pictures."""
    return typer.Argument(metavar=metavar, parser=located, help=told)


PathsArgument = Annotated[
    list[Any],
    paths_argument(
        "PATH...", f"Pictures and folders (searched through), {WHERE}; - reads paths from stdin."
    ),
]
