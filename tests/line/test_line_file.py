"""`fapm.toml`: what it says is what options say, and each wrong entry is told."""

from __future__ import annotations

import inspect
import json
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fapm_cli.commands.serve import serve
from fapm_cli.errors import OptionError
from fapm_cli.line.file import load_line, read_line
from fapm_cli.line.keys import LOG, SECTIONS, SERVICE, SINKS, SOURCES, Number
from fapm_cli.line.line import Line, LineSource

WHOLE = """
log = "json"

[banks]
part = "part.st"
cap = "/banks/cap.st"

[[sources]]
watch = "inbox"
bank = "part"
only-new = true

[[sources]]
camera = 0
bank = "cap"

[[sources]]
video = "clip.mp4"
every = 5
bank = "cap"

[sinks]
to = ["mqtt://bus/line1", "sqlite:///results.db", "sqlite:////var/results.db", "@url"]
queue = "queue"
queue-size = 9

[service]
host = "0.0.0.0"
port = 0
token-file = "token"
root = "."
keep = "kept"
keep-last = 7
drift = true
max-waiting = 0
max-mb = 3
max-megapixels = 4
body-timeout = 0.5
threads = 2
"""


def written(folder: Path, text: str) -> Path:
    (folder / "fapm.toml").write_text(text, "utf-8")
    return folder / "fapm.toml"


def test_paths_are_looked_for_from_the_files_own_folder(tmp_path: Path) -> None:
    here = tmp_path
    assert load_line(written(tmp_path, WHOLE)) == Line(
        banks={"part": here / "part.st", "cap": Path("/banks/cap.st")},
        sources=(
            LineSource("part", watch=here / "inbox", only_new=True),
            LineSource("cap", camera=0),
            LineSource("cap", video=here / "clip.mp4", every=5),
        ),
        to=(
            "mqtt://bus/line1",
            f"sqlite:///{here / 'results.db'}",
            "sqlite:////var/results.db",
            f"@{here / 'url'}",
        ),
        queue=here / "queue",
        queue_size=9,
        host="0.0.0.0",
        port=0,
        token_file=here / "token",
        root=here,
        keep=here / "kept",
        keep_last=7,
        drift=True,
        max_waiting=0,
        max_mb=3,
        max_megapixels=4,
        body_timeout=0.5,
        threads=2,
        log="json",
    )


def test_a_genicam_camera_is_named_by_its_producers_file(tmp_path: Path) -> None:
    text = "[banks]\na = 'a'\n[[sources]]\nbank = 'a'\ncamera = 'genicam:x.cti#12'\n"
    (source,) = load_line(written(tmp_path, text)).sources
    assert source.name == source.camera == f"genicam:{tmp_path}/x.cti#12"


def test_keys_of_the_file_are_the_options_of_serve_with_their_bounds_and_defaults() -> None:
    options = inspect.signature(serve, eval_str=True).parameters
    keys = {"log": LOG, "to": None, **SINKS, **SERVICE}
    names = {name.replace("-", "_"): kind for name, kind in keys.items()}
    assert {*names} == {*options} - {"context", "banks"}
    assert {*names} == {one.name for one in fields(Line)} - {"banks", "sources"}
    for name, kind in names.items():
        (option,) = options[name].annotation.__metadata__
        assert getattr(Line(), name) == (options[name].default if name != "to" else ())
        if isinstance(kind, Number):
            assert (option.min, option.max) == (kind.least, kind.most), name


WRONG = [
    ("", "banks", "there is none"),
    ("banks = 3", "banks", "section [banks]"),
    ("[banks]\n'a b' = 'x.st'", "banks.a b", "can't stand in an address"),
    ("[banks]\npart = 3", "banks.part", "3: wanted a text"),
    ("[bank]\npart = 'part.st'", "bank", "did you mean banks?"),
    ("log = 'yaml'", "log", "'yaml': use 'text' or 'json'"),
    ("[service]\nprot = 1", "service.prot", "did you mean port?"),
    ("[service]\nmax_waiting = 1", "service.max_waiting", "did you mean max-waiting?"),
    ("[service]\nxyz = 1", "service.xyz", "there are host, port"),
    ("[service]\nport = 70000", "service.port", "70000: wanted a whole number from 0 to 65535"),
    ("[service]\nport = 8000.5", "service.port", "8000.5: wanted a whole number"),
    ("[service]\nport = true", "service.port", "True: wanted a whole number"),
    ("[service]\nbody-timeout = nan", "service.body-timeout", "wanted a number from 0.1"),
    ("[service]\ndrift = 1", "service.drift", "1: wanted true or false"),
    ("[service]\nroot = ''", "service.root", "''"),
    ("[sinks]\nqueue = 'q'", "sinks.queue", "there are no sinks: add to"),
    ("[sinks]\nto = []\nqueue-size = 3", "sinks.queue-size", "there are no sinks"),
    ("[sinks]\nto = 'mqtt://me:hush@h'", "sinks.to", "a list"),
    ("[sinks]\nto = [{a = 'hush'}]", "sinks.to.1", "wanted an address"),
    ("[sources]\nwatch = 'a'", "sources", "[[sources]]"),
    ("[[sources]]\nbank = 'part'", "sources.1", "nothing to judge"),
    ("[[sources]]\nbank = 'part'\nwatch = 'a'\ncamera = 1", "sources.1", "watch and camera"),
    ("[[sources]]\nwatch = 'a'", "sources.1", "no bank"),
    ("[[sources]]\nwatch = 'a'\nbank = 'prat'", "sources.1", "'prat': no such bank: did you mean"),
    ("[[sources]]\ncamera = 0\nbank = 'part'\nevery = 2", "sources.1", "every is for a video"),
    ("[[sources]]\nwacht = 'a'\nbank = 'part'", "sources.1.wacht", "did you mean watch?"),
    ("[[sources]]\ncamera = -1\nbank = 'part'", "sources.1.camera", "-1"),
    ("[[sources]]\ncamera = 'x'\nbank = 'part'", "sources.1.camera", "'x': wanted a number"),
    ("[[sources]]\ncamera = 'genicam:#1'\nbank = 'part'", "sources.1.camera", "PRODUCER"),
    (
        "[[sources]]\nwatch = 'a'\nbank = 'part'\n[[sources]]\nwatch = 'a/b/..'\nbank = 'part'",
        "sources.2",
        "pictures in common",
    ),
    (
        "[[sources]]\nwatch = 'a/b'\nbank = 'part'\n[[sources]]\nwatch = 'a'\nbank = 'part'",
        "sources.2",
        "pictures in common",
    ),
    (
        "[[sources]]\ncamera = 1\nbank = 'part'\n[[sources]]\ncamera = 1\nbank = 'part'",
        "sources.2",
        "that of sources.1",
    ),
]


@pytest.mark.parametrize(("text", "entry", "said"), WRONG)
def test_a_wrong_entry_is_told_and_nothing_else(
    text: str, entry: str, said: str, tmp_path: Path
) -> None:
    there = "" if entry.startswith("banks") else "\n[banks]\npart = 'part.st'\n"
    (only,) = read_line(written(tmp_path, text + there)).findings.faults
    assert only.entry == entry
    assert said in only.said
    assert "hush" not in only.said
    with pytest.raises(OptionError, match=r"fapm\.toml, "):
        load_line(written(tmp_path, text + there))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "can't be read"),
        (b"a = [", "no TOML"),
        (b"\xff", "no TOML"),
        (b" " * 10**6 + b"  ", "over"),
    ],
)
def test_a_file_that_is_none_is_told(data: bytes | None, said: str, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / "fapm.toml").write_bytes(data)
    with pytest.raises(OptionError, match=said):
        read_line(tmp_path / "fapm.toml")


VALUES = st.one_of(
    st.booleans(),
    st.integers(-9, 99_999),
    st.floats(allow_nan=False, allow_infinity=False, width=16),
    st.text(st.characters(codec="ascii", exclude_characters="\x7f"), max_size=9),
    st.just("part"),
    st.lists(st.integers(0, 1), max_size=2),
)
KEYS = st.sampled_from([*SOURCES, *SINKS, *SERVICE, *SECTIONS, "to", "x"])
TABLES = st.dictionaries(KEYS, VALUES, max_size=5)


@given(TABLES, st.lists(TABLES, max_size=3), st.sampled_from(["", "[banks]\npart='a'\n"]))
def test_whatever_it_holds_a_line_comes_of_what_is_good(
    service: dict[str, Any], sources: list[dict[str, Any]], banks: str
) -> None:
    def lines(table: dict[str, Any]) -> str:
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())

    text = banks + "[service]\n" + lines(service)
    text += "".join("[[sources]]\n" + lines(one) for one in sources)
    with tempfile.TemporaryDirectory() as folder:
        read = read_line(written(Path(folder), text))
    for name, kind in SERVICE.items():
        value = getattr(read.line, name.replace("-", "_"))
        told = read.findings.get(f"service.{name}")
        assert (value == getattr(Line(), name.replace("-", "_"))) or (told is not None and told.ok)
        if isinstance(kind, Number) and value is not None:
            assert kind.least <= value <= (kind.most or value)
    assert all(source.bank in read.line.banks for source in read.line.sources)
    faults = [one.entry.split(".") for one in read.findings.faults]
    wrong = {entry[1] for entry in faults if entry[0] == "sources"}
    assert len(read.line.sources) + len(wrong) == len(sources)
