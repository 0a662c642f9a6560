"""OPC UA against asyncua's own server: values land on the server's variables, handshake and all."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from receivers import RECORD, Relay, free_port, wait_until

from fapm_cli.errors import OptionError
from fapm_cli.sinks import opcua, worker
from fapm_cli.sinks.delivery import Delivery

asyncua = pytest.importorskip("asyncua.sync", reason="the extra fapm[opcua] is not installed")
ua = pytest.importorskip("asyncua.ua")


class Plc:
    """An object of a server with variables below it, as a PLC has them."""

    def __init__(self, server: Any, port: int, name: str, **kinds: str) -> None:
        index = server.register_namespace("urn:plc")
        parent = server.nodes.objects.add_object(ua.NodeId(name, index), name)
        self.nodes: dict[str, Any] = {}
        for field, kind in kinds.items():
            variant = ua.Variant(DEFAULTS[kind], getattr(ua.VariantType, kind))
            self.nodes[field] = parent.add_variable(
                ua.NodeId(f"{name}.{field}", index), field, variant
            )
            self.nodes[field].set_writable()
        self.port, self.node = port, f"ns={index};s={name}"
        self.url = f"opc.tcp://127.0.0.1:{port}/#{self.node}"

    def __getitem__(self, name: str) -> Any:
        return self.nodes[name].read_value()


DEFAULTS: dict[str, Any] = {
    **{"String": "", "Float": 0.0, "Double": 0.0, "Int16": 0, "Byte": 0, "Boolean": False},
    **{"DateTime": datetime(2000, 1, 1), "UInt32": 0},
}
KINDS = {
    **{"id": "String", "time": "DateTime", "path": "String", "score": "Float", "verdict": "Int16"},
    **{
        "p_value": "Double",
        "x": "UInt32",
        "regions": "Byte",
        "drift": "Boolean",
        "error": "String",
    },
    **{"somebody_elses": "Double"},
}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "FIRST_WAIT_S", 0.05)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Any, int]]:
    one, port = asyncua.Server(), free_port()
    one.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    one.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    one.start()
    yield one, port
    one.stop()


MakePlc = Callable[..., Plc]


@pytest.fixture
def make_plc(server: tuple[Any, int], request: pytest.FixtureRequest) -> MakePlc:
    """Make the variables of a test, by their types."""
    return functools.partial(Plc, *server, request.node.name)


def test_values_are_written_as_the_servers_variables_have_them(
    make_plc: MakePlc, tmp_path: Path
) -> None:
    plc = make_plc(**KINDS)
    with Delivery([plc.url], tmp_path) as delivery:
        one = delivery.publish({**RECORD, "drift": {"alarm": True, "evidence": 2}})
        wait_until(lambda: plc["id"] == one["id"])
        assert one["time"].startswith(plc["time"].isoformat()[:19])
        found = [plc[name] for name in ("path", "score", "verdict", "p_value", "x", "regions")]
        assert found == ["inbox/1.jpg", 1.5, 2, 0.25, 3, 1]
        assert (plc["drift"], plc["error"], plc["somebody_elses"]) == (True, "", 0.0)
        two = delivery.publish({"path": "a\udcff.jpg", "error": "no picture"})
        wait_until(lambda: plc["id"] == two["id"])
        assert math.isnan(plc["score"])
        assert [plc["path"], plc["verdict"], plc["error"], plc["x"]] == [
            *("a\\udcff.jpg", 3, "no picture", 0)
        ]


def test_with_ack_each_record_waits_for_the_plc_and_none_is_missed(
    make_plc: MakePlc, tmp_path: Path
) -> None:
    plc = make_plc(id="String", verdict="String", ack="String")
    seen: list[str] = []

    def cycle() -> bool:
        """What a PLC does, over and over: take what is new, and say so."""
        if plc["id"] not in ("", *seen[-1:]):
            seen.append(plc["id"])
            assert plc["verdict"] == "anomalous"
            plc.nodes["ack"].write_value(seen[-1])
        return len(seen) == 5

    with Delivery([plc.url], tmp_path) as delivery:
        ids = [delivery.publish(RECORD)["id"] for _ in range(5)]
        wait_until(cycle)
    assert seen == ids


def test_a_server_that_is_gone_for_a_while_gets_what_waited(
    make_plc: MakePlc, tmp_path: Path
) -> None:
    plc, port, said = make_plc(id="String"), free_port(), list[str]()
    url = f"opc.tcp://127.0.0.1:{port}/#{plc.node}"
    with Delivery([url], tmp_path, say=said.append) as delivery:
        for failures in (1, 2):
            id = delivery.publish(RECORD)["id"]
            wait_until(lambda n=failures: len(said) == 2 * n - 1)  # type: ignore[misc]
            relay = Relay(port, plc.port)
            wait_until(lambda id=id: plc["id"] == id)  # type: ignore[misc]
            wait_until(lambda n=failures: len(said) == 2 * n)  # type: ignore[misc]
            relay.cut()
    assert "works again" in said[1]
    assert "records wait on disk" in said[2]


def test_a_node_without_such_variables_is_told(make_plc: MakePlc, tmp_path: Path) -> None:
    plc, said = make_plc(other="String"), list[str]()
    delivery = Delivery([plc.url], tmp_path, say=said.append)
    delivery.publish(RECORD)
    wait_until(lambda: said)
    delivery.close(drain_s=0)
    assert f"node {plc.node} has no variable named time, path, score" in said[0]


def test_a_url_without_a_node_and_a_missing_package_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OptionError, match="name the node whose variables are written"):
        Delivery(["opc.tcp://plc:4840"], tmp_path)
    monkeypatch.setitem(sys.modules, "asyncua.sync", None)
    with pytest.raises(OptionError, match=r"pip install 'fapm\[opcua\]'"):
        Delivery(["opc.tcp://plc:4840#ns=2;s=X"], tmp_path)


def test_every_field_that_is_documented_is_written_and_no_other() -> None:
    assert set(opcua.values_of({"path": "x", "error": "y"})) == set(opcua.FIELDS)
    assert opcua.FIELDS[-1] == "id"
