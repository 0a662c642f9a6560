"""The builder: from nominal pictures to a bank."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

import fapm_cli
from fapm_cli.bank import OWN_WEIGHTS, Bank, LayerMemory
from fapm_cli.calibration import Calibration
from fapm_cli.config import BankConfig
from fapm_cli.coreset import MEMORY_BYTES, adaptive_coreset
from fapm_cli.engine.nominal import OnStage, judged_by, nominal_response, of_pictures
from fapm_cli.engine.reading import Item, Prepared, find_bit_depth, memory_to_read, read_batches
from fapm_cli.errors import PictureError
from fapm_cli.extraction import FeatureExtractor
from fapm_cli.feeding import in_order
from fapm_cli.finding import Unreadable
from fapm_cli.grid import check_divisible, map_cells, to_patches
from fapm_cli.nominal_pictures import NominalPicture, in_groups, pixels_digest
from fapm_cli.seen import Seen
from fapm_cli.threshold import OUTLIER, UNSET, find_suspects
from fapm_cli.thumbnails import encode_thumbnail
from fapm_cli.twins import Looks, look_at, twin_groups

MIN_KEYS = 4
OBSERVED = 32  # pictures that int8 takes its ranges from
_TORCH_BYTES, _EXTRACTING_BYTES = 780 * 2**20, 96 * 2**20

PartOf = Callable[[Path, str], str]
"""Names the part that a picture shows, by its file and its name in the bank."""
OnSuspects = Callable[[list[tuple[str, float]], bool], None]


@dataclass(frozen=True)
class NominalBatch:
    """Some nominal pictures.

    Attributes:
        pixels: (B, H, W, 3) uint8 RGB, as :func:`fapm_cli.images.prepare` makes them.
        names: what to call each.
        sha256: digest of each one's file.
        parts: a name of the part that each shows; None to find near twins instead.
    """

    pixels: Tensor
    names: Sequence[str]
    sha256: Sequence[str]
    parts: Sequence[str] | None = None

    @functools.cached_property
    def pictures(self) -> list[NominalPicture]:
        """What is known of each before it is judged."""
        return [
            NominalPicture(name, digest, pixels_digest(pixels), 0.0, 0.0, 0)
            for name, digest, pixels in zip(self.names, self.sha256, self.pixels, strict=True)
        ]

    def pick(self, indices: Sequence[int]) -> NominalBatch:
        """Some of them, in that order."""
        return NominalBatch(
            self.pixels[list(indices)],
            [self.names[i] for i in indices],
            [self.sha256[i] for i in indices],
            None if self.parts is None else [self.parts[i] for i in indices],
        )


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
        on_bad: told of each picture that can't be read, which is left out; None to raise.
        on_known: told the name of each picture that came before under another name, or in another
            encoding, and is left out: it would vouch for its twin.
        on_suspects: as for :func:`build_bank`.
        on_stage: told (stage, done, total) as the work goes on.

    Raises:
        PictureError: a picture can't be read and ``on_bad`` is None, or none can.
    """
    if bit_depth is None:
        paths = [Path(file) for file, _ in files if isinstance(file, str | Path)]
        bit_depth = find_bit_depth(paths, lambda done: on_stage("depth", done, len(paths)))
    config = replace(config, preprocessing=replace(config.preprocessing, bit_depth=bit_depth))
    likes: dict[str, Seen] = {}
    batches = nominal_batches(files, config, batch_size, on_bad, likes, part_of)
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
        on_suspects=on_suspects,
        on_stage=on_stage,
    )
    return replace(bank, seen=Seen.join([likes[picture.name] for picture in bank.pictures]))


def nominal_batches(
    files: Sequence[tuple[Item, str]],
    config: BankConfig,
    batch_size: int,
    on_bad: Callable[[Unreadable], None] | None,
    likes: dict[str, Seen],
    part_of: PartOf | None = None,
) -> Iterator[NominalBatch]:
    """Read pictures as :func:`build_from_files` says; ``likes`` is told what each is like."""
    names = (name for _, name in files)
    for batch in read_batches((file for file, _ in files), config.preprocessing, batch_size):
        good, good_names = [], []
        for one, name in zip(batch, names, strict=False):
            if isinstance(one, Prepared):
                good.append(one)
                good_names.append(name)
                likes[name] = one.like
            elif on_bad is None:
                raise one.error
            else:
                on_bad(one)
        if good:
            yield NominalBatch(
                torch.stack([one.pixels for one in good]),
                good_names,
                [one.picture.sha256 for one in good],
                part_of
                and [part_of(one.picture.path, n) for one, n in zip(good, good_names, strict=True)],
            )


def unseen(
    batches: Iterator[NominalBatch], seen: set[str], on_known: Callable[[str], None]
) -> Iterator[NominalBatch]:
    """Leave out pictures of which the file, or the px, were seen before; ``seen`` grows."""
    for batch in batches:
        fresh = []
        for i, picture in enumerate(batch.pictures):
            if seen.isdisjoint(picture.digests):
                fresh.append(i)
            else:
                on_known(picture.name)
            seen |= picture.digests
        if fresh:
            yield batch.pick(fresh)


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
    on_suspects: OnSuspects = lambda suspects, dropped: None,
    on_stage: OnStage = lambda stage, done, total: None,
) -> Bank:
    """Build a bank from nominal pictures, in float32 on the extractor's device.

    Args:
        batches: the pictures, in order.
        capacity: most pictures that may come, N; memory for them is taken at once.
        config: what to build.
        extractor: the backbone, on the device to work on.
        weights: where its weights came from, for the record.
        embed_backbone: whether the bank holds them, so that it needs nothing else.
        roi: (H, W) bool over the input, what to inspect; None for all. Keys are those of the
            whole picture all the same; calibration and nominal scores are of what is inspected.
        thumbnails: whether it holds the pictures, as the backbone saw them.
        drop_outliers: whether pictures that look most unlike the rest (6 σ) are left out, and the
            bank is learnt again without them, from the same features.
        on_suspects: told the names and robust z-scores of such pictures, most suspicious first,
            and whether they are left out; at the end, those still in the bank.
        on_stage: told (stage, done, total) as the work goes on.

    Raises:
        OptionError: the grid does not fit the maps.
        PictureError: no picture came, or each is of one flat colour.
        ValueError: the extractor follows a plan.
    """
    map_sizes = tuple((h, w) for _, h, w in extractor.map_shapes)
    check_divisible(config.preprocessing.crop_px, config.grid, map_sizes)
    encoded: list[bytes] | None = [] if thumbnails else None
    batches = encode_passing(_with_detail(batches), encoded)
    features, pictures = extract(batches, capacity, config, extractor, on_stage)
    if not pictures:
        raise PictureError("no nominal picture could be read; give a folder of good pictures")
    bank = Bank(
        config,
        (),
        map_sizes,
        Calibration(torch.ones(max(map_sizes)), 0.0),
        UNSET,
        tuple(pictures),
        extractor.ranges,
        extractor.weights_hash,
        weights,
        dict(extractor.stages.state_dict()) if embed_backbone else None,
        program_versions(),
        roi,
        None if encoded is None else tuple(encoded),
    )
    learnt, suspects = learn(bank, features, on_stage)
    outliers = [(i, z) for i, z in suspects if z > OUTLIER]
    if drop_outliers and outliers:
        on_suspects([(pictures[i].name, z) for i, z in outliers], True)
        kept = sorted(set(range(len(pictures))) - {i for i, _ in outliers})
        features = [of_pictures(v, torch.tensor(kept), len(pictures)) for v in features]
        learnt, suspects = learn(_only(bank, kept), features, on_stage)
    on_suspects([(learnt.pictures[i].name, z) for i, z in suspects], False)
    return learnt


def _only(bank: Bank, kept: Sequence[int]) -> Bank:
    """The bank of some of its pictures."""
    thumbnails = bank.thumbnails
    pictures = [bank.pictures[i] for i in kept]
    return replace(
        bank,
        pictures=tuple(in_groups(pictures, (p.group for p in pictures))),
        thumbnails=None if thumbnails is None else tuple(thumbnails[i] for i in kept),
    )


def _with_detail(batches: Iterable[NominalBatch]) -> Iterator[NominalBatch]:
    """Pass batches on.

    Raises:
        PictureError: in the end, if there was nothing to see in any picture.
    """
    num_flat = num_all = 0
    for batch in batches:
        flat = (batch.pixels == batch.pixels[:, :1, :1]).flatten(1).all(dim=1)
        num_flat, num_all = num_flat + int(flat.sum()), num_all + len(flat)
        yield batch
    if num_flat == num_all > 0:
        raise PictureError(
            f"nothing can be learnt: each of {num_all} pictures is of one flat colour; look at them"
        )


def encode_passing(
    batches: Iterable[NominalBatch], encoded: list[bytes] | None
) -> Iterator[NominalBatch]:
    """Pass batches on, their pictures appended to ``encoded`` if it is a list."""
    for batch in batches:
        if encoded is not None:
            encoded += in_order(batch.pixels.cpu().numpy(), encode_thumbnail)
        yield batch


def learn(
    bank: Bank, features: Sequence[Tensor], on_stage: OnStage
) -> tuple[Bank, list[tuple[int, float]]]:
    """Select keys, judge the pictures by those of the others, and find suspects among them.

    Args:
        bank: one of those pictures; its memories and calibration are replaced.
        features: per memory (N_p, N·N_v, C), their vectors.
        on_stage: told of progress.

    Returns:
        The bank, and the number and robust z-score of each suspect.
    """
    memories = []
    for j, vectors in enumerate(features):
        memories.append(_select_keys(vectors, bank.config, bank.map_sizes[j]))
        on_stage("select", j + 1, len(features))
    bank = replace(bank, memories=tuple(memories))
    response = nominal_response(bank, features, on_stage=on_stage)
    groups = [picture.group for picture in bank.pictures]
    return judged_by(response, bank), find_suspects(response.spots, response.levels, groups)


@torch.inference_mode()
def extract(
    batches: Iterable[NominalBatch],
    capacity: int,
    config: BankConfig,
    extractor: FeatureExtractor,
    on_stage: OnStage,
) -> tuple[list[Tensor], list[NominalPicture]]:
    """Extract all patch memories whole.

    Returns:
        Per memory (N_p, N·N_v, C) vectors; and the pictures in groups, yet to be judged. The
        extractor's ranges are theirs.

    Raises:
        ValueError: the extractor follows a plan.
    """
    extractor.check_unplanned()
    extractor.ranges = {}
    device = extractor.mean.device
    num_patches = config.grid[0] * config.grid[1]
    per_picture = [h * w // num_patches for _, h, w in extractor.map_shapes]
    features = [
        torch.empty(num_patches, capacity * n, shape[0], device=device)
        for n, shape in zip(per_picture, extractor.map_shapes, strict=True)
    ]
    pictures: list[NominalPicture] = []
    looks: list[Looks] = []
    parts: list[str] = []
    for batch in batches:
        # On a CPU one picture at a time is as fast, and the batch size can't change a bit.
        at_a_time = 1 if device.type == "cpu" else len(batch.pixels)
        first = len(pictures)
        for pixels in torch.split(batch.pixels, at_a_time):
            last = first + len(pixels)
            with extractor.observing() if first < OBSERVED else nullcontext():
                maps = extractor(pixels.to(device))
            for whole, part, n in zip(features, maps, per_picture, strict=True):
                whole[:, first * n : last * n] = to_patches(part, config.grid)
            first = last
        pictures += batch.pictures
        parts += batch.parts or ()
        looks += () if batch.parts else (look_at(batch.pixels),)
        on_stage("extract", len(pictures), capacity)
    total = len(pictures)
    if looks:
        pictures = in_groups(pictures, twin_groups(Looks.join(looks)))
    elif parts:
        pictures = in_groups(pictures, parts)
    return [f[:, : total * n] for f, n in zip(features, per_picture, strict=True)], pictures


def _coreset(vectors: Tensor, config: BankConfig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pick keys: concatenated indices, counts, radii² and widened flags of all patches."""
    coresets = adaptive_coreset(
        vectors,
        config.coreset_ratio,
        config.spread_threshold if config.adaptive else None,
        MIN_KEYS,
    )
    return (
        torch.cat([c.indices for c in coresets]),
        torch.tensor([len(c.indices) for c in coresets]),
        torch.tensor([c.radius_sq for c in coresets], dtype=torch.float32),
        torch.tensor([c.widened for c in coresets]),
    )


def _gather(vectors: Tensor, indices: Tensor, counts: Tensor) -> Tensor:
    """(ΣK_i, C) keys of (N_p, n, C) vectors."""
    patch = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return vectors[patch.to(vectors.device), indices.to(vectors.device)]


def _select_keys(vectors: Tensor, config: BankConfig, map_size: tuple[int, int]) -> LayerMemory:
    indices, counts, radius_sq, widened = _coreset(vectors, config)
    per_picture = map_size[0] * map_size[1] // len(counts)
    cells = [
        map_cells(part, i, config.grid, *map_size)
        for i, part in enumerate(torch.split(indices, counts.tolist()))
    ]
    return LayerMemory(
        keys=_gather(vectors, indices, counts),
        key_counts=counts,
        key_pictures=(indices // per_picture).int(),
        key_cells=torch.cat(cells).int(),
        radius_sq=radius_sq,
        widened=widened,
    )


def memory_needed(
    config: BankConfig, extractor: FeatureExtractor, num_pictures: int, files: Iterable[Item] = ()
) -> int:
    """Say, roughly, how many bytes a build takes at most: on a CPU of the process, else of CUDA.

    All vectors are held, and 10 % or twice that of them again as keys. What follows takes turns:
    extracting, distances between vectors, which have a limit, and the keys laid out for search.
    The rest is torch and, on a CPU, the files that are read at a time.
    """
    per_picture = sum(channels * h * w for channels, h, w in extractor.map_shapes)
    widest = 2 if config.adaptive else 1
    vectors = 4 * num_pictures * per_picture
    keys = int(vectors * min(widest * config.coreset_ratio, 1))
    most = max(num_pictures * h * w for _, h, w in extractor.map_shapes)
    distances = min(4 * most**2 // (config.grid[0] * config.grid[1]), MEMORY_BYTES)
    on_cuda = extractor.mean.device.type == "cuda"
    reading = 0 if on_cuda else memory_to_read(files, config.preprocessing)
    return vectors + keys + max(keys, distances, _EXTRACTING_BYTES) + _TORCH_BYTES + reading


def program_versions() -> dict[str, str]:
    """Say what builds banks here."""
    return {"fapm": fapm_cli.__version__, "torch": torch.__version__}
