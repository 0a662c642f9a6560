"""A bank's safetensors file.

The contract is in docs/bank-format.md. The file is untrusted when read: every name, type, size and
value range is checked before use, and nothing in it is ever executed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError

from fapm_cli.arrays import host
from fapm_cli.bank.arrays import Arrays, read_arrays, read_metadata
from fapm_cli.bank.bank import Bank, LayerMemory
from fapm_cli.bank.checks import (
    DTYPES,
    check_calibration,
    check_choice,
    check_light,
    check_memory,
    check_metrics,
    check_registration,
    check_roi,
    check_thresholds,
)
from fapm_cli.bank.nominal_pictures import ARRAYS as PICTURE_ARRAYS
from fapm_cli.bank.nominal_pictures import NominalPicture, pack_pictures, unpack_pictures
from fapm_cli.bank.pieces import InParts, Part, file_pieces
from fapm_cli.bank.thumbnails import pack_thumbnails, unpack_thumbnails
from fapm_cli.config import BankConfig
from fapm_cli.errors import BankError, OptionError
from fapm_cli.files import written_atomically
from fapm_cli.finding.kinds import A_BANK, kind_of
from fapm_cli.pictures.seen import Seen

if TYPE_CHECKING:
    import torch

FORMAT = "fapm-bank"
FORMAT_VERSION = 5  # of banks whose keys have a slack; others are of version 4; 1 to 3 are read
_BACKBONE = "backbone."
_FACTORS = "calibration"
_METRICS, _SLACK = "metrics", "key_slack"
_ROI = "roi"
_OPTIONAL = ("usual_light", "reference", "threshold_scores", "previous_threshold_scores")
_USUAL, _REFERENCE, _SCORES, _SCORES_BEFORE = _OPTIONAL
_THUMBNAILS = ("thumbnails", "thumbnail_ends")


def save_bank(bank: Bank, path: str | Path) -> int:
    """Write a bank: beside its target first, then renamed, so that no half of one is ever there.

    Returns:
        The file's size in bytes.

    Raises:
        OutputError: it can't be written; what was there before still is.
    """
    with written_atomically(Path(path)) as beside, beside.open("wb") as file:
        file.writelines(bank_pieces(bank))
        return file.tell()


def bank_bytes(bank: Bank) -> bytes:
    """Serialise a bank; equal banks give equal bytes."""
    return b"".join(bank_pieces(bank))


def bank_pieces(bank: Bank) -> Iterator[bytes | memoryview]:
    """The same in pieces, none of them larger than an array of the bank."""
    return file_pieces(*_parts(bank))


def _parts(bank: Bank) -> tuple[dict[str, Part], dict[str, str]]:
    """A bank's arrays, and its header."""
    before, extents = bank.previous_thresholds, bank.calibration.extents
    slack = [memory.key_slack is not None for memory in bank.memories]
    header = {
        "config": bank.config.to_json(),
        "light": bank.light and bank.light.to_json(),
        "map_sizes": bank.map_sizes,
        "metric": bank.metric and [bank.metric.floor, bank.metric.found],
        "likeness": bank.registration and bank.registration.likeness,
        "ranges": {},  # of before, for int8
        "seen": bank.seen and bank.seen.to_json(),
        "place_share": bank.calibration.place_share,
        "extents": extents and [extents.means, extents.spreads, extents.num_parts],
        "previous_thresholds": before and before.to_json(),
        "thresholds": bank.thresholds.to_json(),
        "version": FORMAT_VERSION if any(slack) else FORMAT_VERSION - 1,
        "versions": bank.versions,
        "weights": bank.weights,
        "weights_hash": bank.weights_hash,
    }
    arrays: dict[str, Any] = {
        f"{part}.{j}": getattr(memory, part)
        for j, memory in enumerate(bank.memories)
        for part in (*DTYPES, _SLACK)
        if getattr(memory, part) is not None
    }
    for j, memory in enumerate(bank.memories):
        if memory.metrics is not None:
            from fapm_cli.bank.tensors import to_bfloat16

            arrays[f"{_METRICS}.{j}"] = to_bfloat16(memory.metrics)
    for name, value in (bank.backbone or {}).items():
        arrays[f"{_BACKBONE}{name}"] = value
    arrays |= pack_pictures(bank.pictures)
    arrays[_FACTORS] = bank.calibration.factors
    if bank.light is not None:
        arrays[_USUAL] = bank.light.usual
    if bank.registration is not None:
        arrays[_REFERENCE] = bank.registration.reference
    if bank.roi is not None:
        arrays[_ROI] = bank.roi
    for name, of in ((_SCORES, bank.thresholds), (_SCORES_BEFORE, before)):
        if of is not None and of.scores is not None:
            arrays[name] = np.array(of.scores, np.float64)
    if bank.thumbnails is not None:
        arrays.update(zip(_THUMBNAILS, pack_thumbnails(bank.thumbnails), strict=True))
    parts = {n: one if isinstance(one, InParts) else host(one) for n, one in arrays.items()}
    return parts, {FORMAT: json.dumps(header, sort_keys=True, separators=(",", ":"))}


def load_bank(
    path: str | Path, device: torch.device | str = "cpu", *, mapped: bool = False
) -> Bank:
    """As :func:`read_bank`, of torch's tensors on a device."""
    from fapm_cli.bank.tensors import as_tensors

    return as_tensors(read_bank(path, mapped=mapped), device)


def read_bank(path: str | Path, *, mapped: bool = False) -> Bank:
    """Read a bank as numpy's arrays, without torch; ``mapped`` as of :func:`read_arrays`.

    Raises:
        BankError: the file is missing, damaged, no bank, or of a later format version.
    """
    path = Path(path)
    if (kind := kind_of(path)) not in ("", A_BANK):
        raise BankError(
            f"bank {path} is {kind}, not a bank; make one with: fapm build FOLDER -o bank.st"
        )
    if not path.is_file():
        raise BankError(f"bank {path} does not exist; make one with: fapm build FOLDER -o {path}")
    try:
        header = _read_header(path, read_metadata(path))
        return _assemble(header, read_arrays(path, mapped=mapped))
    except (SafetensorError, OSError) as error:
        raise BankError(
            f"bank {path} is damaged or not a bank ({error}); build it again"
        ) from error
    except (KeyError, TypeError, ValueError, OverflowError, OptionError) as error:
        reason = str(error).strip("'\"")
        raise BankError(f"bank {path} is damaged ({reason}); build it again") from error


def _read_header(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    if FORMAT not in metadata:
        raise BankError(f"{path} is a safetensors file but no bank; make one with: fapm build")
    try:
        header = json.loads(metadata[FORMAT])
        version = header["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BankError(f"bank {path} is damaged (its header); build it again") from None
    if version not in range(1, FORMAT_VERSION + 1):
        raise BankError(
            f"bank {path} has format version {version!r}, this fapm reads 1 to {FORMAT_VERSION}; "
            "update fapm, or build the bank again"
        )
    assert isinstance(header, dict)
    return header


def _assemble(header: dict[str, Any], arrays: Arrays) -> Bank:
    config = BankConfig.from_json(header["config"])
    if header["version"] == 1:
        _bring_up_to_date(header, arrays)
    map_sizes = tuple((int(h), int(w)) for h, w in header["map_sizes"])
    num_memories = len(config.memory_names)
    wanted = {f"{part}.{j}" for part in DTYPES for j in range(num_memories)}
    wanted |= arrays.keys() & {f"{_SLACK}.{j}" for j in range(num_memories)}
    wanted |= {_FACTORS, *PICTURE_ARRAYS}
    backbone = {
        name.removeprefix(_BACKBONE): arrays.pop(name)
        for name in sorted(arrays)
        if name.startswith(_BACKBONE)
    }
    metrics = [arrays.pop(f"{_METRICS}.{j}", None) for j in range(num_memories)]
    roi = arrays.pop(_ROI, None)
    if roi is not None:
        check_roi(roi, config.preprocessing.crop_px)
    usual, reference, *scores = (arrays.pop(name, None) for name in _OPTIONAL)
    packed = [arrays.pop(name) for name in _THUMBNAILS if name in arrays]
    if set(arrays) != wanted or len(packed) == 1 or len(map_sizes) != num_memories:
        raise ValueError("its parts don't fit its configuration")
    pictures = unpack_pictures(arrays)
    memories = []
    for j, (h, w) in enumerate(map_sizes):
        parts: dict[str, Any] = {n: arrays.get(f"{n}.{j}") for n in (*DTYPES, _SLACK)}
        memory = LayerMemory(**parts)
        check_memory(memory, config.grid, h, w, len(pictures))
        own = metrics[j]
        if own is not None:
            memory = replace(memory, metrics=check_metrics(own, memory))
        memories.append(memory)
    thumbnails = None
    if packed:
        size_px = config.preprocessing.crop_px
        thumbnails = unpack_thumbnails(packed[0], packed[1], len(pictures), size_px)
    before, seen = header["previous_thresholds"], header.get("seen")
    share = float(header["place_share"])
    return Bank(
        config,
        tuple(memories),
        map_sizes,
        check_calibration(arrays[_FACTORS], share, max(map_sizes), header.get("extents")),
        check_thresholds(header["thresholds"], scores[0]),
        pictures,
        str(header["weights_hash"]),
        str(header["weights"]),
        backbone or None,
        {str(k): str(v) for k, v in dict(header["versions"]).items()},
        roi,
        thumbnails,
        None if before is None else check_thresholds(before, scores[1]),
        None if seen is None else Seen.from_json(seen),
        check_choice(header.get("metric"), metrics),
        check_light(header.get("light"), usual, config.preprocessing.crop_px),
        check_registration(header.get("likeness"), reference, config),
    )


def _bring_up_to_date(header: dict[str, Any], arrays: Arrays) -> None:
    """Make of a bank of version 1, whose header names the pictures, one of version 2."""
    pictures = [
        NominalPicture(str(name), str(digest), "", float(score), float(peak), number)
        for number, (name, digest, score, peak) in enumerate(header["pictures"])
    ]
    arrays |= pack_pictures(pictures)
    header["previous_thresholds"] = None
