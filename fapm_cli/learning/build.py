"""Building: from nominal pictures to a bank."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fapm_cli.bank.bank import OWN_WEIGHTS, Bank
from fapm_cli.bank.nominal_pictures import in_groups
from fapm_cli.bank.thumbnails import some_thumbnails
from fapm_cli.config import BankConfig, Preprocessing
from fapm_cli.errors import PictureError
from fapm_cli.finding.folders import Unreadable
from fapm_cli.learning.batches import (
    NominalBatch,
    encode_passing,
    nominal_batches,
    unseen,
    with_detail,
)
from fapm_cli.learning.choosing.budget import learn_within
from fapm_cli.learning.extracting import extract
from fapm_cli.learning.learn import OnSuspects, program_versions
from fapm_cli.learning.memory_needed import memory_needed
from fapm_cli.learning.nominal_response import OnStage
from fapm_cli.learning.scratch.allowance import Allowance, plan_of
from fapm_cli.learning.scratch.workspace import IN_MEMORY, Where, Workspace
from fapm_cli.learning.turned import with_turn
from fapm_cli.memory.grid import check_divisible
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.pictures.fitting.registration import Registration, aspect_of
from fapm_cli.pictures.read_ahead import in_order
from fapm_cli.pictures.reading import Fitting, Item, PartOf, Prepared, memory_to_read, prepare_item
from fapm_cli.pictures.seen import Seen
from fapm_cli.pictures.whole_set import evenly, find_bit_depth
from fapm_cli.scores.extents import Calibration
from fapm_cli.scores.suspects import OUTLIER
from fapm_cli.scores.thresholds import UNSET
from fapm_cli.stores.locating import located
from fapm_cli.stores.stored import AnyPath, StoredPath

OnBegin = Callable[[BankConfig, Callable[[], int], Where | None], None]

_ALIGNED_BY = 32  # pictures at most, taken evenly: their mean hardly changes with more


def build_from_files(
    files: Sequence[tuple[Item, str]],
    config: BankConfig,
    extractor: FeatureExtractor,
    batch_size: int,
    *,
    bit_depth: int | None = None,
    weights: str = OWN_WEIGHTS,
    embed_backbone: bool = True,
    roi: Tensor | None = None,
    thumbnails: bool = True,
    drop_outliers: bool = False,
    part_of: PartOf | None = None,
    most_bytes: int | None = None,
    allowance: Allowance | None = None,
    on_begin: OnBegin = lambda config, needed_bytes, scratch: None,
    on_bad: Callable[[Unreadable], None] | None = None,
    on_known: Callable[[str], None] = lambda name: None,
    on_suspects: OnSuspects = lambda suspects, dropped: None,
    on_stage: OnStage = lambda stage, done, total: None,
) -> Bank:
    """Build a bank from picture files.

    Args:
        files: each picture (a file, or an array (height, width, 3) uint8 RGB), and its name in
            the bank.
        config: as for :func:`build_bank`, and so on.
        extractor: the backbone.
        batch_size: pictures at a time.
        bit_depth: of pictures whose samples have more than 8 bits, how many are used; None to
            find it as :func:`find_bit_depth` does.
        weights: where the backbone's came from.
        embed_backbone: whether the bank holds them.
        roi: as for :func:`build_bank`.
        thumbnails: whether the bank holds the pictures, small.
        drop_outliers: as for :func:`build_bank`.
        part_of: names the part that a picture shows; None to find near twins instead.
        most_bytes: as for :func:`build_bank`.
        allowance: how much memory it may take, and where the rest goes; None for what is usual.
        on_begin: told what is built, all that pictures are to say of it among it, before it is; how
            much memory that takes; and where scratch files are, or None.
        on_bad: told of each picture that can't be read, which is left out; None to raise.
        on_known: told the name of each picture that came before under another name, or in another
            encoding, and is left out: it would vouch for its twin.
        on_suspects: as for :func:`build_bank`.
        on_stage: told (stage, done, total) as the work goes on.

    Raises:
        PictureError: a picture can't be read and ``on_bad`` is None, or none can.
    """
    if bit_depth is None:
        paths = [located(file) for file, _ in files if isinstance(file, str | AnyPath)]
        bit_depth = find_bit_depth(paths, lambda done: on_stage("depth", done, len(paths)))
    config = replace(config, preprocessing=replace(config.preprocessing, bit_depth=bit_depth))
    show = functools.partial(_show, files, config.preprocessing)
    config = with_turn(config, len(files), lambda some: (one.pixels for one in show(some)))
    names, items = [name for _, name in files], [file for file, _ in files]
    needed = functools.cache(lambda: memory_needed(config, extractor, len(files), items))
    reading = functools.partial(memory_to_read, items, config.preprocessing)
    plan = plan_of(
        config, extractor, names, roi, thumbnails=thumbnails, drop_outliers=drop_outliers
    )
    likes: dict[str, Seen] = {}  # by the digest of each file
    with (allowance or Allowance()).workspace(
        config, extractor, len(files), reading, needed, plan
    ) as workspace:
        on_begin(config, needed, workspace.where)
        registration = None
        if config.align != "none":
            registration = _registration([*show(evenly(len(files), _ALIGNED_BY))], config)
        far = any(isinstance(file, StoredPath) for file in items)  # read here, where it is open
        read = in_order if far else workspace.in_order
        fitting = Fitting(registration, roi=None if roi is None else roi.numpy())
        batches = nominal_batches(files, config, batch_size, on_bad, likes, part_of, fitting, read)
        bank = build_bank(
            unseen(batches, set(), on_known),
            len(files),
            config,
            extractor,
            weights=weights,
            embed_backbone=embed_backbone,
            roi=roi,
            thumbnails=thumbnails,
            drop_outliers=drop_outliers,
            most_bytes=most_bytes,
            workspace=workspace,
            on_suspects=on_suspects,
            on_stage=on_stage,
        )
    seen = Seen.join([likes[picture.sha256] for picture in bank.pictures])
    return replace(bank, seen=seen, registration=registration)


def _show(
    files: Sequence[tuple[Item, str]], preprocessing: Preprocessing, numbers: Iterable[int]
) -> Iterator[Prepared]:
    """Some of the pictures; but what can't be read, which reading all of them will tell."""
    work = functools.partial(prepare_item, preprocessing=preprocessing)
    for one in in_order((files[number][0] for number in numbers), work):
        if not isinstance(one, Unreadable):
            yield one


def _registration(some: Sequence[Prepared], config: BankConfig) -> Registration:
    """Where the parts of some pictures lie."""
    aspects = [aspect_of(one.picture.size_px, config.preprocessing) for one in some]
    pixels = [one.pixels for one in some]
    return Registration.of(pixels, aspects, turns=config.align == "rigid")


def build_bank(
    batches: Iterable[NominalBatch],
    capacity: int,
    config: BankConfig,
    extractor: FeatureExtractor,
    *,
    weights: str = OWN_WEIGHTS,
    embed_backbone: bool = True,
    roi: Tensor | None = None,
    thumbnails: bool = True,
    drop_outliers: bool = False,
    most_bytes: int | None = None,
    workspace: Workspace = IN_MEMORY,
    on_suspects: OnSuspects = lambda suspects, dropped: None,
    on_stage: OnStage = lambda stage, done, total: None,
) -> Bank:
    """Build a bank from nominal pictures, in float32 on the extractor's device.

    Args:
        batches: the pictures, in order.
        capacity: most pictures that may come, N; the workspace may take memory for them at once.
        config: what to build.
        extractor: the backbone, on the device to work on.
        weights: where its weights came from, for the record.
        embed_backbone: whether the bank holds them, so that it needs nothing else.
        roi: (H, W) bool over the input, what to inspect; None for all. Keys are those of the
            whole picture all the same; calibration and nominal scores are of what is inspected.
        thumbnails: whether it holds the pictures, as the backbone saw them.
        drop_outliers: whether pictures that look most unlike the rest (6 σ) are left out, and the
            bank is learnt again without them, from the same features.
        most_bytes: of the bank's file: it has no more keys than are within that; None for any.
        workspace: where what all pictures give is kept.
        on_suspects: told the names and robust z-scores of such pictures, most suspicious first,
            and whether they are left out; at the end, those still in the bank.
        on_stage: told (stage, done, total) as the work goes on.

    Raises:
        OptionError: the grid does not fit the maps, or the file can't be so small.
        PictureError: no picture came, or each is of one flat colour.
        ValueError: the extractor follows a plan.
    """
    map_sizes = tuple((h, w) for _, h, w in extractor.map_shapes)
    check_divisible(config.preprocessing.crop_px, config.grid, map_sizes)
    encoded = workspace.thumbnails() if thumbnails else None
    batches = encode_passing(with_detail(batches), encoded)
    extracted = extract(batches, capacity, config, extractor, on_stage, roi, workspace)
    pictures = extracted.pictures
    if not pictures:
        raise PictureError("no nominal picture could be read; give a folder of good pictures")
    bank = Bank(
        config,
        (),
        map_sizes,
        Calibration(torch.ones(max(map_sizes)), 0.0),
        UNSET,
        tuple(pictures),
        extractor.weights_hash,
        weights,
        dict(extractor.stages.state_dict()) if embed_backbone else None,
        program_versions(),
        extracted.inspected(roi, max(map_sizes)),
        None if encoded is None else encoded.finish(),
    )
    learnt, suspects = learn_within(most_bytes, bank, extracted, on_stage, extractor)
    outliers = [(i, z) for i, z in suspects if z > OUTLIER]
    if drop_outliers and outliers:
        on_suspects([(pictures[i].name, z) for i, z in outliers], True)
        kept = sorted(set(range(len(pictures))) - {i for i, _ in outliers})
        only, left = _only(bank, kept), extracted.of(kept)
        only = replace(only, roi=left.inspected(roi, max(map_sizes)))
        learnt, suspects = learn_within(most_bytes, only, left, on_stage, extractor)
    on_suspects([(learnt.pictures[i].name, z) for i, z in suspects], False)
    return learnt


def _only(bank: Bank, kept: Sequence[int]) -> Bank:
    """The bank of some of its pictures."""
    thumbnails = bank.thumbnails
    pictures = [bank.pictures[i] for i in kept]
    return replace(
        bank,
        pictures=tuple(in_groups(pictures, (p.group for p in pictures))),
        thumbnails=None if thumbnails is None else some_thumbnails(thumbnails, kept),
    )
