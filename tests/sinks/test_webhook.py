"""The webhook against an HTTP server: signed, and every record arrives though answers fail."""

from __future__ import annotations

import hashlib
import hmac
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from receivers import RECORD, Receiver, free_port, wait_until

from fapm_cli.errors import OptionError
from fapm_cli.sinks import worker
from fapm_cli.sinks.address import read_address
from fapm_cli.sinks.delivery import Delivery


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAPM_WEBHOOK_SECRET", "hush")
    monkeypatch.setattr(worker, "FIRST_WAIT_S", 0.02)
    monkeypatch.setattr(worker, "LONGEST_WAIT_S", 0.05)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.close()


def test_a_post_is_signed_over_its_time_and_body(receiver: Receiver, tmp_path: Path) -> None:
    with Delivery([receiver.url], tmp_path) as delivery:
        published = delivery.publish({**RECORD, "path": "in/\udcff.jpg"})
        wait_until(lambda: receiver.posts)
    ((headers, body),) = receiver.posts
    assert receiver.records == [published]
    timestamp = headers["X-Fapm-Timestamp"]
    assert abs(int(timestamp) - time.time()) < 60
    digest = hmac.new(b"hush", timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["X-Fapm-Signature"] == f"sha256={digest}"
    assert "hush" not in str(headers)


def test_user_and_password_of_the_url_go_into_a_header_and_its_query_to_the_server(
    receiver: Receiver, tmp_path: Path
) -> None:
    with Delivery([f"http://me:h%40ush@127.0.0.1:{receiver.port}/x?a=b"], tmp_path) as delivery:
        delivery.publish(RECORD)
    assert receiver.posts[0][0]["Authorization"] == "Basic bWU6aEB1c2g="


def test_without_a_secret_nothing_is_posted(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAPM_WEBHOOK_SECRET")
    with pytest.raises(OptionError, match="set FAPM_WEBHOOK_SECRET, or FAPM_WEBHOOK_SECRET_FILE"):
        Delivery([receiver.url], tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_record_arrives_in_order_at_a_server_that_fails_at_random(
    receiver: Receiver, tmp_path: Path
) -> None:
    chance, lock = random.Random(0), threading.Lock()

    def answer() -> int:
        with lock:
            return chance.choice((200, 200, 500, 302, 404, 0))

    receiver.answer = answer
    published = []
    with Delivery([receiver.url], tmp_path) as delivery:
        for _ in range(40):
            published.append(delivery.publish(RECORD))
            time.sleep(0.002)
        wait_until(lambda: len({one["id"] for one in receiver.records}) == 40)
    found = {one["id"]: one for one in receiver.records}  # the first of doubles keeps its place
    assert list(found.values()) == published


def test_a_server_that_takes_a_batch_and_breaks_off_gets_it_again_with_the_same_ids(
    receiver: Receiver, tmp_path: Path
) -> None:
    taken: list[int] = []

    def answer() -> int:
        taken.append(1)
        return 0 if len(taken) < 3 else 200

    receiver.answer = answer
    with Delivery([receiver.url], tmp_path) as delivery:
        published = delivery.publish(RECORD)
        wait_until(lambda: receiver.posts)
    assert receiver.records == [published]
    assert len(taken) == 3


def test_a_server_that_was_idle_and_gone_for_a_while_costs_no_record(tmp_path: Path) -> None:
    port = free_port()
    with Delivery([f"http://127.0.0.1:{port}/"], tmp_path) as delivery:
        ids = [delivery.publish(RECORD)["id"] for _ in range(3)]
        found = []
        for _ in range(2):  # a server, and another in its place
            server = Receiver(port)
            wait_until(lambda server=server: server.posts)  # type: ignore[misc]
            found += [record["id"] for record in server.records]
            server.close()
            ids.append(delivery.publish(RECORD)["id"])
        server = Receiver(port)
        wait_until(lambda: server.posts)
        found += [record["id"] for record in server.records]
        server.close()
    assert list(dict.fromkeys(found)) == ids


def test_a_connection_that_the_server_closed_while_idle_is_no_fault(
    receiver: Receiver, tmp_path: Path
) -> None:
    said: list[str] = []
    with Delivery([receiver.url], tmp_path, say=said.append) as delivery:
        for number in (1, 2):
            delivery.publish(RECORD)
            wait_until(lambda: delivery._queue.counts(read_address(receiver.url).name)[0] == 0)
            assert len(receiver.posts) == number
            receiver.hang_up()
    assert not said
