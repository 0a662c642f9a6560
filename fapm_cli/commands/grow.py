"""``fapm add`` and ``fapm merge``: banks that grow, without the pictures they were built from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fapm_cli.commands.formats import choose_format
from fapm_cli.commands.making import KeepSuspectsOption, SkipBadOption, making, tell_memory
from fapm_cli.commands.notes import note_differences
from fapm_cli.commands.opening import use_threads
from fapm_cli.commands.options import (
    OUTPUT,
    BankArgument,
    BatchSizeOption,
    DeviceOption,
    FormatOption,
    GroupOption,
    JsonOption,
    PathsArgument,
    ThreadsOption,
    WeightsOption,
)
from fapm_cli.commands.paths import check_order, check_output, find_named, part_namer
from fapm_cli.commands.terminal import note
from fapm_cli.errors import BankError, OptionError
from fapm_cli.finding.kinds import A_BANK

if TYPE_CHECKING:
    from fapm_cli.bank.bank import Bank


def add(
    bank: BankArgument,
    paths: PathsArgument,
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
    check_order("add", bank, paths)
    kind = choose_format(output_format, json=as_json)
    target = output or bank
    check_output(target, A_BANK)
    part_of = part_namer(group)
    from fapm_cli.bank.backbone import bank_extractor
    from fapm_cli.bank.file import load_bank
    from fapm_cli.compute.device import resolve_device
    from fapm_cli.learning.anew import without_keys
    from fapm_cli.learning.grow import add_pictures
    from fapm_cli.pictures.seen import Differences

    use_threads(threads)
    where = resolve_device(device)
    (loaded,) = without_keys([load_bank(bank)])
    files = find_named(paths, to_learn=True)
    extractor = bank_extractor(loaded, weights).to(where)
    tell_memory(loaded.config, extractor, len(loaded.pictures) + len(files), files)
    differences = Differences()
    with making(target, skip_bad, group) as work:
        grown = add_pictures(
            loaded,
            files,
            extractor,
            batch_size,
            part_of=part_of,
            on_bad=work.on_bad,
            on_known=work.on_known,
            on_suspects=work.on_suspects,
            on_like=lambda like: differences.count(loaded.differences(like)),
            on_stage=work.on_stage,
        )
    note_differences(differences)
    if not keep_suspects:
        work.check_suspects(len(grown.pictures) - len(loaded.pictures))
    if grown.thumbnails is None:
        note(
            f"note: {bank} has no thumbnails: its pictures' scores, now upper bounds, "
            "and its calibration stay"
        )
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
    if len(banks) < 2:
        raise OptionError(f"merge needs two banks or more, got {len(banks)}")
    check_output(output, A_BANK)
    from fapm_cli.bank.backbone import bank_extractor
    from fapm_cli.bank.file import load_bank
    from fapm_cli.compute.device import resolve_device
    from fapm_cli.learning.anew import without_keys
    from fapm_cli.learning.merge import merge_banks

    use_threads(threads)
    where = resolve_device(device)
    loaded = without_keys([load_bank(path) for path in banks])
    _check_alike(loaded, banks)
    holder = next((one for one in loaded if one.backbone is not None), loaded[0])
    extractor = bank_extractor(holder, weights).to(where)
    tell_memory(loaded[0].config, extractor, sum(len(one.pictures) for one in loaded))
    with making(output) as work:
        merged = merge_banks(loaded, extractor, work.on_stage)
    shared = sum(len(one.pictures) for one in loaded) - len(merged.pictures)
    if shared:
        note(f"note: {shared} pictures are in several banks: counted once")
    for path, one in zip(banks, loaded, strict=True):
        if one.thumbnails is None:
            note(f"note: {path} has no thumbnails: scores stay, calibrations are averaged")
            break
    work.finish(merged, kind)


def _check_alike(banks: list[Bank], paths: list[Path]) -> None:
    """Check that banks can be merged.

    Raises:
        BankError: they differ; the message names which, and the first field in which.
    """
    from fapm_cli.learning.merge import difference

    for bank, path in zip(banks[1:], paths[1:], strict=True):
        differs = difference(banks[0], bank)
        if differs is not None:
            raise BankError(
                f"banks {paths[0]} and {path} differ in {differs}; "
                "only banks built alike can be merged"
            )
