"""Metrics: what a service tells Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from fapm_cli.serving.history import Judgement

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 10)
_CHANCES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
VERDICTS = ("ok", "review", "anomalous", "judged", "error")
REFUSALS = ("busy", "bank", "large", "slow", "format", "address", "token", "other")


class Metrics:
    """Counters of one service, by the names of its banks."""

    def __init__(self, banks: Iterable[str]):
        """Begin at nought, with every series that there will be."""
        self.registry = CollectorRegistry()
        own = self.registry
        self._pictures = Counter(
            "fapm_pictures", "Pictures judged, by verdict", ["bank", "verdict"], registry=own
        )
        self._seconds = Histogram(
            "fapm_judging_seconds",
            "From a picture's last byte to its record",
            ["bank"],
            buckets=_SECONDS,
            registry=own,
        )
        self._p_values = Histogram(
            "fapm_p_value", "P-values of pictures", ["bank"], buckets=_CHANCES, registry=own
        )
        self._evidence = Gauge(
            "fapm_drift_evidence", "Evidence of drift; an alarm from 1 on", ["bank"], registry=own
        )
        self._alarm = Gauge("fapm_drift_alarm", "Whether drift was noticed", ["bank"], registry=own)
        self._loads = Counter("fapm_bank_loads", "New bank files", ["bank", "result"], registry=own)
        self._fault = Gauge(
            "fapm_bank_fault",
            "Whether the bank's file is not what is loaded",
            ["bank"],
            registry=own,
        )
        self._refused = Counter(
            "fapm_refused", "Requests refused, by reason", ["reason"], registry=own
        )
        self._source_fault = Gauge(
            "fapm_source_fault", "Whether a source gives nothing now", ["source"], registry=own
        )
        self.inside = Gauge("fapm_pictures_inside", "Pictures judged now, or waiting", registry=own)
        self.not_kept = Counter(
            "fapm_not_kept", "Pictures of which no copy could be kept", registry=own
        )
        for bank in banks:
            for verdict in VERDICTS:
                self._pictures.labels(bank, verdict)
            for result in ("good", "broken"):
                self._loads.labels(bank, result)
            self._fault.labels(bank)
        for reason in REFUSALS:
            self._refused.labels(reason)

    def __call__(self, one: Judgement) -> None:
        """Count a picture."""
        record = one.record
        verdict = "error" if "error" in record else record.get("verdict", "judged")
        self._pictures.labels(one.bank, verdict).inc()
        self._seconds.labels(one.bank).observe(one.seconds)
        if "p_value" in record:
            self._p_values.labels(one.bank).observe(record["p_value"])
        if "drift" in record:
            self._evidence.labels(one.bank).set(record["drift"]["evidence"])
            self._alarm.labels(one.bank).set(record["drift"]["alarm"])

    def refuse(self, reason: str) -> None:
        """Count a request that was refused, by one of :data:`REFUSALS`."""
        self._refused.labels(reason).inc()

    def load(self, bank: str, good: bool) -> None:
        """Count a new file of a bank."""
        self._loads.labels(bank, "good" if good else "broken").inc()
        self._fault.labels(bank).set(not good)

    def source(self, name: str, good: bool) -> None:
        """Note how a source does."""
        self._source_fault.labels(name).set(not good)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
