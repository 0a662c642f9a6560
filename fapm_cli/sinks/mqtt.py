"""MQTT: a record a message, QoS 1; and a retained status with a last will."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from fapm_cli.errors import OptionError, OutputError
from fapm_cli.packages import need
from fapm_cli.secret import secret
from fapm_cli.sinks.address import SECRETS, SPARKPLUG, Address
from fapm_cli.sinks.sink import TIMEOUT_S, Message, Sink, Status

DEFAULT_TOPIC = "fapm"
_KEEPALIVE_S = 20
_OLD_PROTOCOL = 132  # the reason by which a broker refuses MQTT 5
_GONE = json.dumps({"state": "offline"}).encode()


def topics_of(address: Address) -> tuple[str, str]:
    """Topics of records and of the status: ``TOPIC/records``, ``TOPIC/status``, by the URL's path.

    With ``?topics=sparkplug`` the path is ``GROUP/NODE`` or ``GROUP/NODE/DEVICE``, and the parts
    stand in Sparkplug's order: ``fapm/GROUP/NDATA/NODE``, ``fapm/GROUP/DDATA/NODE/DEVICE``, with
    ``NSTATUS`` or ``DSTATUS`` for the status.

    Raises:
        OptionError: the path has a wildcard, or other parts.
    """
    topic = unquote(address.path.strip("/")) or DEFAULT_TOPIC
    if set("+#\0") & set(topic) or len(topic.encode()) > 1000:
        raise OptionError(f"--to {address.name}: its path is a topic, without + and #")
    if address.query != SPARKPLUG:
        return f"{topic}/records", f"{topic}/status"
    group, *of = topic.split("/")
    if len(of) not in (1, 2) or not all((group, *of)):
        raise OptionError(f"--to {address.name}: its path is GROUP/NODE, or GROUP/NODE/DEVICE")
    data, status = (["fapm", group, f"{'ND'[len(of) - 1]}{w}", *of] for w in ("DATA", "STATUS"))
    return "/".join(data), "/".join(status)


class MqttSink(Sink):
    """Publishes records and the status, to :func:`topics_of` the URL."""

    def __init__(self, address: Address):
        """Check the topic.

        Raises:
            OptionError: it has a wildcard, or paho-mqtt is not installed.
        """
        self._mqtt = need("paho.mqtt.client", "mqtt")
        self._address = address
        self.records, self.status = topics_of(address)
        self._password = address.password or secret(SECRETS[address.scheme])
        self._protocol = self._mqtt.MQTTv5  # in 3.1.1 a broker refuses a message without a word
        self._connection: _Connection | None = None

    def send(self, batch: Sequence[Message]) -> None:
        """Publish messages, and wait until the broker has said of each that it has it.

        Raises:
            OutputError: it refuses one, or is gone.
            OSError: it can't be reached.
        """
        self._open().publish([(self.records, message.body, False) for message in batch])

    def tell(self, status: Status) -> None:
        """Publish the status, which the broker keeps for who asks later.

        Raises:
            OutputError: it refuses that, or is gone.
            OSError: it can't be reached.
        """
        self._open().publish([(self.status, status.to_json(), True)])

    def reach(self, *, ask: bool) -> None:
        """Connect, and publish nothing.

        Raises:
            OutputError: the broker refuses.
            OSError: it can't be reached.
        """
        if ask:
            self._open()

    def close(self) -> None:
        """Take leave of the broker."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> _Connection:
        if self._connection is None:
            self._connection = connection = _Connection(self._client(), self._mqtt)
            try:
                connection.open(self._address.host, self._address.port)
            except OutputError:
                if connection.refusal == _OLD_PROTOCOL:
                    self._protocol = self._mqtt.MQTTv311  # next time
                raise
        return self._connection

    def _client(self) -> Any:
        client = self._mqtt.Client(
            self._mqtt.CallbackAPIVersion.VERSION2,
            protocol=self._protocol,
            reconnect_on_failure=False,  # a new one is made, which has forgotten all
        )
        client.connect_timeout = TIMEOUT_S
        if self._address.user or self._password:
            client.username_pw_set(self._address.user, self._password or None)
        if self._address.scheme == "mqtts":
            client.tls_set_context(ssl.create_default_context())
        client.will_set(self.status, _GONE, qos=1, retain=True)
        return client


class _Connection:
    """A client's one connection to a broker, from which it does not come back.

    paho calls back in a thread of its own, and holds locks that publishing needs: what it tells is
    only noted there.
    """

    def __init__(self, client: Any, mqtt: Any):
        self._client, self._mqtt = client, mqtt
        self._news = threading.Condition()
        self._connected, self._lost = False, ""
        self._answers: dict[int, str] = {}  # by message: empty, or why it was refused
        self.refusal = 0
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish

    def open(self, host: str, port: int) -> None:
        """Connect, and wait until the broker says yes."""
        self._client.connect(host, port, keepalive=_KEEPALIVE_S)
        self._client.loop_start()
        with self._news:
            self._news.wait_for(lambda: self._connected or self._lost, TIMEOUT_S)
            if self._lost or not self._connected:
                raise OutputError(self._lost or f"no answer in {TIMEOUT_S:.0f} s")

    def publish(self, messages: Sequence[tuple[str, bytes, bool]]) -> None:
        """Publish (topic, payload, whether it is kept), and wait for all answers."""
        sent = {self._client.publish(t, p, qos=1, retain=kept).mid for t, p, kept in messages}
        with self._news:
            self._news.wait_for(lambda: self._lost or sent <= self._answers.keys(), TIMEOUT_S)
            refused = [answer for mid in sent if (answer := self._answers.pop(mid, "no answer"))]
        if refused:
            raise OutputError(self._lost or f"the broker says: {refused[0]}")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._news:
            if reason.is_failure:
                self._lost, self.refusal = f"the broker refuses: {reason}", reason.value
            self._connected = not reason.is_failure
            self._news.notify_all()

    def _on_disconnect(
        self, client: Any, data: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        with self._news:
            self._lost = self._lost or f"connection lost ({reason})"
            self._news.notify_all()

    def _on_publish(self, client: Any, data: Any, mid: int, reason: Any, properties: Any) -> None:
        with self._news:
            self._answers[mid] = str(reason) if reason.is_failure else ""
            self._news.notify_all()
