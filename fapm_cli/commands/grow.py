"""``fapm add`` and ``fapm merge``: banks that grow, without the pictures they were built from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fapm_cli.commands.formats import choose_format
from fapm_cli.commands.making import KeepSuspectsOption, SkipBadOption, making
from fapm_cli.commands.options import (
    OUTPUT,
    BankArgument,
    BatchSizeOption,
    DeviceOption,
    FormatOption,
    GroupOption,
    JsonOption,
    ThreadsOption,
    WeightsOption,
)
from fapm_cli.commands.path_arguments import WHERE, paths_argument
from fapm_cli.commands.paths import (
    LabelsOption,
    add_labelled,
    check_order,
    check_output,
    find_named,
)
from fapm_cli.commands.terminal import note
from fapm_cli.errors import OptionError
from fapm_cli.finding.kinds import A_BANK

OptionalPaths = Annotated[
    list[Any] | None,
    paths_argument(
        "[PATH...]", f"Pictures and folders (searched through), {WHERE}; - reads paths from stdin."
    ),
]


def add(
    bank: BankArgument,
    paths: OptionalPaths = None,
    labels: LabelsOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The bank to write (default: BANK).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    weights: WeightsOption = None,
    skip_bad: SkipBadOption = False,
    keep_suspects: KeepSuspectsOption = False,
    group: GroupOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    batch_size: BatchSizeOption = 16,
    output_format: FormatOption = "text",
    as_json: JsonOption = False,
) -> None:
    """Extend a bank by more pictures of good parts.

    It becomes the bank that a build of all pictures at once gives, from the pictures it holds;
    the files it was built from are not needed. A picture that is in the bank already, in any
    encoding, is left out.

    Example:  fapm add bank.st samples/test/good -o grown.st
    """
    paths, _ = add_labelled(labels, paths, None)
    if not paths:
        raise OptionError("nothing to add: give PATH..., or --labels FILE with good parts")
    check_order("add", bank, paths)
    kind = choose_format(output_format, json=as_json)
    target = output or bank
    check_output(target, A_BANK)
    from fapm_cli.api.learning import add as add_pictures
    from fapm_cli.api.pictures import part_namer
    from fapm_cli.compute.cores import use_threads

    part_namer(group)  # what can be wrong with it is said before the work
    use_threads(threads)
    files = find_named(paths, of="good")
    with making(target, skip_bad, group) as work:
        grown = add_pictures(
            bank,
            files,
            weights=weights,
            group=group,
            device=device,
            batch_size=batch_size,
            listener=work,
        )
    if not keep_suspects:
        work.check_suspects(work.num_added)
    for one in work.without_thumbnails:
        note(
            f"note: {one} has no thumbnails: its pictures' scores and its calibration stay, "
            "and near twins of them are not found"
        )
    names = [picture.name for picture in grown.learnt.pictures[-work.num_added :]]
    if group == "folder" and (bare := [name for name in names if "/" not in name]):
        note(
            f"note: {len(bare)} of {len(names)} new names hold no folder, and tell no part of "
            "the bank's: give the folder that theirs lie in"
        )
    before = grown.learnt.previous_thresholds
    if before is not None and before.method != "pseudo-defects":
        note(f"note: before: {before.describe()}")
    work.finish(grown, kind)


def merge(
    banks: Annotated[list[Path], typer.Argument(metavar="BANK...", help="Two banks or more.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The bank to write.", rich_help_panel=OUTPUT
        ),
    ],
    weights: WeightsOption = None,
    group: GroupOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    output_format: FormatOption = "text",
    as_json: JsonOption = False,
) -> None:
    """Join banks of one configuration into one.

    It becomes the bank that a build of all pictures at once gives, from the pictures they hold. A
    picture that is in several counts once.

    Example:  fapm merge monday.st tuesday.st -o week.st
    """
    kind = choose_format(output_format, json=as_json)
    check_output(output, A_BANK)
    from fapm_cli.api.learning import merge as merge_banks
    from fapm_cli.api.pictures import part_namer
    from fapm_cli.compute.cores import use_threads

    part_namer(group)  # what can be wrong with it is said before the work
    use_threads(threads)
    with making(output, group=group) as work:
        merged = merge_banks(banks, weights=weights, group=group, device=device, listener=work)
    if work.shared:
        note(f"note: {work.shared} pictures are in several banks: counted once")
    for one in work.without_thumbnails[:1]:
        note(
            f"note: {one} has no thumbnails: scores stay, calibrations are averaged, and near "
            "twins are not found"
        )
    if work.aims_differ:
        note(f"note: verdicts aim at what those of {banks[0]} do, and at other things in others")
    work.finish(merged, kind)
