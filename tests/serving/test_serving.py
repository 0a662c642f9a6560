"""The service: the very records of `fapm score`, told to all who listen; heatmaps; metrics."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ONE_BAD, ONE_GOOD, ROOT, SAMPLES, fapm
from jsonschema import Draft202012Validator
from PIL import Image
from servers import JSON, Server, serving

import fapm_cli

RECORDS = json.loads((ROOT / "docs" / "score.schema.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def server(bank: Path, paper_bank: Path) -> Iterator[Server]:
    banks = {"bank": bank, "paper": paper_bank}
    with serving(banks, root=SAMPLES, drift=True, keep_last=5) as running:
        yield running


def record_of_score(bank: Path, picture: Path, path: str) -> dict[str, Any]:
    (record,) = fapm("score", bank, picture, "--json").json
    return {**record, "path": path}


@pytest.mark.parametrize("name", ["bank", "paper"])
def test_a_record_is_that_of_score_to_the_last_digit(
    name: str, server: Server, request: pytest.FixtureRequest
) -> None:
    file = request.getfixturevalue({"bank": "bank", "paper": "paper_bank"}[name])
    sent = server.score(ONE_BAD, "?name=part%2017.jpg", name)
    assert sent.status == 200
    record = sent.json
    assert not list(Draft202012Validator(RECORDS).iter_errors(record))
    assert record.pop("drift")["alarm"] is False
    assert record == record_of_score(file, ONE_BAD, "part 17.jpg")


def test_a_picture_below_the_root_is_named_by_its_path(server: Server, bank: Path) -> None:
    path = ONE_BAD.relative_to(SAMPLES).as_posix()
    got = server.ask("/banks/bank/score", json.dumps({"path": path}), JSON).json
    del got["drift"]
    assert got == record_of_score(bank, ONE_BAD, path)


def test_what_cannot_be_read_is_a_record_with_its_error(server: Server) -> None:
    cut = ONE_BAD.read_bytes()[:900]
    answer = server.score(cut, "?name=cut.jpg")
    assert answer.status == 422
    assert answer.json["path"] == "cut.jpg"
    assert "cut.jpg is damaged" in answer.json["error"]
    Draft202012Validator(RECORDS).validate(answer.json)


def test_every_picture_is_told_to_sinks_and_listeners_in_order(server: Server) -> None:
    with socket.create_connection((server.host, server.port), timeout=20) as listening:
        listening.sendall(b"GET /events?bank=bank HTTP/1.1\r\nHost: localhost\r\n\r\n")
        stream = listening.makefile("rb")
        while b"listening" not in stream.readline():
            pass
        ids = [server.score(ONE_GOOD).headers["X-Picture-Id"]]
        server.score(ONE_GOOD, bank="paper")
        ids.append(server.score(ONE_BAD).headers["X-Picture-Id"])
        events: list[dict[str, Any]] = []
        while len(events) < 2:
            line = stream.readline()
            if line.startswith(b"data: "):
                events.append(json.loads(line[6:]))
    assert [event["id"] for event in events] == ids
    assert [one.id for one in server.told[-3:] if one.bank == "bank"] == ids
    assert [event["record"] for event in events] == [
        one.record for one in server.told[-3:] if one.bank == "bank"
    ]
    assert [event["record"]["verdict"] for event in events] == ["ok", "anomalous"]


def test_who_was_away_is_told_what_was_missed(server: Server) -> None:
    first, second = (server.score(ONE_GOOD).headers["X-Picture-Id"] for _ in range(2))
    with socket.create_connection((server.host, server.port), timeout=20) as listening:
        listening.sendall(
            f"GET /events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {first}\r\n\r\n".encode()
        )
        stream = listening.makefile("rb")
        while not (line := stream.readline()).startswith(b"id: "):
            pass
    assert line == f"id: {second}\n".encode()


def test_the_heatmap_is_that_of_fapm_heatmap(server: Server, bank: Path, tmp_path: Path) -> None:
    address = server.score(ONE_BAD).headers["Location"]
    assert fapm("heatmap", bank, ONE_BAD, "-o", tmp_path).code == 0
    drawn = np.asarray(Image.open(tmp_path / f"{ONE_BAD.stem}_heatmap.png"))
    answer = server.ask(f"{address}/heatmap")
    assert answer.headers["Content-Type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(BytesIO(answer.body))), drawn)
    small = server.ask(f"{address}/heatmap?px=100")
    assert Image.open(BytesIO(small.body)).size == (100, 100)


def test_the_picture_and_its_nearest_good_one_are_shown(server: Server, bank: Path) -> None:
    scored = server.score(ONE_BAD)
    shown = Image.open(BytesIO(server.ask(f"{scored.headers['Location']}/picture").body))
    assert np.array_equal(np.asarray(shown), np.asarray(Image.open(ONE_BAD)))
    near = Image.open(BytesIO(server.ask(f"{scored.headers['Location']}/nearest").body))
    assert near.size == (224, 224)
    nothing = server.score(ONE_BAD, bank="paper").headers["Location"]
    assert server.ask(f"{nothing}/nearest").status == 200


def test_old_pictures_go_when_newer_ones_come(server: Server) -> None:
    addresses = [server.score(ONE_GOOD).headers["Location"] for _ in range(6)]
    assert server.ask(addresses[0]).status == 404
    assert server.ask(addresses[1]).json["shown"] is True
    assert len(server.ask("/pictures").json["pictures"]) == 5
    newest = server.ask("/pictures?last=2&bank=bank").json["pictures"]
    assert [f"/banks/bank/pictures/{one['id']}" for one in newest] == addresses[:-3:-1]


def test_metrics_count_pictures_verdicts_times_p_values_and_drift(server: Server) -> None:
    def metrics() -> dict[str, float]:
        lines = server.ask("/metrics").body.decode().splitlines()
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
        }

    before = metrics()
    server.score(ONE_BAD)
    server.score(b"nothing")
    after = metrics()
    grown = {name for name, value in after.items() if value == before.get(name, 0) + 1}
    assert {
        'fapm_pictures_total{bank="bank",verdict="anomalous"}',
        'fapm_judging_seconds_count{bank="bank"}',
        'fapm_p_value_count{bank="bank"}',
        'fapm_refused_total{reason="format"}',
    } <= grown
    assert after['fapm_drift_alarm{bank="bank"}'] == 0
    assert 'fapm_drift_evidence{bank="bank"}' in after


def test_the_description_names_every_address_and_the_very_record(server: Server) -> None:
    told = server.ask("/openapi.json").json
    text = json.dumps(RECORDS["$defs"]).replace("#/$defs/", "#/components/schemas/")
    assert json.loads(text).items() <= told["components"]["schemas"].items()
    for name in ("banks", "health", "judgement"):
        Draft202012Validator.check_schema(told["components"]["schemas"][name])
    address = server.score(ONE_GOOD).headers["Location"].removeprefix("/banks/bank/pictures/")
    for path, ways in told["paths"].items():
        where = path.replace("{bank}", "bank").replace("{id}", address)
        assert set(ways) <= {"get", "post"}
        for way in ways:
            if path != "/events":
                status = server.ask(where, b"" if way == "post" else None, JSON).status
                assert status == 200 or way == "post", path
                assert status not in (404, 405), path


def test_health_names_banks_and_what_is_loaded(server: Server, bank: Path) -> None:
    health = server.ask("/healthz").json
    assert health["status"] == "ok"
    assert health["version"] == fapm_cli.__version__
    assert health["banks"]["bank"]["pictures"] == 12
    assert server.ask("/banks").json["banks"] == health["banks"]
