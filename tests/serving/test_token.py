"""Who may ask: this machine alone, or whoever shows the token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ONE_GOOD, assert_fails, fapm
from servers import JPEG, Server, serving

from fapm_cli.serving.settings import read_token

TOKEN = "a secret of some length"


@pytest.fixture(scope="module")
def server(bank: Path) -> Iterator[Server]:
    with serving({"bank": bank}, host="0.0.0.0", token=TOKEN) as running:
        yield running


ADDRESSES = ["/banks", "/pictures", "/metrics", "/openapi.json", "/events", "/nothing"]


@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", "Bearer ü"],
)
def test_without_the_token_nothing_is_told(server: Server, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given.encode("latin-1").decode("latin-1")}
    for address in ADDRESSES:
        answer = server.ask(address, headers=headers)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), address
    assert server.ask("/banks/bank/score", ONE_GOOD.read_bytes(), JPEG | headers).status == 401
    assert server.told == []
    assert server.ask("/healthz", headers=headers).json == {"status": "ok"}


def test_with_the_token_all_is_told_by_any_name_of_the_machine(server: Server) -> None:
    shown = {"Authorization": f"Bearer {TOKEN}", "Host": "line-pc.example:8000"}
    assert server.ask("/banks/bank/score", ONE_GOOD.read_bytes(), JPEG | shown).status == 200
    assert server.ask("/healthz", headers=shown).json["banks"].keys() == {"bank"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "line-pc.example"])
def test_beyond_this_machine_a_token_is_needed(
    host: str, bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAPM_TOKEN", raising=False)
    assert_fails(fapm("serve", bank, "--host", host, "--port", 0), host, "--token-file")


@pytest.mark.parametrize("text", ["short", "x" * 15 + "\n", "ü" * 20, "a\nb" * 10])
def test_a_token_that_is_no_secret_is_refused(text: str, bank: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(text, "utf-8")
    assert_fails(fapm("serve", bank, "--token-file", file), str(file), "16")


def test_a_token_is_a_secret_as_all_others_are(
    bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none, short = tmp_path / "none", tmp_path / "short"
    short.write_text("short")
    assert_fails(fapm("serve", bank, "--token-file", none), str(none), "can't be read")
    monkeypatch.setenv("FAPM_TOKEN_FILE", str(short))
    monkeypatch.setenv("FAPM_TOKEN", TOKEN)
    assert_fails(fapm("serve", bank), str(short), "16")
    short.write_text(f"{TOKEN}\n")
    assert read_token() == TOKEN
    monkeypatch.delenv("FAPM_TOKEN_FILE")
    assert read_token() == TOKEN
    monkeypatch.delenv("FAPM_TOKEN")
    assert read_token() is None
    monkeypatch.setenv("FAPM_TOKEN", "")  # most likely what should have filled it failed
    assert_fails(fapm("serve", bank), "FAPM_TOKEN has 0 characters", "16")
