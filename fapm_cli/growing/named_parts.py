"""Parts that names tell: shots of one part that banks learn at different times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fapm_cli.bank.nominal_pictures import NominalPicture, in_groups
from fapm_cli.errors import OptionError
from fapm_cli.learning.twins import join_groups
from fapm_cli.pictures.reading import PartOf

_NO_FOLDER = "."


def join_named(pictures: Sequence[NominalPicture], part_of: PartOf) -> tuple[NominalPicture, ...]:
    """Make pictures whose names in the bank tell one part shots of that part.

    Pictures that were of one part stay so. A name that tells none, since it was given for another
    pattern, or without the folder that it lay in, joins nothing.
    """
    parts = [part_named(picture.name, part_of) for picture in pictures]
    numbers: dict[str, int] = {}
    named = [
        number if part is None else numbers.setdefault(part, number)
        for number, part in enumerate(parts)
    ]
    return tuple(in_groups(pictures, join_groups([p.group for p in pictures], named)))


def part_named(name: str, part_of: PartOf) -> str | None:
    """The part that a picture's name in a bank tells; None where it tells none."""
    try:
        part = part_of(Path(name), name)
    except OptionError:
        return None
    return None if part == _NO_FOLDER else part
