"""Which sink a URL means."""

from __future__ import annotations

from fapm_cli.sinks.address import Address
from fapm_cli.sinks.sink import Sink


def open_sink(address: Address) -> Sink:
    """Make the sink of an address; it connects when it is first used.

    Raises:
        OptionError: the package it takes is not installed, or a secret or part of the URL is
            missing.
    """
    if address.scheme in ("mqtt", "mqtts"):
        from fapm_cli.sinks.mqtt import MqttSink

        return MqttSink(address)
    if address.scheme in ("http", "https"):
        from fapm_cli.sinks.webhook import WebhookSink

        return WebhookSink(address)
    if address.scheme == "sqlite":
        from fapm_cli.sinks.database import DatabaseSink

        return DatabaseSink(address)
    from fapm_cli.sinks.opcua import OpcUaSink

    return OpcUaSink(address)
