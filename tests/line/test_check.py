"""`fapm check` finds what is not there, not to be had or not kept; and touches nothing."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path

import pytest
from conftest import ONE_BAD, Result, fapm
from receivers import Receiver, free_port

LINE = """
[banks]
part = "part.st"

[[sources]]
watch = "inbox"
bank = "part"

[sinks]
to = ["sqlite:///results.db"]
queue = "state/queue"

[service]
port = 0
keep = "kept"
"""


@pytest.fixture
def place(bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a line that is in order."""
    for name in [name for name in os.environ if name.startswith("FAPM_")]:
        monkeypatch.delenv(name)
    shutil.copy(bank, tmp_path / "part.st")
    (tmp_path / "inbox").mkdir()
    (tmp_path / "fapm.toml").write_text(LINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(*options: object) -> tuple[int, dict[str, str]]:
    """The exit code, and what is wrong by its entry."""
    done = fapm("check", *options, "--format", "jsonl")
    found = [json.loads(line) for line in done.out.splitlines()]
    assert found, done.err
    assert {frozenset(one) for one in found} == {frozenset(("entry", "ok", "said"))}
    return done.code, {one["entry"]: one["said"] for one in found if not one["ok"]}


def test_a_line_in_order_is_told_so_entry_by_entry_and_left_alone(place: Path) -> None:
    before = sorted(place.rglob("*"))
    done = fapm("check", "--connect")
    assert done.code == 0, done.out
    lines = [line.split(None, 2) for line in done.out.splitlines()]
    assert {line[0] for line in lines} == {"ok"}
    entries = ["banks.part", "sources.1", "sinks.to.1", "sinks.queue"]
    entries += ["service.keep", "service.host", "service.port"]
    assert sorted(line[1] for line in lines) == sorted(entries)
    assert sorted(place.rglob("*")) == before
    assert check("fapm.toml") == (0, {})


def replaced(place: Path, *changes: tuple[str, str]) -> None:
    text = LINE
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (place / "fapm.toml").write_text(text)


def test_each_thing_that_is_not_there_is_told_with_its_entry(place: Path) -> None:
    replaced(
        place,
        ('"part.st"', f'"part.st"\nbad = "{ONE_BAD}"\ngone = "gone.st"'),
        ('"inbox"', '"none"'),
        ('"sqlite:///results.db"', '"sqlite:///no/results.db", "sqlite:///part.st"'),
        ('"kept"', '"part.st/kept"\nroot = "nowhere"'),
        ('"state/queue"', '"part.st/queue"'),
    )
    code, wrong = check()
    assert code == 2
    said = {
        "banks.bad": "picture",
        "banks.gone": "does not exist",
        "sources.1": "folder none is not there",
        "sinks.to.1": "make it",
        "sinks.to.2": "not a database",
        "sinks.queue": "part.st",
        "service.keep": "part.st",
        "service.root": "nowhere is not there",
    }
    assert {entry for entry in wrong} == {*said}
    for entry, words in said.items():
        assert words in wrong[entry], wrong[entry]


def test_a_port_that_is_taken_is_told(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        replaced(place, ("port = 0", f"port = {port}"))
        code, wrong = check()
    assert (code, [*wrong]) == (2, ["service.port"])
    assert f"port {port}" in wrong["service.port"]


def test_beyond_this_machine_a_token_is_needed_that_only_its_owner_reads(place: Path) -> None:
    replaced(place, ("port = 0", 'port = 0\nhost = "0.0.0.0"'))
    assert "--token-file" in check()[1]["service.host"]
    replaced(place, ("port = 0", 'port = 0\nhost = "0.0.0.0"\ntoken-file = "token"'))
    token = place / "token"
    token.write_text("x" * 20)
    token.chmod(0o644)
    assert [*check()[1].items()] == [
        (
            "service.token-file",
            "secret file token can be read by every user of this machine (mode 0644): "
            "chmod o-r token",
        )
    ]
    token.chmod(0o600)
    assert check() == (0, {})
    token.write_text("short")
    code, wrong = check()
    assert (code, [*wrong]) == (2, ["service.token-file"])


def test_secrets_of_sinks_are_looked_at_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(place, ('"sqlite:///results.db"', '"https://127.0.0.1/x", "@url"'))
    (place / "url").write_text("sqlite:///r.db")
    (place / "url").chmod(0o604)
    _, wrong = check()
    assert "FAPM_WEBHOOK_SECRET" in wrong["sinks.to.1"]
    assert "chmod o-r" in wrong["sinks.to.2"]
    (place / "url").chmod(0o600)
    (place / "key").write_text("hush")
    (place / "key").chmod(0o644)
    monkeypatch.setenv("FAPM_WEBHOOK_SECRET_FILE", "key")
    _, wrong = check()
    assert [*wrong] == ["sinks.to.1"]
    assert "chmod o-r key" in wrong["sinks.to.1"]


def test_a_sink_is_asked_only_where_that_is_wished(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAPM_WEBHOOK_SECRET", "hush")
    receiver, nobody = Receiver(), free_port()
    there, gone = receiver.url, f"http://me:pass@127.0.0.1:{nobody}/x"
    replaced(place, ('"sqlite:///results.db"', f'"{there}", "{gone}", "{there}"'))
    assert [*check()[1]] == ["sinks.to.3"]  # named twice
    code, wrong = check("--connect")
    receiver.close()
    assert (code, [*wrong]) == (2, ["sinks.to.2", "sinks.to.3"])
    assert "refused" in wrong["sinks.to.2"]
    assert "pass" not in wrong["sinks.to.2"]
    assert receiver.posts == []


def test_a_file_that_is_none_ends_it(place: Path) -> None:
    def fails(done: Result, *words: str) -> None:
        assert done.code == 2
        assert all(word in done.err for word in words), done.err

    fails(fapm("check", "none.toml"), "none.toml", "can't be read")
    fails(fapm("serve", "none.toml"), "none.toml", "can't be read")
    fails(fapm("serve", "fapm.toml", "part.st"), "name either banks, or one fapm.toml")
    replaced(place, ("keep =", "kepp ="))
    fails(fapm("serve", "fapm.toml"), "service.kepp", "did you mean keep?")
