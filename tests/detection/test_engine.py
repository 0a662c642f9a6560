"""The engine as one graph: of public operators, the same on any data, and what a detector runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fapm_cli.bank.backbone import bank_extractor
from fapm_cli.bank.bank import Bank
from fapm_cli.bank.file import load_bank
from fapm_cli.compute.plan import make_plan
from fapm_cli.config import Query
from fapm_cli.detection.detector import Detector
from fapm_cli.detection.engine import Engine
from fapm_cli.memory.patch_memory import PatchMemory


def pictures(bank: Bank, count: int = 2) -> Tensor:
    shape = (count, *bank.config.preprocessing.crop_px, 3)
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def ways(bank: Bank) -> dict[str, tuple[Query, Tensor | None]]:
    own = bank.config.query
    roi = torch.zeros(bank.config.preprocessing.crop_px, dtype=torch.bool)
    roi[30:170, 40:180] = True
    return {
        "own": (own, None),
        "roi": (own, roi),
        "reach": (replace(own, reach=1, num_neighbors=2), None),
        "plain": (replace(own, image_score="max", calibration="none", placement="nearest"), None),
    }


@pytest.mark.parametrize("way", ["own", "roi", "reach", "plain"])
@pytest.mark.parametrize("bank_of", ["bank", "own_bank", "paper_bank"])
def test_an_engine_without_a_plan_finds_what_a_detector_does(
    bank_of: str, way: str, request: pytest.FixtureRequest
) -> None:
    bank = load_bank(request.getfixturevalue(bank_of))
    query, roi = ways(bank)[way]
    pixels = pictures(bank)
    found = Engine(bank, bank_extractor(bank), query=query, roi=roi)(pixels)
    wanted = Detector(bank, plan=make_plan("cpu", "fp32"), query=query, roi=roi).detect(pixels)
    torch.testing.assert_close(found[0], wanted.image_scores, rtol=1e-5, atol=0)
    torch.testing.assert_close(found[1], wanted.layer_scores, rtol=1e-5, atol=0)
    torch.testing.assert_close(found[2], wanted.anomaly_maps, rtol=1e-4, atol=1e-5)
    assert torch.equal(found[3], wanted.peaks)
    assert torch.equal(found[4], wanted.nearest_keys)


@pytest.mark.parametrize("way", ["own", "roi", "reach"])
def test_an_engine_without_a_plan_is_one_graph_of_public_operators(bank: Path, way: str) -> None:
    loaded = load_bank(bank)
    query, roi = ways(loaded)[way]
    engine = Engine(loaded, bank_extractor(loaded), query=query, roi=roi)
    pixels = pictures(loaded, 1)
    wanted = engine(pixels)
    traced = torch.export.export(engine, (pixels,), strict=False)
    called = {str(n.target).split(".")[0] for n in traced.graph.nodes if n.op == "call_function"}
    assert called - {"<built-in function getitem>"} == {"aten"}
    other = 255 - pixels
    for ours, theirs in zip(traced.module()(other), engine(other), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(engine(other)[0], wanted[0])


def test_keys_and_factors_are_buffers_of_the_engine(bank: Path) -> None:
    loaded = load_bank(bank)
    engine = Engine(loaded, bank_extractor(loaded))
    addresses = {value.data_ptr() for value in engine.state_dict().values()}
    memories = [one for one in engine.modules() if isinstance(one, PatchMemory)]
    assert len(memories) == len(loaded.memories)
    assert all(one.keys.data_ptr() in addresses for one in memories)
    assert any(torch.equal(b, loaded.calibration.factors) for b in engine.buffers())
    weights = dict(engine.extractor.named_parameters())
    assert weights.keys() == {f"stages.{name}" for name in loaded.backbone or {}}


def test_which_patches_reach_which_pages_is_found_once(bank: Path) -> None:
    loaded = load_bank(bank)
    query = replace(loaded.config.query, reach=1)
    engine = Engine(loaded, bank_extractor(loaded), query=query)
    memory = next(one for one in engine.modules() if isinstance(one, PatchMemory))
    assert memory.reaching(1) is memory.reaching(1)
    assert memory.reaching(2) is not memory.reaching(1)
