"""OPC UA: a record's values, written to variables that the server has, such as a PLC's."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fapm_cli.errors import OptionError, OutputError
from fapm_cli.packages import need
from fapm_cli.secret import secret
from fapm_cli.sinks.address import SECRETS, Address
from fapm_cli.sinks.database import storable
from fapm_cli.sinks.sink import TIMEOUT_S, Message, Sink

VERDICTS = {"ok": 0, "review": 1, "anomalous": 2, "error": 3, "judged": 4}
FIELDS = (
    *("time", "path", "score", "threshold", "verdict", "p_value", "x", "y", "regions", "drift"),
    *("error", "id"),
)
"""Names of variables that are written, in this order: what has a new id is there as a whole."""
ACK = "ack"
_LOOK_EVERY_S = 0.01


class OpcUaSink(Sink):
    """Writes to the variables below one node that are named as :data:`FIELDS`."""

    most = 1  # a PLC tells a double from the last record alone

    def __init__(self, address: Address):
        """Check that a node is named.

        Raises:
            OptionError: it is not, or asyncua is not installed.
        """
        self._sync, self._ua = need("asyncua.sync", "opcua"), need("asyncua.ua", "opcua")
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # what fails is raised, and told
        if not address.node:
            raise OptionError(
                f"--to {address.name}: name the node whose variables are written, as in "
                f"{address.scheme}://{address.host}#ns=2;s=Inspection"
            )
        self._address, self._client = address, None
        self._variables: dict[str, tuple[Any, Any]] = {}  # by field: a node and its type

    def send(self, batch: Sequence[Message]) -> None:
        """Write each record; where the server has ``ack``, wait until that is its id.

        Raises:
            OutputError: the server lacks the variables, or does not acknowledge.
            Exception: as asyncua says.
        """
        if self._client is None:
            self._open()
        for message in batch:
            values = values_of(message.record)
            for field, (node, kind) in self._variables.items():
                if field != ACK:
                    variant = self._ua.Variant(self._fitting(values[field], kind), kind)
                    node.write_value(self._ua.DataValue(variant))
            self._wait_for_ack(message.id)

    def reach(self, *, ask: bool) -> None:
        """Connect, look for the variables, and write none.

        Raises:
            OutputError: the server lacks them.
            Exception: as asyncua says.
        """
        if ask:
            self._open()

    def close(self) -> None:
        """Close the session."""
        client, self._client, self._variables = self._client, None, {}
        if client is not None:
            client.disconnect()

    def _open(self) -> None:
        where = f"{self._address.host}:{self._address.port}{self._address.path}"
        self._client = client = self._sync.Client(f"opc.tcp://{where}", timeout=TIMEOUT_S)
        if self._address.user:
            client.set_user(self._address.user)
            client.set_password(self._address.password or secret(SECRETS[self._address.scheme]))
        client.connect()
        children = client.get_node(self._address.node).get_children()
        found = {child.read_browse_name().Name: child for child in children}
        for field in (*FIELDS, ACK):
            if field in found:
                node = found[field]
                self._variables[field] = (node, node.read_data_type_as_variant_type())
        if not set(self._variables) - {ACK}:
            raise OutputError(
                f"node {self._address.node} has no variable named {', '.join(FIELDS)}"
            )

    def _fitting(self, value: Any, kind: Any) -> Any:
        """A value as a variable's type has it; what is not known is NaN, 0 or empty."""
        name = kind.name
        if name in ("Float", "Double"):
            return math.nan if value is None else float(value)
        if name == "Boolean":
            return bool(value)
        if "Int" in name or name in ("Byte", "SByte"):
            return int(VERDICTS.get(value, 0) if isinstance(value, str) else value or 0)
        if name == "DateTime" and isinstance(value, str):
            return datetime.fromisoformat(value.replace("Z", "+00:00")).replace(tzinfo=None)
        return "" if value is None else str(storable(value))

    def _wait_for_ack(self, id: str) -> None:
        if ACK not in self._variables:
            return
        node, over = self._variables[ACK][0], time.monotonic() + TIMEOUT_S
        while node.read_value() != id:
            if time.monotonic() > over:
                raise OutputError(f"{ACK} did not become the record's id in {TIMEOUT_S:.0f} s")
            time.sleep(_LOOK_EVERY_S)


def values_of(record: dict[str, Any]) -> dict[str, Any]:
    """A record's values, by the names in :data:`FIELDS`; None for what it does not have."""
    flat = {**record, **record.get("peak", {})}
    flat["regions"] = len(record["regions"]) if "regions" in record else None
    flat["drift"] = record.get("drift", {}).get("alarm")
    flat["verdict"] = "error" if "error" in record else record.get("verdict", "judged")
    return {field: flat.get(field) for field in FIELDS}
