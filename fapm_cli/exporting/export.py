"""Export, and proof: a file is written if it finds what fapm does, and can be asked so again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fapm_cli.bank.backbone import bank_extractor
from fapm_cli.bank.bank import Bank
from fapm_cli.bank.tensors import as_tensors
from fapm_cli.compute.cores import usable_cores
from fapm_cli.compute.plan import make_plan
from fapm_cli.detection.detector import Detector
from fapm_cli.errors import BankError, ModelError, OptionError
from fapm_cli.exporting.engines import open_engines
from fapm_cli.exporting.file import (
    ANY_SIZE,
    MOST_BATCH,
    input_of,
    metadata_of,
    read_bytes,
    read_model,
    seal,
)
from fapm_cli.exporting.metadata import PREFIX, bank_digest, metadata
from fapm_cli.exporting.parity import compare, in_sizes, parity_pictures
from fapm_cli.files import write_atomically
from fapm_cli.network.segments import MOST_PX
from fapm_cli.packages import need


def export_bank(
    bank: Bank,
    path: str | Path,
    *,
    batch: int = 1,
    half: bool = False,
    opset: int = 18,
    as_is: bool = False,
    any_size: bool = False,
    weights: str | None = None,
) -> dict[str, Any]:
    """Write a bank as one ONNX file, if each engine that is installed finds by it what fapm does.

    Args:
        bank: any bank.
        path: of the file.
        batch: pictures that it takes at a time.
        half: whether to round weights and keys to float16, and to store them so.
        opset: the version of ONNX's operators.
        as_is: whether to export a bank that aligns pictures, which the file does not.
        any_size: whether it takes pictures of any size, one at a time, and resizes them itself.
        weights: a file in place of the bank's own backbone.

    Returns:
        What was made, and the parity, as plain values.

    Raises:
        OptionError: the packages are not installed, or an argument makes no sense.
        BankError: the bank aligns pictures, or its backbone can't be had.
        ModelError: an engine differs; nothing was written.
        OutputError: the file can't be written.
    """
    for name in ("onnx", "onnxruntime"):
        need(name)
    from fapm_cli.graph.model import engine_model

    bank = as_tensors(bank)
    if not 1 <= batch <= MOST_BATCH:
        raise OptionError(f"batch {batch}: wanted 1 to {MOST_BATCH} pictures")
    if any_size and (batch > 1 or bank.config.preprocessing.resampling != "bilinear"):
        raise OptionError(
            "a file for any size takes one picture at a time, and resizes it bilinearly, not "
            f"{batch}, or by {bank.config.preprocessing.resampling}"
        )
    if bank.registration is not None and not as_is:
        raise BankError(
            "the bank aligns each picture before it is judged, and an exported file does not: "
            "export it all the same with --as-is, if parts will lie where the good ones do"
        )
    height, width = bank.config.preprocessing.crop_px
    if max(height, width) > MOST_PX:
        raise BankError(
            f"the bank's input of {height}x{width} px is worked through in tiles, and an exported "
            f"file is not: build one of up to {MOST_PX} px a side"
        )
    extractor = bank_extractor(bank, weights)
    bank.check_weights(extractor.weights_hash)
    weights_of = extractor.stages.state_dict()
    model = engine_model(bank, weights_of, batch=batch, opset=opset, half=half, any_size=any_size)
    try:
        data = seal(model, metadata(bank, half, any_size))
        described = _proven(bank, data, weights)
    except ModelError as error:
        raise ModelError(f"not exported, nothing was written: {error}") from error
    write_atomically(Path(path), data)
    return {"model": str(path), **described}


def verify_file(path: str | Path, bank: Bank, *, weights: str | None = None) -> dict[str, Any]:
    """Prove an exported file again: it is as it was made, of this bank, and finds what fapm does.

    Args:
        path: of the file, which is not trusted.
        bank: that it was made of.
        weights: as for :func:`export_bank`.

    Returns:
        As :func:`export_bank`.

    Raises:
        ModelError: it is missing, something else, changed, of another bank, or differs.
        OptionError: the packages are not installed.
        BankError: the bank's backbone can't be had.
    """
    data, bank = read_bytes(Path(path)), as_tensors(bank)
    try:
        described = _proven(bank, data, weights)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    return {"model": str(path), **described}


def _proven(bank: Bank, data: bytes, weights: str | None) -> dict[str, Any]:
    """Check a file's bytes, and compare what it finds; say what it is, as plain values."""
    model = read_model(data)
    said = metadata_of(model)
    own = bank_digest(bank)
    if said.get(PREFIX + "bank") != own:
        raise ModelError(
            f"it is of another bank ({said.get(PREFIX + 'bank', 'none')[:12]}…, this one is "
            f"{own[:12]}…): export this one"
        )
    half, (batch, *sides) = said.get(PREFIX + "weights") == "float16", input_of(model)
    any_size = (batch, *sides) == (1, *ANY_SIZE)
    if not any_size and (*sides,) != (*bank.config.preprocessing.crop_px, 3):
        raise ModelError(f"its input is {sides} a picture, which is not its bank's")
    prepared, are_own = parity_pictures(bank)
    pictures = [*prepared]
    if any_size:
        pictures, prepared = in_sizes(prepared, bank.config.preprocessing)
    detector = Detector(bank, bank_extractor(bank, weights), plan=make_plan("cpu", "fp32"))
    wanted = detector.detect(torch.from_numpy(prepared))
    found = compare(bank, open_engines(data, usable_cores()), pictures, wanted, batch)
    for one in found:
        one.check(half)
    return {
        "bytes": len(data),
        "opset": model.opset_import[0].version,
        "batch": batch,
        "any_size": any_size,
        "metadata": {
            name.removeprefix(PREFIX): value
            for name, value in said.items()
            if name.startswith(PREFIX)
        },
        "bank_pictures": are_own,
        "parity": [one.summary() for one in found],
    }
