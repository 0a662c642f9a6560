"""What is judged elsewhere is judged as it would be here; what goes there is bounded."""

from __future__ import annotations

import pickle
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOOD, ONE_BAD, ONE_GOOD, SAMPLES, build
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import fapm_cli
from fapm_cli.detection import spread as spreading
from fapm_cli.errors import OptionError, PictureError
from fapm_cli.pictures.picture import Encoded, Frame, Moment
from fapm_cli.stores.locating import located


class Elsewhere:
    """A cluster that does all at once, with nothing but what can be sent."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    def by(self, engine: str) -> Elsewhere:
        self.engine = engine
        return self

    def map(self, work: Any, items: Any) -> Iterator[Any]:
        there = pickle.loads(pickle.dumps(work))
        for item in items:
            self.sent.append(len(item))
            yield pickle.loads(pickle.dumps(there(pickle.loads(pickle.dumps(item)))))


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("aligned") / "bank.st"
    return build(path, GOOD[:8], "--align", "shift", "--light", "corrected", "--size", "64")


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_detector_that_was_sent_says_the_same(engine: str, aligned: Path, tmp_path: Path) -> None:
    mask = np.zeros((320, 320), np.uint8)
    mask[40:280, 40:280] = 255
    Image.fromarray(mask).save(tmp_path / "roi.png")
    with tarfile.open(tmp_path / "parts.tar", "w") as tar:
        tar.add(GOOD[9], "in/it.jpg")
    pixels = np.asarray(Image.open(ONE_BAD).convert("RGB"))
    frame = Frame(Path("clip"), Moment(3, 0.5), pixels[..., ::-1])
    items: list[Any] = [ONE_BAD, str(ONE_GOOD), tmp_path / "missing.jpg", pixels, frame]
    items += [
        Encoded(Path("sent"), GOOD[8].read_bytes()),
        located(tmp_path / "parts.tar/in/it.jpg"),
    ]
    items += [located(tmp_path / "parts.tar/in/not.jpg")]
    ask: dict[str, Any] = {
        "roi": tmp_path / "roi.png",
        "threshold": 0.7,
        "pixel_threshold": 0.5,
        "sigma": 2.0,
    }
    detector = fapm_cli.load(aligned).detector("cpu", engine=engine, **ask)
    here = [*detector.records(items, 3)]
    cluster: Any = Elsewhere()
    assert [*detector.records(items, 3, cluster=cluster)] == here
    assert cluster.engine == engine
    assert ["error" in record for record in here] == [False] * 2 + [True] + [False] * 4 + [True]


def test_a_bank_is_sent_without_its_pictures(bank: Path) -> None:
    detector = fapm_cli.load(bank).detector().engine
    assert detector.bank.thumbnails is not None
    there = pickle.loads(pickle.dumps(detector))
    assert there.bank.thumbnails is None
    shown = sum(map(len, detector.bank.thumbnails))
    assert len(pickle.dumps(detector)) < bank.stat().st_size - 0.9 * shown


def test_an_address_is_sent_without_what_opens_it(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "parts.tar", "w") as tar:
        tar.add(ONE_GOOD, "it.jpg")
    here = located(tmp_path / "parts.tar/it.jpg")
    secret = located("https://me:hidden@127.0.0.1:9/it.jpg?token=hidden")
    for path in (here, secret):
        sent = pickle.dumps(path)
        assert b"hidden" not in sent
        there = pickle.loads(sent)
        assert (str(there), there.name) == (str(path), "it.jpg")
        with pytest.raises(PictureError, match="another process"):
            there.read_bytes()


def test_a_compiled_detector_is_not_sent(bank: Path) -> None:
    detector = fapm_cli.load(bank).detector("cpu", engine="torch")
    engine: Any = detector.engine
    engine.plan = replace(engine.plan, compiled=True)
    cluster: Any = Elsewhere()
    with pytest.raises(OptionError, match="compiled"):
        next(detector.records([ONE_GOOD], cluster=cluster))


def test_what_comes_live_is_judged_here(bank: Path) -> None:
    detector = fapm_cli.load(bank).detector()
    cluster: Any = Elsewhere()
    with pytest.raises(OptionError, match="live"):
        detector.records(fapm_cli.watch_source(SAMPLES / "good"), cluster=cluster)


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 8))
def test_lists_are_as_long_as_may_be_sent_at_a_time(sizes: list[int], most: int) -> None:
    items = [Encoded(Path(str(i)), bytes(size)) for i, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spreading, "_MOST_BYTES", 64)
        lists = [*spreading._in_lists(items, most)]
    assert [item for some in lists for item in some] == items
    for some in lists[:-1]:
        held = sum(map(spreading._num_bytes, some))
        assert len(some) == most or held >= 64
    for some in lists:
        assert len(some) <= most
        assert sum(map(spreading._num_bytes, some[:-1])) < 64
