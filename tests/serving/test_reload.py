"""Hot reload: a bank's file that changes is put in place between two pictures, if it is sound."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import GOOD, ONE_BAD, build, fapm
from servers import Server, serving, until

from fapm_cli.errors import BankError
from fapm_cli.serving import feeding, service
from fapm_cli.serving.feeding import Inlet
from fapm_cli.sources.source import Source, watch_source


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another bank of the same part."""
    return build(tmp_path_factory.mktemp("other") / "other.st", GOOD[12:20])


@pytest.fixture
def file(bank: Path, tmp_path: Path) -> Path:
    """A bank's file to be overwritten."""
    return Path(shutil.copy(bank, tmp_path / "part.st"))


@pytest.fixture
def server(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(service, "_LOOK_S", 0.02)
    with serving({"part": file}, drift=True) as running:
        yield running


def score_of(bank: Path) -> float:
    score: float = fapm("score", bank, ONE_BAD, "--json").json[0]["score"]
    return score


def put(new: Path, file: Path) -> None:
    beside = file.with_suffix(".new")
    shutil.copy(new, beside)
    os.replace(beside, file)


def test_a_new_bank_is_put_in_place_between_two_pictures(
    server: Server, file: Path, bank: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[None] = []
    monkeypatch.setattr(service, "give_back_freed", lambda: given_back.append(None))
    before, after = score_of(bank), score_of(other)
    scores: list[float] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            scores.append(server.score(ONE_BAD, bank="part").json["score"])

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: bool(scores))
    old = server.ask("/pictures").json["pictures"][-1]["id"]
    put(other, file)
    until(lambda: scores[-1] == after)
    over.set()
    asking.join(20)
    assert scores == sorted(scores, key=[before, after].index)
    until(lambda: bool(server.said))
    assert len(server.said) == len(given_back) == 1
    assert "bank part: loaded anew" in server.said[0]
    assert server.ask(f"/banks/part/pictures/{old}/heatmap").status == 410
    assert b'fapm_bank_loads_total{bank="part",result="good"} 1.0' in server.ask("/metrics").body


@pytest.mark.parametrize("kind", ["cut", "other file", "gone", "flipped"])
def test_a_broken_bank_leaves_the_old_one_in_place_and_says_so(
    kind: str, server: Server, file: Path, bank: Path
) -> None:
    data = bank.read_bytes()
    if kind == "gone":
        file.unlink()
    else:
        broken = {"cut": data[:-1000], "other file": b"{}" * 50, "flipped": data[:9] + data[10:]}
        file.write_bytes(broken[kind])  # over what is there, as no fapm would
    until(lambda: bool(server.ask("/healthz").json["banks"]["part"]["fault"]))
    health = server.ask("/healthz").json
    assert health["status"] == "degraded"
    assert str(file) in health["banks"]["part"]["fault"]
    assert server.score(ONE_BAD, bank="part").json["score"] == score_of(bank)
    assert b'fapm_bank_fault{bank="part"} 1.0' in server.ask("/metrics").body
    assert [line for line in server.said if "the one loaded goes on" in line] == server.said
    put(bank, file)
    until(lambda: server.ask("/healthz").json["status"] == "ok")


def test_drift_begins_anew_with_a_new_bank(server: Server, file: Path, other: Path) -> None:
    for _ in range(3):
        first = server.score(ONE_BAD, bank="part").json["drift"]
    digest = server.ask("/banks").json["banks"]["part"]["digest"]
    put(other, file)
    until(lambda: server.ask("/banks").json["banks"]["part"]["digest"] != digest)
    assert server.score(ONE_BAD, bank="part").json["drift"] != first


def test_one_broken_bank_of_two_keeps_the_other_from_nothing(
    tmp_path: Path, file: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_LOOK_S", 0.02)
    monkeypatch.setattr(feeding, "AGAIN_S", 0.05)
    late, inbox = tmp_path / "late.st", tmp_path / "inbox"
    late.write_bytes(b"{}" * 50)
    inbox.mkdir()
    part = Path(shutil.copy(ONE_BAD, inbox / "part.jpg"))
    opened: list[Source] = []

    def watch() -> Source:
        opened.append(watch_source(inbox))
        return opened[0]

    with serving({"part": file, "late": late}, [Inlet("inbox", "late", watch)]) as server:
        assert server.score(ONE_BAD, bank="part").status == 200
        refused = server.score(ONE_BAD, bank="late")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "60")
        health = server.ask("/healthz").json
        assert health["status"] == "degraded"
        assert health["banks"]["part"]["fault"] is None
        assert refused.json["error"] == health["banks"]["late"]["fault"]
        assert health["banks"]["late"]["digest"] is None
        until(lambda: bool(server.ask("/healthz").json["sources"][0]["fault"]))
        assert len(server.told) == 1
        metrics = server.ask("/metrics").body
        assert b'fapm_bank_fault{bank="late"} 1.0' in metrics
        assert b'fapm_refused_total{reason="bank"} 1.0' in metrics
        assert "bank late: judges nothing until that is mended" in server.said[0]
        put(other, late)
        until(lambda: len(server.told) == 2)
        assert server.told[1].record["path"] == str(part)
        until(lambda: server.ask("/healthz").json["status"] == "ok")
        assert len(opened) == 1


def test_a_service_without_one_bank_that_judges_does_not_begin(tmp_path: Path) -> None:
    with pytest.raises(BankError, match=r"none\.st"), serving({"none": tmp_path / "none.st"}):
        pass
