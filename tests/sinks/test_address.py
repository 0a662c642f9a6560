"""URLs of sinks: what they mean, and that nothing secret in them is shown."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fapm_cli.errors import OptionError
from fapm_cli.sinks.address import PORTS, read_address


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("mqtt://bus", "mqtt://bus:1883"),
        ("MQTTS://u:hush@Bus:9/plant/3/", "mqtts://bus:9/plant/3"),
        ("https://mes.local", "https://mes.local:443/"),
        ("http://u:hush@[::1]:81/a/", "http://[::1]:81/a/"),
        ("opc.tcp://u@plc#ns=2;s=Line%201", "opc.tcp://plc:4840#ns=2;s=Line 1"),
        ("sqlite:////var/a b?.db", "sqlite:////var/a b?.db"),
        ("sqlite:///results.db", f"sqlite:///{os.getcwd()}/results.db"),
    ],
)
def test_a_url_is_shown_without_user_and_password(url: str, name: str) -> None:
    assert read_address(url).name == name


def test_two_queries_are_two_sinks_and_neither_is_shown() -> None:
    one, other = (read_address(f"https://h/x?token={token}") for token in ("hush", "secret"))
    assert one.name != other.name
    assert "hush" not in f"{one.name}{one!r}"
    assert "secret" not in f"{other.name}{other!r}"
    assert one.hide("bad token=hush at /x") == "bad ... at /x"


@pytest.mark.parametrize(
    "url",
    [
        *("", "bus", "ftp://u:hush@h", "mqtt:h", "mqtt://", "mqtt://u:hush@", "mqtt://h:hush"),
        *("mqtt://h:0", "mqtt://h:70000", "mqtt://u:hush/@h", "mqtt://[::1", "mqtt://h/a?hush"),
        *("mqtt://h/a b", "http://h/a\nb", "mqtt://ü", "sqlite://results.db", "sqlite:///"),
        *("u:hush@h://x", "@missing-file"),
    ],
)
def test_what_is_no_url_is_told_without_what_it_holds(url: str) -> None:
    with pytest.raises(OptionError) as error:
        read_address(url)
    assert "hush" not in str(error.value)
    assert error.value.__cause__ is None or url.startswith("@")


@settings(max_examples=25)
@given(
    st.sampled_from(sorted(PORTS)),
    st.text(st.sampled_from("aZ0@:/?#%&+= ü漢[]"), min_size=6),
)
def test_any_password_is_read_and_never_shown(scheme: str, password: str) -> None:
    address = read_address(f"{scheme}://me:{quote(password, safe='')}@host#ns=1;s=x")
    assert address.password == password
    assert address.name in (f"{scheme}://host:{PORTS[scheme]}{tail}" for tail in NAMES)
    assert address.hide(f"login as me:{password} failed") == "login as me:... failed"


NAMES = ("#ns=1;s=x", "/#ns=1;s=x")


def test_a_file_may_hold_the_url(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("mqtt://u:hush@bus\n")
    assert read_address(f"@{tmp_path / 'url'}").password == "hush"
