"""Secrets: one rule for all, and files that only their owner reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from fapm_cli.errors import OptionError
from fapm_cli.secret import check_kept, secret


def test_a_file_goes_before_the_environment_and_a_named_one_before_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAPM_X", raising=False)
    assert secret("FAPM_X") == ""
    monkeypatch.setenv("FAPM_X", " one\n")
    assert secret("FAPM_X") == "one"
    named, other = tmp_path / "key", tmp_path / "other"
    named.write_text("two\n")
    other.write_text("three")
    monkeypatch.setenv("FAPM_X_FILE", str(named))
    assert secret("FAPM_X") == "two"
    assert secret("FAPM_X", other) == "three"


@pytest.mark.parametrize(
    ("content", "said"), [(None, "can't be read"), (b"\xff", "it is no text"), (b" \n", "is empty")]
)
def test_a_file_that_holds_no_secret_is_an_error(
    content: bytes | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("FAPM_X_FILE", str(file))
    monkeypatch.setenv("FAPM_X", "and not this")
    with pytest.raises(OptionError, match=said):
        secret("FAPM_X")


@pytest.mark.parametrize(("mode", "kept"), [(0o600, True), (0o640, True), (0o644, False)])
def test_others_may_not_read_a_secret(mode: int, kept: bool, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("hush")
    file.chmod(mode)
    if kept:
        check_kept(file)
    else:
        with pytest.raises(OptionError, match=r"mode 0644.*chmod o-r"):
            check_kept(file)
