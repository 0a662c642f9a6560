from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GOOD, assert_fails, build, fapm
from helpers import small_bank
from hypothesis import given
from hypothesis import strategies as st

from fapm_cli.bank.bank import Bank
from fapm_cli.bank.file import bank_bytes, load_bank
from fapm_cli.bank.presets import default_config
from fapm_cli.errors import OptionError
from fapm_cli.evaluation import budget as of_time
from fapm_cli.evaluation.budget import Budget
from fapm_cli.learning.choosing import budget as by_keys
from fapm_cli.learning.choosing.budget import Sizes, file_bytes, learn_within, most_within
from fapm_cli.learning.scratch.workspace import IN_MEMORY, Workspace
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.network.loading import load_extractor
from fapm_cli.pictures.fitting.registration import Registration

FILES, SMALL = GOOD[:8], ("--size", "96")


@given(st.integers(4, 600), st.floats(0, 100), st.floats(0.01, 3), st.floats(0, 700))
def test_the_most_keys_are_within_the_limit_and_one_more_is_not(
    most: int, fixed: float, each: float, limit: float
) -> None:
    found = most_within(lambda n: fixed + each * n, limit, most)
    if found is None:
        assert fixed + each * 4 > limit
        return
    assert fixed + each * found <= limit
    assert found == most or fixed + each * (found + 1) > limit


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("whole") / "bank.st", FILES, *SMALL)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_file_keeps_to_its_limit_uses_it_and_is_that_of_its_most_keys(
    share: float, whole: Path, tmp_path: Path
) -> None:
    sizes = Sizes.of(load_bank(whole))
    least, size = sizes.bound(4, all_wide=False), whole.stat().st_size
    limit = int(least + share * (size - least))
    file = build(tmp_path / "bank.st", FILES, *SMALL, "--max-bank", limit)
    assert 0.9 * limit < file.stat().st_size <= limit
    config = load_bank(file).config
    same = build(tmp_path / "same.st", FILES, *SMALL, "--max-keys", config.max_keys)
    assert 4 < config.max_keys < 512
    assert same.read_bytes() == file.read_bytes()


def test_a_bank_that_is_small_enough_is_as_it_was(whole: Path, tmp_path: Path) -> None:
    file = build(tmp_path / "bank.st", FILES, *SMALL, "--max-bank", "1GB")
    assert file.read_bytes() == whole.read_bytes()


def test_a_limit_below_what_pictures_and_backbone_take_is_refused_with_the_least(
    tmp_path: Path,
) -> None:
    target = tmp_path / "bank.st"
    result = fapm("build", *GOOD[:2], "-o", target, "--max-bank", "100kB")
    assert_fails(result, "max bank 0.1 MB", "the fewest keys take", "--no-thumbnails")
    assert not target.exists()
    assert_fails(fapm("build", *GOOD[:2], "-o", target, "--max-bank", "much"), "'much'")


@dataclass(frozen=True)
class Nothing:
    """Stands for what was extracted of pictures."""

    workspace: Workspace = IN_MEMORY


def test_where_no_patch_is_wide_a_limit_is_used_to_the_last_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first try that keeps to it, as if all were wide, has half as many."""

    def learnt(bank: Bank, *_: object) -> tuple[Bank, list[tuple[int, float]]]:
        memories = []
        for j, memory in enumerate(bank.memories):
            each, patches = Sizes.of(bank)._keys(j, bank.config.max_keys), len(memory.key_counts)
            none = torch.zeros(each * patches, dtype=torch.int32)
            memories.append(
                replace(
                    memory,
                    keys=torch.zeros(each * patches, memory.keys.shape[1]),
                    key_counts=torch.full((patches,), each),
                    key_pictures=none,
                    key_cells=none,
                    widened=torch.zeros(patches, dtype=torch.bool),
                )
            )
        return replace(bank, memories=tuple(memories)), []

    monkeypatch.setattr(by_keys, "learn", learnt)
    bank = small_bank(with_thumbnails=False)
    bank, _ = learnt(replace(bank, pictures=bank.pictures * 200))
    assert bank.config.adaptive
    limit, extracted = Sizes.of(bank).bound(200, all_wide=False), Nothing()
    found, _ = learn_within(limit, bank, extracted, lambda *_: None, None)  # type: ignore[arg-type]
    assert found.config.max_keys == 200


def test_a_file_takes_no_more_than_is_told_before_its_usual_picture_is_known() -> None:
    bank, draw = small_bank(), np.random.default_rng(0)
    usual = draw.integers(0, 256, (*bank.config.preprocessing.crop_px, 3), np.uint8)
    bank = replace(bank, config=replace(bank.config, align="shift"))
    whole = replace(bank, registration=Registration(usual, 0.5))
    assert len(bank_bytes(whole)) > len(bank_bytes(bank)) + 2**14  # beyond what may come later
    assert len(bank_bytes(whole)) <= file_bytes(bank)


# --- By time -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return load_extractor(default_config())


@pytest.mark.parametrize(("target", "wanted"), [(6.0, 100), (5.5, 50), (99.0, 512)])
def test_the_most_keys_that_keep_to_a_time_are_told_and_configured(
    target: float, wanted: int, extractor: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def measured(config: object, extractor: object, device: str, n: int) -> float:
        asked.append(n)
        return 5 + n / 100

    monkeypatch.setattr(of_time, "_measured", measured)
    told: list[int] = []
    config = Budget.of(None, target).configured(
        default_config(), extractor, "cpu", lambda n, milliseconds: told.append(n)
    )
    assert config.max_keys == pytest.approx(wanted, rel=0.05)
    assert told == [config.max_keys]
    assert len(asked) <= 12
    assert len(asked) == len(set(asked))


def test_a_time_that_the_fewest_keys_exceed_is_refused(
    extractor: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_time, "_measured", lambda *_: 7.0)
    with pytest.raises(OptionError, match=r"target 5 ms: a picture takes 7\.0 ms here"):
        Budget.of(None, 5.0).configured(default_config(), extractor, "cpu", lambda *_: None)
    with pytest.raises(OptionError, match="above 0"):
        Budget.of(None, 0.0)


def test_a_measurement_on_this_machine_is_of_as_many_keys_as_asked(
    extractor: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def judged(judges: list[object]) -> list[float]:
        counts.extend(int(m.key_counts.max()) for one in judges for m in one.bank.memories)  # type: ignore[attr-defined]
        return [200.0]

    monkeypatch.setattr(of_time, "frames_per_second", judged)
    with torch.inference_mode():
        found = Budget.of(None, 9.0).configured(default_config(), extractor, "cpu", lambda *_: None)
    assert found.max_keys == 512
    assert counts == [1024, 1024]  # all wide


def test_build_says_what_its_time_came_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_time, "_measured", lambda config, extractor, device, n: 1 + n / 100)
    target = tmp_path / "bank.st"
    result = fapm("build", *GOOD[:4], "-o", target, "--target-ms", 1.05)
    assert "note: 1.1 ms a picture here: the bank is that of --max-keys 5\n" in result.err
    assert load_bank(target).config.max_keys == 5
