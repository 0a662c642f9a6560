"""Sources of a service: their pictures are judged, shown and told as those of requests are."""

from __future__ import annotations

import functools
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import ONE_BAD, ONE_GOOD, fapm
from servers import Server, serving, until

from fapm_cli.errors import DeviceError, OptionError, PictureError
from fapm_cli.pictures.picture import Frame, Moment
from fapm_cli.pictures.reading import Item
from fapm_cli.serving import feeding
from fapm_cli.serving.feeding import Inlet
from fapm_cli.sources.source import Source, watch_source


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "AGAIN_S", 0.05)


def watched(folder: Path, bank: str = "bank") -> Inlet:
    return Inlet(str(folder), bank, functools.cache(functools.partial(watch_source, folder)))


def records(server: Server, number: int) -> list[dict[str, Any]]:
    until(lambda: len(server.told) >= number)
    return [one.record for one in server.told]


def put(picture: Path, place: Path) -> None:
    """As a camera's software should: written beside, and renamed."""
    shutil.copy(picture, place.with_suffix(".part"))
    place.with_suffix(".part").rename(place)


def test_pictures_of_a_watched_folder_are_those_of_score_shown_and_told(
    bank: Path, tmp_path: Path
) -> None:
    inbox, other = tmp_path / "inbox", tmp_path / "other"
    for folder in (inbox, other):
        folder.mkdir()
    shutil.copy(ONE_GOOD, inbox / "a.jpg")
    (inbox / "b.jpg").write_bytes(ONE_BAD.read_bytes()[:900])  # half written
    with serving({"bank": bank, "other": bank}, [watched(inbox), watched(other, "other")]) as s:
        (good,) = records(s, 1)
        put(ONE_BAD, inbox / "b.jpg")
        bad = records(s, 2)[1]
        put(ONE_BAD, other / "c.jpg")
        assert records(s, 3)[2]["path"] == str(other / "c.jpg")
        assert [one.bank for one in s.told] == ["bank", "bank", "other"]
        assert [good, bad] == fapm("score", bank, inbox, "--json").json
        asked = s.score(ONE_GOOD)
        assert asked.json == {**good, "path": asked.json["path"]}
        shown = s.ask("/pictures").json["pictures"]
        assert [one["record"] for one in shown[:0:-1]] == [good, bad, s.told[2].record]
        for one in shown:
            place = f"/banks/{one['bank']}/pictures/{one['id']}"
            assert s.ask(f"{place}/heatmap?px=64").status == 200
            assert s.ask(f"{place}/nearest?px=64").status == 200
        assert {one["name"]: one["fault"] for one in s.ask("/healthz").json["sources"]} == {
            str(inbox): None,
            str(other): None,
        }
        assert s.said == []


def test_what_is_loaded_anew_judges_what_a_source_gives_next(bank: Path, tmp_path: Path) -> None:
    file, inbox = tmp_path / "bank.st", tmp_path / "inbox"
    shutil.copy(bank, file)
    inbox.mkdir()
    shutil.copy(ONE_BAD, inbox / "a.jpg")
    with serving({"bank": file}, [watched(inbox)]) as s:
        records(s, 1)
        shutil.copy(bank, tmp_path / "new")
        (tmp_path / "new").rename(file)
        until(lambda: any("loaded anew" in line for line in s.said))
        put(ONE_GOOD, inbox / "b.jpg")
        records(s, 2)
        assert [one.loaded is None for one in s.told] == [True, False]


def frames(pictures: list[Path], name: str = "camera:0") -> Iterator[Item | None]:
    for number, picture in enumerate(pictures):
        bgr = cv2.imread(str(picture))
        assert bgr is not None
        yield Frame(Path(name), Moment(number, float(number)), np.asarray(bgr, np.uint8))
        yield None


def test_frames_are_kept_as_they_were_judged(bank: Path, tmp_path: Path) -> None:
    clip = Inlet("clip", "bank", lambda: Source(frames([ONE_GOOD, ONE_BAD], "clip")), ends=True)
    with serving({"bank": bank}, [clip], keep=tmp_path / "kept") as s:
        told = records(s, 2)
        until(lambda: s.said == ["source clip: at its end"])
        assert [one["frame"] for one in told] == [0, 1]
        place = f"/banks/bank/pictures/{s.told[1].id}"
        picture = s.ask(f"{place}/picture")
        shown = cv2.imdecode(np.frombuffer(picture.body, np.uint8), cv2.IMREAD_COLOR)
        assert np.array_equal(np.asarray(shown), np.asarray(cv2.imread(str(ONE_BAD))))
        assert s.ask(f"{place}/heatmap?px=64").status == 200
        assert s.ask(f"{place}/decision", json.dumps({"decision": "defect"})).status == 200
    (kept,) = (tmp_path / "kept" / "bank" / "decided").iterdir()
    (again,) = fapm("score", bank, kept, "--json").json
    assert again["score"] == told[1]["score"]


def test_a_source_that_fails_is_told_once_and_tried_again(bank: Path) -> None:
    tries: list[Source | Exception] = [
        Source(frames([ONE_GOOD])),
        DeviceError("camera 0 can't be opened"),
        DeviceError("camera 0 can't be opened"),
        RuntimeError("a driver's own"),
        Source(frames([ONE_BAD])),
    ]

    def opened() -> Source:
        one = tries.pop(0) if tries else Source(iter([]))
        if isinstance(one, Exception):
            raise one
        return one

    with serving({"bank": bank}, [Inlet("camera:0", "bank", opened)]) as s:
        assert [one["verdict"] for one in records(s, 2)] == ["ok", "anomalous"]
        until(lambda: len(s.said) >= 3 and s.ask("/healthz").json["status"] == "degraded")
        assert s.said[:3] == [
            "note: source camera:0: it gives nothing more; it is tried again",
            "source camera:0 works again",
            "note: source camera:0: it gives nothing more; it is tried again",
        ]
        assert b'fapm_source_fault{source="camera:0"} 1.0' in s.ask("/metrics").body
        assert s.score(ONE_GOOD).status == 200


def test_a_folder_that_comes_back_is_watched_on(bank: Path, tmp_path: Path) -> None:
    inbox, away = tmp_path / "inbox", tmp_path / "away"
    inbox.mkdir()
    shutil.copy(ONE_GOOD, inbox / "a.jpg")
    with serving({"bank": bank}, [watched(inbox)]) as s:
        records(s, 1)
        inbox.rename(away)
        until(lambda: any("is not there" in line for line in s.said))
        away.rename(inbox)
        put(ONE_BAD, inbox / "b.jpg")
        assert [Path(one["path"]).name for one in records(s, 2)] == ["a.jpg", "b.jpg"]
        until(lambda: s.said[-1] == f"source {inbox} works again")


def test_a_source_that_hangs_is_no_sign_of_life_and_one_that_waits_is(
    bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "STILL_S", 0.3)
    hangs, goes_on, signs = threading.Event(), threading.Event(), Queue[float]()

    def items() -> Iterator[Item | None]:
        while not hangs.wait(0.01):
            yield None  # nothing comes for now
        assert goes_on.wait(20)
        while True:
            yield None
            time.sleep(0.01)

    def quiet() -> bool:
        try:
            signs.get(timeout=1)
        except Empty:
            return True
        return False

    inlet = Inlet("disk", "bank", lambda: Source(items()))
    with serving({"bank": bank}, [inlet], lambda: signs.put(0)):
        for _ in range(5):  # half a second
            signs.get(timeout=20)
        hangs.set()
        until(quiet)
        goes_on.set()
        signs.get(timeout=20)


def test_a_source_that_is_not_there_at_first_ends_it(bank: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(PictureError, match="is not there"),
        serving({"bank": bank}, [watched(tmp_path / "none")]),
    ):
        pass
    with (
        pytest.raises(OptionError, match="there is no bank 'other'"),
        serving({"bank": bank}, [watched(tmp_path, "other")]),
    ):
        pass
