"""Banks learnt from pictures of good parts: built, extended by more, joined."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fapm_cli.api.bank import Bank
from fapm_cli.api.listener import Listener, tell_begin
from fapm_cli.api.pictures import GoodPictures, fetched, named, part_namer
from fapm_cli.bank import bank as learnt
from fapm_cli.bank.backbone import bank_extractor
from fapm_cli.bank.file import load_bank
from fapm_cli.bank.presets import configure
from fapm_cli.bank.tensors import as_tensors, tensor
from fapm_cli.compute.device import resolve_device
from fapm_cli.config import BankConfig
from fapm_cli.errors import BankError
from fapm_cli.evaluation.budget import Budget
from fapm_cli.growing.anew import without_keys
from fapm_cli.growing.grow import add_pictures
from fapm_cli.growing.merge import check_alike, merge_banks
from fapm_cli.growing.opening import room, to_join
from fapm_cli.learning.build import build_from_files
from fapm_cli.learning.nominal_response import own_scores
from fapm_cli.learning.scratch.allowance import Allowance
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.network.loading import load_extractor, tapping
from fapm_cli.pictures.reading import read_roi
from fapm_cli.pictures.seen import Differences
from fapm_cli.pictures.whole_set import usual_aspect
from fapm_cli.scores.aim import Aim, aimed_at


def build(
    pictures: GoodPictures,
    config: BankConfig | None = None,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    roi: str | Path | None = None,
    bit_depth: int | None = None,
    group: str | None = None,
    drop_outliers: bool = False,
    embed_backbone: bool = True,
    thumbnails: bool = True,
    aim: Aim | None = None,
    max_bank: int | str | None = None,
    target_ms: float | None = None,
    device: str = "auto",
    batch_size: int = 16,
    memory: int | str | None = None,
    scratch: str | Path | None = None,
    resume: bool = False,
    on: str | None = None,
    listener: Listener | None = None,
    **configure_as: Any,
) -> Bank:
    """Learn a bank from pictures of good parts.

    Args:
        pictures: a folder, searched through as ``fapm build`` does, or any pictures, each alone or
            with its name in the bank: ``(picture, name)``.
        config: what to build; None for what :func:`configure` makes of ``configure_as`` and of the
            pictures' shape.
        weights: a file of the backbone's weights, or ``random``; None for its own.
        seed: for random weights.
        roi: a mask of what to inspect, white on black.
        bit_depth: of 16-bit pictures, how many bits the camera uses; None to find it.
        group: what tells parts of which there are several shots: ``folder``, or a regular
            expression for names; None to find near twins.
        drop_outliers: whether to leave out pictures that look most unlike the rest.
        embed_backbone: whether the bank holds the backbone, so that it needs nothing else.
        thumbnails: whether the bank holds the pictures, small, for ``add``, ``merge`` and reports.
        aim: what verdicts aim at; None for what is usual.
        max_bank: bytes that the bank's file may take, or ``"50MB"``: it has as many keys as fit.
        target_ms: that a picture may take to judge, by a measurement here: likewise.
        device: to work on.
        batch_size: pictures at a time.
        memory: bytes that it may take, or ``"3GB"``; None for half of what is free. What that does
            not hold goes to scratch files.
        scratch: a folder for these, used in any case; None for a private one.
        resume: whether to go on from what a build that was stopped left in ``scratch``.
        on: a cluster that does the work: ``ray``, started here, or ``ray://HOST:PORT``; None for
            this process. The bank is the same.
        listener: told of what goes on; without one, a picture that can't be read raises.
        configure_as: as for :func:`configure`: ``size``, ``preset``, ``backbone``, …

    Raises:
        PictureError: a picture can't be read, or a folder holds none, or not good parts alone.
        OptionError: an argument makes no sense.
        OutputError, DeviceError, WeightsError: room for scratch files, or these, can't be had.
        ClusterError: the cluster can't be had, or lacks what the work takes.
    """
    budget = Budget.of(max_bank, target_ms)
    allowance = Allowance.of(memory, scratch, resume, on)
    listener, part_of, files = listener or Listener(), part_namer(group), named(pictures)
    if config is None:
        aspect = usual_aspect(fetched(files, listener))
        config = configure(**{"aspect": aspect, **configure_as})
    config = BankConfig.from_json(config.to_json())  # a sigma of 4 is 4.0, as it will be read
    inspected = None if roi is None else read_roi(roi, config.preprocessing)
    given = None if weights is None else str(weights)
    extractor = load_extractor(config, given, seed).to(resolve_device(allowance.device(device)))
    config = budget.configured(config, extractor, device, listener.on_budget)
    with allowance.connected() as allowed:
        bank = build_from_files(
            files,
            config,
            extractor,
            batch_size,
            bit_depth=bit_depth,
            weights=learnt.OWN_WEIGHTS if given is None else Path(given).name,
            embed_backbone=embed_backbone,
            roi=None if inspected is None else tensor(inspected),
            thumbnails=thumbnails,
            drop_outliers=drop_outliers,
            part_of=part_of,
            most_bytes=budget.most_bytes,
            allowance=allowed,
            on_begin=lambda config, needed_bytes, scratch: tell_begin(
                listener, extractor, len(files), needed_bytes, scratch
            ),
            on_bad=listener.on_bad,
            on_known=listener.on_known,
            on_suspects=listener.on_suspects,
            on_stage=listener.on_stage,
        )
    thresholds = (aim or Aim()).choose(bank.thresholds, *own_scores(bank))
    return Bank(replace(bank, thresholds=thresholds), tapping(extractor, bank.config))


def add(
    bank: Bank | str | Path,
    pictures: GoodPictures,
    *,
    weights: str | Path | None = None,
    group: str | None = None,
    device: str = "auto",
    batch_size: int = 16,
    listener: Listener | None = None,
) -> Bank:
    """Extend a bank by more pictures of good parts.

    It becomes the bank that a build of all pictures at once gives, if it holds thumbnails. A
    picture that is in the bank already, in any encoding, is left out.

    Args:
        bank: a bank, or its file, of which no more is read than is needed.
        pictures: as for :func:`build`.
        weights: a file of the backbone's weights, where the bank does not hold them.
        group: as for :func:`build`; it tells the parts of pictures in the bank likewise, by their
            names there.
        device: to work on.
        batch_size: pictures at a time.
        listener: told of what goes on.

    Raises:
        BankError: the file is no bank, the backbone is another, or a thumbnail is damaged.
        PictureError: a picture can't be read, or none is new.
    """
    listener = listener or Listener()
    where, part_of, files = resolve_device(device), part_namer(group), named(pictures)
    (grown,) = without_keys([_loaded(bank)])
    if grown.thumbnails is None:
        listener.on_no_thumbnails(str(bank))
    extractor = _backbone(grown, weights).to(where)
    number, items = len(grown.pictures) + len(files), [file for file, _ in files]
    differences, before = Differences(), grown
    begin = functools.partial(tell_begin, listener, extractor, number)
    with room([grown], number, items, extractor, begin) as workspace:
        grown = add_pictures(
            grown,
            files,
            extractor,
            batch_size,
            workspace,
            part_of=part_of,
            on_bad=listener.on_bad,
            on_known=listener.on_known,
            on_suspects=listener.on_suspects,
            on_like=lambda like: differences.count(before.differences(like)),
            on_stage=listener.on_stage,
        )
    listener.on_differences(differences)
    listener.on_added(len(grown.pictures) - len(before.pictures))
    return Bank(grown)


def merge(
    banks: Iterable[Bank | str | Path],
    *,
    weights: str | Path | None = None,
    group: str | None = None,
    device: str = "auto",
    listener: Listener | None = None,
) -> Bank:
    """Join banks of one configuration into one; a picture that is in several counts once.

    It becomes the bank that a build of all pictures at once gives, if all hold thumbnails.

    Args:
        banks: two or more, or their files, of which no more is read than is needed.
        weights: a file of the backbone's weights, where no bank holds them.
        group: what tells, by their names, pictures in several banks that show one part: as for
            :func:`build`.
        device: to work on.
        listener: told of what goes on.

    Raises:
        BankError: there are fewer than two, they differ, the backbone is another, or a thumbnail is
            damaged.
    """
    listener, banks, where = listener or Listener(), [*banks], resolve_device(device)
    part_of = part_namer(group)
    if len(banks) < 2:
        raise BankError(f"merge needs two banks or more, got {len(banks)}")
    loaded = without_keys(
        to_join([one.learnt if isinstance(one, Bank) else Path(one) for one in banks])
    )
    names = [
        str(one) if isinstance(one, str | Path) else f"number {number}"
        for number, one in enumerate(banks, start=1)
    ]
    check_alike(loaded, names)
    holder = max(loaded, key=lambda one: len(one.backbone or ()))  # the one with the most of it
    extractor = _backbone(holder, weights).to(where)
    total = sum(len(one.pictures) for one in loaded)
    begin = functools.partial(tell_begin, listener, extractor, total)
    with room(loaded, total, [], extractor, begin) as workspace:
        merged = merge_banks(loaded, extractor, listener.on_stage, workspace, part_of=part_of)
    listener.on_shared(total - len(merged.pictures))
    listener.on_aims(len({aimed_at(one.thresholds) for one in loaded}) > 1)
    for name, one in zip(names, loaded, strict=True):
        if one.thumbnails is None:
            listener.on_no_thumbnails(name)
    return Bank(merged)


def _loaded(bank: Bank | str | Path) -> learnt.Bank:
    return as_tensors(bank.learnt) if isinstance(bank, Bank) else load_bank(bank)


def _backbone(bank: learnt.Bank, weights: str | Path | None) -> FeatureExtractor:
    return bank_extractor(bank, None if weights is None else str(weights))
