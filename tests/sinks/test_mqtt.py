"""MQTT against Mosquitto: all records arrive, the status is kept, a broker may come and go."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from receivers import MOSQUITTO, NO_MOSQUITTO, RECORD, Relay, free_port, mosquitto, wait_until

from fapm_cli.errors import OptionError
from fapm_cli.sinks import worker
from fapm_cli.sinks.address import read_address
from fapm_cli.sinks.delivery import Delivery
from fapm_cli.sinks.mqtt import topics_of

mqtt = pytest.importorskip("paho.mqtt.client", reason="the extra fapm[mqtt] is not installed")
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason=NO_MOSQUITTO)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "FIRST_WAIT_S", 0.05)


class Subscriber:
    """Hears all topics of a broker; what was kept for it is in ``kept``."""

    def __init__(self, port: int) -> None:
        self.records: list[dict[str, Any]] = []
        self.status: list[dict[str, Any]] = []
        self.topics: set[str] = set()
        self.kept: list[dict[str, Any]] = []
        self.ready = threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.on_message = self._on_message
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.connect("127.0.0.1", port)
        self.client.subscribe("#", 1)
        self.client.loop_start()
        assert self.ready.wait(30)

    @property
    def ids(self) -> list[str]:
        return [record["id"] for record in list(self.records)]

    def _on_message(self, client: Any, data: Any, message: Any) -> None:
        self.topics.add(message.topic)
        value = json.loads(message.payload)
        if message.retain:
            self.kept.append(value)
        (self.status if message.topic.endswith("/status") else self.records).append(value)


@contextmanager
def subscribed(port: int) -> Iterator[Subscriber]:
    one = Subscriber(port)
    yield one
    one.client.disconnect()
    one.client.loop_stop()


@needs_broker
def test_records_arrive_in_order_and_the_status_is_kept(tmp_path: Path) -> None:
    port = free_port()
    with mosquitto(tmp_path, port), subscribed(port) as heard:
        with Delivery([f"mqtt://127.0.0.1:{port}/plant/line%203"], tmp_path / "q") as delivery:
            published = [delivery.publish(RECORD) for _ in range(300)]
            wait_until(lambda: len(heard.records) == 300)
        assert heard.records == published
        wait_until(lambda: heard.status[-1]["state"] == "offline")
        assert heard.topics == {"plant/line 3/records", "plant/line 3/status"}
        assert heard.status[0]["state"] == "online"
        assert heard.status[-1] | {"version": ""} == {
            **{"state": "offline", "queued": 0, "dropped": 0, "sent": 300, "version": ""}
        }
        with subscribed(port) as later:
            wait_until(lambda: later.kept)
            assert later.kept == [heard.status[-1]]


@needs_broker
def test_a_broker_that_is_down_stops_and_comes_back_gets_every_record(tmp_path: Path) -> None:
    port, way = free_port(), free_port()  # the way is open once someone listens at the broker
    ids, found = list[str](), list[str]()
    delivery = Delivery([f"mqtt://127.0.0.1:{way}"], tmp_path / "q")
    for _ in range(3):
        ids += [delivery.publish(RECORD)["id"] for _ in range(10)]
        with mosquitto(tmp_path, port), subscribed(port) as heard:
            relay = Relay(way, port)
            ids.append(delivery.publish(RECORD)["id"])
            wait_until(lambda heard=heard: ids[-1] in heard.ids)  # type: ignore[misc] # noqa: B023
            found += heard.ids
        relay.cut()
    delivery.close(drain_s=0)
    assert list(dict.fromkeys(found)) == ids


KILLED = """
import sys, time
from pathlib import Path
from fapm_cli.sinks.delivery import Delivery
from fapm_cli.sinks.mqtt import topics_of
delivery = Delivery([sys.argv[1]], Path(sys.argv[2]))
while True:
    print(delivery.publish({"path": "x"})["id"], flush=True)
    time.sleep(0.001)
"""


@needs_broker
def test_a_kill_loses_no_record_and_the_last_will_is_told(tmp_path: Path) -> None:
    port, published = free_port(), list[str]()
    url = f"mqtt://127.0.0.1:{port}"
    with mosquitto(tmp_path, port), subscribed(port) as heard:
        for _ in range(2):
            command = [sys.executable, "-c", KILLED, url, str(tmp_path / "q")]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
                assert run.stdout is not None
                wait_until(lambda: heard.records)
                published += [run.stdout.readline().strip() for _ in range(150)]
                run.kill()
                published += [line for line in run.stdout.read().split("\n") if len(line) == 32]
            wait_until(lambda: heard.status[-1] == {"state": "offline"})
        with Delivery([url], tmp_path / "q"):
            wait_until(lambda: {*published} <= {*heard.ids})
    order = list(dict.fromkeys(heard.ids))
    assert [id for id in order if id in set(published)] == published


@needs_broker
def test_a_user_and_a_password_are_needed_where_the_broker_wants_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, said = free_port(), list[str]()
    users = tmp_path / "users"
    assert MOSQUITTO is not None
    maker = shutil.which("mosquitto_passwd") or "/usr/bin/mosquitto_passwd"
    subprocess.run([maker, "-b", "-c", users, "me", "hush"], check=True)
    (tmp_path / "may").write_text("user me\ntopic readwrite open/#\n")
    rules = (f"password_file {users}", f"acl_file {tmp_path / 'may'}", "allow_anonymous false")
    with mosquitto(tmp_path, port, *rules):
        for password, topic, why in (
            ("wrong", "open", "the broker refuses: Not authorized"),
            ("hush", "closed", "the broker says: Not authorized"),
        ):
            monkeypatch.setenv("FAPM_MQTT_PASSWORD", password)
            url = f"mqtt://me@127.0.0.1:{port}/{topic}"
            delivery = Delivery([url], tmp_path / topic, say=said.append)
            delivery.publish(RECORD)
            wait_until(lambda: said)
            delivery.close(drain_s=0)
            assert why in said.pop(0)
            assert "1 records stay queued" in said.pop()
        with Delivery([f"mqtt://me:hush@127.0.0.1:{port}/open"], tmp_path / "q", say=said.append):
            pass
    assert not said


@needs_broker
def test_mqtts_trusts_whom_the_machine_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, own = tmp_path / "key", tmp_path / "own"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    files = ("-keyout", key, "-out", own)
    subprocess.run([*command.split(), *subject, *files], check=True, capture_output=True)
    port, said = free_port(), list[str]()
    with mosquitto(tmp_path, port, f"certfile {own}", f"keyfile {key}"):
        url = f"mqtts://localhost:{port}"
        delivery = Delivery([url], tmp_path / "q", say=said.append)
        wait_until(lambda: said)
        delivery.close(drain_s=0)
        assert "certificate verify failed" in said[0]
        monkeypatch.setenv("SSL_CERT_FILE", str(own))
        said.clear()
        with Delivery([url], tmp_path / "q", say=said.append) as delivery:
            delivery.publish(RECORD)
    assert not said


def test_a_topic_with_a_wildcard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="its path is a topic, without"):
        Delivery(["mqtt://host/plant/%23"], tmp_path)


def test_without_paho_what_to_install_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(OptionError, match=r"pip install 'fapm\[mqtt\]'"):
        Delivery(["mqtt://host"], tmp_path)


def test_a_broker_of_before_mqtt_5_is_asked_in_its_own_way(tmp_path: Path) -> None:
    levels = []
    with socket.create_server(("127.0.0.1", 0)) as broker:
        url = f"mqtt://127.0.0.1:{broker.getsockname()[1]}"
        delivery = Delivery([url], tmp_path)
        for answer in (b"\x20\x02\x00\x01", b"\x20\x02\x00\x00"):  # unknown version; welcome
            caller, _ = broker.accept()
            connect = caller.recv(4096)
            levels.append(connect[connect.index(b"MQTT") + 4])
            caller.sendall(answer)
            caller.close()
        delivery.close(drain_s=0)
    assert levels == [5, 4]


@pytest.mark.parametrize(
    ("path", "data", "status"),
    [
        ("plant/line%201", "fapm/plant/NDATA/line 1", "fapm/plant/NSTATUS/line 1"),
        ("plant/line1/cam", "fapm/plant/DDATA/line1/cam", "fapm/plant/DSTATUS/line1/cam"),
    ],
)
def test_topics_may_stand_in_sparkplugs_order(path: str, data: str, status: str) -> None:
    address = read_address(f"mqtt://bus/{path}?topics=sparkplug")
    assert topics_of(address) == (data, status)
    assert address.name == f"mqtt://bus:1883/{path}?topics=sparkplug"
    assert topics_of(read_address(f"mqtt://bus/{path}"))[0] == f"{unquote(path)}/records"


@pytest.mark.parametrize("path", ["", "plant", "a/b/c/d", "a//c", "a/+"])
def test_sparkplugs_order_takes_a_group_and_a_node(path: str) -> None:
    with pytest.raises(OptionError, match="its path is"):
        topics_of(read_address(f"mqtts://bus/{path}?topics=sparkplug"))


@pytest.mark.parametrize("query", ["topics=sparkplugB", "x", "topics=sparkplug&x"])
def test_nothing_else_may_follow_the_question_mark(query: str) -> None:
    with pytest.raises(OptionError, match=r"takes topics=sparkplug after \?"):
        read_address(f"mqtt://bus/a/b?{query}")
