"""Tar files: hostile, damaged or cut ones give no picture that is none, and no file elsewhere."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from conftest import ONE_GOOD
from hypothesis import given, settings
from hypothesis import strategies as st

from fapm_cli.errors import PictureError
from fapm_cli.finding.folders import Unreadable, search
from fapm_cli.stores import store
from fapm_cli.stores.locating import located
from fapm_cli.stores.stored import StoredPath

PICTURE = ONE_GOOD.read_bytes()


def entry(name: str, data: bytes = PICTURE, **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in fields.items():
        setattr(member, key, value)
    return member, data


def written(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> StoredPath:
    with tarfile.open(path, "w") as archive:
        for member, data in entries:
            archive.addfile(member, io.BytesIO(data))
    found = located(path)
    assert isinstance(found, StoredPath)
    return found


def test_members_are_found_like_files_of_a_folder(tmp_path: Path) -> None:
    root = written(
        tmp_path / "a.tar",
        entry("b/2.jpg"),
        entry("./a/1.jpg"),
        entry("a/1.cls", b"0"),
        entry("a/.3.jpg"),
        entry("a/1_heatmap.png"),
        entry("0"),
        entry("text", b"text"),
        entry("c.jpg", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        entry("d.jpg", b"", type=tarfile.LNKTYPE, linkname="a/1.jpg"),
        entry("e.jpg", b"", type=tarfile.CHRTYPE),
        entry("d", b"", type=tarfile.DIRTYPE),
    )
    found = search(root)
    shown = [str(item) for item in found.items]
    assert shown == [f"{root}/{name}" for name in ("0", "a/1.jpg", "b/2.jpg")]
    assert [str(one) for one in found.drawn] == [f"{root}/a/1_heatmap.png"]
    assert found.left_out == {
        **{".cls": 1, "drawn by fapm": 1, "without ending": 1},
        **{"links": 2, "pipes or devices": 1},
    }
    assert (root / "a" / "1.jpg").read_bytes() == PICTURE


@pytest.mark.parametrize(
    "name", ["../x.jpg", "/etc/x.jpg", "a/../../x.jpg", "a//x.jpg", "a\\x.jpg"]
)
def test_a_name_that_leads_elsewhere_is_an_error_in_its_place(name: str, tmp_path: Path) -> None:
    found = search(written(tmp_path / "a.tar", entry(name), entry("b.jpg")))
    bad = [one for one in found.items if isinstance(one, Unreadable)]
    assert len(bad) == len(found.items) - 1 == 1
    assert "leads elsewhere" in str(bad[0].error)
    assert len(bad[0].path.parts if isinstance(bad[0].path, StoredPath) else ()) == 1


def test_two_members_of_one_name_are_an_error(tmp_path: Path) -> None:
    found = search(written(tmp_path / "a.tar", entry("a.jpg"), entry("a.jpg"), entry("a.jpg")))
    (bad,) = found.items
    assert isinstance(bad, Unreadable)
    assert "more than once" in str(bad.error)


def test_an_archive_that_breaks_off_anywhere_is_an_error(tmp_path: Path) -> None:
    written(tmp_path / "a.tar", entry("a.jpg", PICTURE[:1000]), entry("b.jpg", PICTURE[:700]))
    whole = (tmp_path / "a.tar").read_bytes()
    end = whole.rindex(PICTURE[:700]) + 1024
    for length in (0, 100, 512, 1000, 1536, 2048, 2560, end - 400, end):
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        with pytest.raises(PictureError, match=r"cut\.tar (is damaged|breaks off)"):
            search(located(tmp_path / "cut.tar"))


@settings(max_examples=60)
@given(st.integers(0, 1535), st.binary(min_size=1, max_size=20))
def test_whatever_a_header_says_a_member_is_whole_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    member = entry("n" * 120 + ".jpg", b"x" * 40, pax_headers={"comment": "c"})
    written(path, member, entry("b.jpg", b"y" * 30))
    changed = bytearray(path.read_bytes())
    changed[at : at + len(data)] = data
    path.write_bytes(changed)
    try:
        found = search(located(path))
        for item in found.items:
            assert not isinstance(item, StoredPath) or len(item.read_bytes()) <= len(changed)
    except PictureError:
        pass


def test_headers_that_claim_much_are_not_read(tmp_path: Path) -> None:
    long_name = tarfile.TarInfo("././@LongLink")
    long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 2**40
    (tmp_path / "a.tar").write_bytes(long_name.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(PictureError, match="damaged: a header of 1,099"):
        search(located(tmp_path / "a.tar"))


def test_too_many_members_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_FILES", 3)
    root = written(tmp_path / "a.tar", *[entry(f"{i}.jpg", b"") for i in range(4)])
    with pytest.raises(PictureError, match="more than 3 files"):
        search(root)


def test_a_member_that_is_too_long_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_BYTES", 1000)
    (bad,) = search(written(tmp_path / "a.tar", entry("a.jpg"))).items
    assert isinstance(bad, Unreadable)
    assert "at most 1,000" in str(bad.error)
