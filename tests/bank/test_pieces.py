"""A safetensors file in pieces has the library's own bytes, and is never whole in memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from helpers import small_bank
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.torch import save

from fapm_cli.bank.file import bank_bytes, save_bank
from fapm_cli.bank.pieces import InParts, Part, file_pieces
from fapm_cli.learning.scratch.thumbnail_file import ThumbnailFile

TYPES = ("<f8", "<f4", "<i8", "<i4", "<u2", "u1", "?")
NAMES = st.text(st.characters(codec="utf-8"), min_size=1).filter("__metadata__".__ne__)
VALUES = st.sampled_from(TYPES).flatmap(
    lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=1, max_dims=3, min_side=0))
)


def tensor(values: Part) -> torch.Tensor:
    """What the library is given for the same."""
    if isinstance(values, InParts):
        return torch.tensor([*b"".join(values.parts)], dtype=torch.uint8)
    if values.dtype == np.uint16:
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(values)


@settings(max_examples=50)
@given(
    parts=st.dictionaries(NAMES, VALUES, max_size=8),
    thumbnails=st.lists(st.binary(max_size=9), max_size=4),
    said=st.text(st.characters(codec="utf-8")),
)
def test_the_bytes_are_those_of_the_formats_own_library(
    parts: dict[str, Part], thumbnails: list[bytes], said: str
) -> None:
    parts["thumbnails"] = InParts(thumbnails, len(b"".join(thumbnails)))
    tensors = {name: tensor(one).contiguous() for name, one in parts.items()}
    assert b"".join(file_pieces(parts, {"a-bank": said})) == save(tensors, {"a-bank": said})


def test_a_bank_of_many_thumbnails_is_written_without_one_more_copy(tmp_path: Path) -> None:
    thumbnails = ThumbnailFile(tmp_path)
    size, some = 2**16, (bytes([65 + n]) * 2**16 for n in range(64))
    thumbnails.add(some, map(str, range(64)))
    shown, path = thumbnails.finish(), tmp_path / "bank.st"
    bank = replace(small_bank(), thumbnails=shown)
    tracemalloc.start()
    written = save_bank(bank, path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert written == path.stat().st_size > 64 * size > 16 * most
    assert b"A" * size + b"B" * size in path.read_bytes()


def test_some_of_a_files_thumbnails_are_written_as_they_would_be_alone(tmp_path: Path) -> None:
    bank = small_bank(with_thumbnails=True)
    assert bank.thumbnails is not None
    thumbnails = ThumbnailFile(tmp_path)
    other = [*reversed(bank.thumbnails)]
    thumbnails.add([*other, *bank.thumbnails], map(str, range(2 * len(other))))
    kept = thumbnails.finish().some(range(len(other), 2 * len(other)))
    assert bank_bytes(replace(bank, thumbnails=kept)) == bank_bytes(bank)
