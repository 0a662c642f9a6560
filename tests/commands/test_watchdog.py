"""Word to systemd: said where it asks, as often as it asks, and nowhere else."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ONE_GOOD, fapm

from fapm_cli.commands.watchdog import Watchdog


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "notify"))
        one.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
            monkeypatch.delenv(name, raising=False)
        yield one


def heard(manager: socket.socket) -> list[str]:
    """What was said so far."""
    manager.setblocking(False)
    words = []
    try:
        while True:
            words.append(manager.recv(100).decode())
    except BlockingIOError:
        return words


def test_a_watching_service_says_that_it_is_ready_lives_and_ends(
    manager: socket.socket, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    inbox, lived = tmp_path / "inbox", threading.Event()
    inbox.mkdir()
    words: list[str] = []

    def bring_a_picture_once_it_lived() -> None:
        while words.count("WATCHDOG=1") < 2:  # with nothing to do
            words.append(manager.recv(100).decode())
        lived.set()
        shutil.copy(ONE_GOOD, inbox)

    threading.Thread(target=bring_a_picture_once_it_lived, daemon=True).start()
    assert fapm("score", bank, "--watch", inbox, "--limit", 1).code == 0
    assert lived.is_set()
    words += heard(manager)
    assert words[0] == "READY=1"
    assert set(words[1:]) <= {"WATCHDOG=1", "STOPPING=1"}


def test_the_end_is_told(manager: socket.socket, bank: Path) -> None:
    fapm("score", bank, ONE_GOOD)
    assert heard(manager) == ["READY=1", "STOPPING=1"]


def test_life_is_told_no_more_often_than_asked_and_for_no_other_process(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    one = Watchdog()
    for _ in range(100):
        one.alive()
    monkeypatch.setenv("WATCHDOG_USEC", "0")
    Watchdog().alive()
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    Watchdog().alive()
    assert heard(manager) == ["WATCHDOG=1"]


@pytest.mark.parametrize("address", ["", "/no/such/socket", "@no such socket"])
def test_where_nobody_asks_nothing_happens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "0")
    one = Watchdog()
    one.ready()
    one.alive()
    one.stopping()
