"""What every layout is read into: categories of labelled pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fapm_cli.errors import PictureError
from fapm_cli.files import name_first
from fapm_cli.finding.folders import count_kinds, exists, sorted_paths
from fapm_cli.finding.learnable import GOOD
from fapm_cli.stores.stored import AnyPath


@dataclass(frozen=True)
class TestPicture:
    """A labelled picture.

    Attributes:
        path: the picture.
        defect: its label, or the name of its folder; None for a good one.
        masks: where the defect is marked, in one file or several; empty where that is not known,
            and for a good picture.
    """

    __test__ = False

    path: AnyPath
    defect: str | None
    masks: tuple[AnyPath, ...] = ()


@dataclass(frozen=True)
class Category:
    """One kind of part.

    Attributes:
        name: of its folder, or as the dataset has it.
        train: nominal pictures.
        test: labelled pictures.
        apart: defects whose figures are given apart too, by what those figures are called.
        notes: what of the dataset is left out, in words.
        failures: links that lead nowhere, and folders of test pictures that hold none.
    """

    name: str
    train: Sequence[AnyPath]
    test: Sequence[TestPicture]
    apart: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    failures: Sequence[PictureError] = ()

    @property
    def defective(self) -> list[TestPicture]:
        """The test pictures with a defect."""
        return [one for one in self.test if one.defect is not None]

    @property
    def unmarked(self) -> list[TestPicture]:
        """The defective pictures without a mask."""
        return [one for one in self.defective if not one.masks]

    @property
    def remarks(self) -> list[str]:
        """What of the dataset is left out, and what the lack of masks costs, in words."""
        missing, num_defective = self.unmarked, len(self.defective)
        if not missing:
            return [*self.notes]
        if len(missing) == num_defective:
            return [*self.notes, "lacks masks: no pixel figures"]
        names = name_first([f"{one.path.parent.name}/{one.path.name}" for one in missing])
        return [
            *self.notes,
            f"{len(missing)} of {num_defective} defective pictures lack a mask and are left out of "
            f"the pixel figures: {names}",
        ]


@dataclass(frozen=True)
class Found:
    """A category that was found, and not read yet.

    Attributes:
        name: of the category.
        read: lists its pictures; raises PictureError where none are good, to learn or to test.
    """

    name: str
    read: Callable[[], Category]


Find = Callable[[AnyPath, frozenset[str]], list[Found]]
"""A layout: finds the categories of a folder or file that is in this layout, else none; told what
good pictures' labels are called, in small letters."""


def check(category: Category, where: AnyPath) -> Category:
    """Pass a category on that has pictures to test, good ones among them.

    Raises:
        PictureError: it has not.
    """
    why = "".join(f"; {failure}" for failure in category.failures)
    if not category.test:
        wanted = "wanted test/good, test/DEFECT"
        raise PictureError(f"category {where} has no test pictures; {wanted}{why}")
    if all(one.defect is not None for one in category.test):
        labels = name_first(sorted({one.defect for one in category.test if one.defect is not None}))
        raise PictureError(
            f"category {where} has no good test pictures, labels are {labels}; "
            f"good ones are called {', '.join(sorted(GOOD))}, or as --good says{why}"
        )
    return category


def is_good(label: str, good: frozenset[str]) -> bool:
    """Whether a label, in any case, says that a picture is good."""
    return label.casefold() in good


def omitted(names: Sequence[str], kind: str, where: str) -> list[str]:
    """A note that counts and names what of a kind is left out; none for nothing."""
    count = f"{len(names)} {kind}" + "s" * (len(names) > 1)
    return [f"{count} in {where}: left out: {name_first(names)}"] if names else []


def broken_links(folder: AnyPath) -> list[PictureError]:
    """An error for each link in a folder that leads nowhere."""
    broken = [path for path in entries(folder) if not exists(path)]
    return [PictureError(f"link {path} can't be followed: it leads nowhere") for path in broken]


def left_out_note(left_out: Counter[str]) -> list[str]:
    """A note of what of a category's folders is left out, by ending or kind; none for nothing."""
    return [f"left out of its folders: {count_kinds(left_out)}"] if left_out else []


def entries(folder: AnyPath) -> list[AnyPath]:
    """What lies in a folder, if it is one, sorted, what is hidden left out."""
    if not folder.is_dir():
        return []
    return sorted_paths(path for path in folder.iterdir() if not path.name.startswith("."))


def folders(root: AnyPath) -> list[AnyPath]:
    """The folders in a folder, sorted, hidden ones left out."""
    return [path for path in entries(root) if path.is_dir()]
