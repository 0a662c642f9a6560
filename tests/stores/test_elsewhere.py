"""Wherever pictures lie, the bank is the same, byte for byte, and what went wrong is told."""

from __future__ import annotations

import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import picture_servers as servers
import pytest
from conftest import GOOD, assert_fails, fapm
from test_layering import imported_by

from fapm_cli.stores import retrying, store
from fapm_cli.stores import web as web_module

NUM = 4
SMALL = ("--metric", "plain", "--size", "64", "--keep-suspects")


def learnt(where: object, bank: Path, left_out: str = "") -> Path:
    """Build a bank by a command, which notes what is left out; and that four are few."""
    result = fapm("build", where, "-o", bank, *SMALL)
    assert result.code == 0, result
    notes = [line for line in result.err.splitlines() if "good pictures can't promise" not in line]
    assert [note.rpartition(": ")[2] for note in notes] == [left_out] * bool(left_out), result
    return bank


@pytest.fixture(autouse=True)
def _soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(retrying, "WAITS_S", (0.001, 0.001, 0.001))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good pictures, one below, and what is no picture."""
    root = tmp_path_factory.mktemp("elsewhere") / "parts"
    (root / "a b").mkdir(parents=True)
    for number, picture in enumerate(GOOD[:NUM]):
        shutil.copy(picture, root / ("a b" if number == NUM - 1 else "") / picture.name)
    (root / "notes.txt").write_text("no picture")
    (root / ".hidden.jpg").write_text("no picture")
    return root


@pytest.fixture(scope="session")
def local_bank(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bank of the folder itself."""
    return learnt(folder, tmp_path_factory.mktemp("local") / "bank.st", "1 .txt")


@pytest.fixture(scope="session")
def web_session() -> Iterator[servers.Web]:
    """A server of the web."""
    pytest.importorskip("aiohttp", reason="the extra fapm[remote] is not installed")
    with servers.web_server() as web:
        yield web


@pytest.fixture
def web(web_session: servers.Web, folder: Path) -> servers.Web:
    """That server, with the pictures at ``parts/`` and a list of them, without faults."""
    web_session.files.clear()
    web_session.faults.clear()
    web_session.asked.clear()
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("[!.]*.jpg"))
    for name in names:
        web_session.files[f"parts/{name.replace(' ', '%20')}"] = (folder / name).read_bytes()
    web_session.files["parts/list.txt"] = "\n".join(names).encode()
    return web_session


@pytest.fixture(scope="session")
def s3(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a bucket's folder that holds the pictures."""
    pytest.importorskip("s3fs", reason="the extra fapm[remote] is not installed")
    server_of = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    import boto3

    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "akeyid")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "asecretkey")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket="line")
        for path in folder.rglob("*.*"):
            name = f"day/parts/{path.relative_to(folder).as_posix()}"
            client.put_object(Bucket="line", Key=name, Body=path.read_bytes())
        client.put_object(Bucket="line", Key="day/parts/empty/", Body=b"")
        yield "s3://line/day/parts"
    server.stop()


@pytest.fixture(scope="session")
def sftp(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server's folder that holds the pictures, with its password."""
    pytest.importorskip("sshfs", reason="the extra fapm[remote] is not installed")
    from fsspec.config import conf

    keys = tmp_path_factory.mktemp("keys") / "known_hosts"
    with servers.sftp_server(folder.parent, keys) as port:
        conf["sftp"] = {"known_hosts": str(keys)}
        yield f"sftp://line:p4ssw0rd@127.0.0.1:{port}/parts"
        del conf["sftp"]


# --- The same bank ---


@pytest.fixture
def tar(folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "parts.tar"
    with tarfile.open(path, "w") as archive:
        for file in sorted(folder.rglob("*.*"), reverse=True):
            archive.add(file, file.relative_to(folder))
    return path


def test_s3(s3: str, local_bank: Path, tmp_path: Path) -> None:
    bank = learnt(s3, tmp_path / "bank.st", "1 .txt")
    assert bank.read_bytes() == local_bank.read_bytes()


def test_sftp(sftp: str, local_bank: Path, tmp_path: Path) -> None:
    bank = learnt(sftp, tmp_path / "bank.st", "1 .txt")
    assert bank.read_bytes() == local_bank.read_bytes()


def test_a_list_on_the_web(web: servers.Web, local_bank: Path, tmp_path: Path) -> None:
    bank = learnt(f"{web.root}/parts/list.txt", tmp_path / "bank.st")
    assert bank.read_bytes() == local_bank.read_bytes()
    assert set(web.asked.values()) == {1}, "each is fetched once, however often it is read"


def test_tar(tar: Path, local_bank: Path, tmp_path: Path) -> None:
    bank = learnt(tar, tmp_path / "bank.st", "1 .txt")
    assert bank.read_bytes() == local_bank.read_bytes()


def test_tar_on_the_web(tar: Path, web: servers.Web, local_bank: Path, tmp_path: Path) -> None:
    web.files["parts.tar"] = tar.read_bytes()
    bank = learnt(f"{web.root}/parts.tar", tmp_path / "bank.st", "1 .txt")
    assert bank.read_bytes() == local_bank.read_bytes()


# --- What goes wrong on the way ---


def scored(bank: Path, *where: object) -> list[dict[str, str]]:
    """Records of a command, errors among them, which it exits with 2 for."""
    result = fapm("score", bank, *where, "--json")
    records: list[dict[str, str]] = result.json
    assert result.code == (2 if any("error" in one for one in records) else result.code & 1)
    return records


def error_of(bank: Path, address: str) -> str:
    (record,) = scored(bank, address)
    assert record.keys() == {"path", "error"}, record
    return record["error"]


def test_what_fails_at_first_is_read_in_the_end(web: servers.Web, local_bank: Path) -> None:
    (name, *_) = web.files
    web.faults[name] = [servers.status(503), servers.drop, servers.status(429)]
    (record,) = scored(local_bank, f"{web.root}/{name}")
    assert "score" in record
    assert record["path"] == f"{web.root}/{name}"
    assert web.asked[name] == 4


@pytest.mark.parametrize(
    ("fault", "told", "tries"),
    [
        (servers.drop, "can't be read, after 4 tries", 4),
        (servers.untold, "the server does not say how long it is", 4),
        (servers.status(500), "after 4 tries: the server says 500", 4),
        (servers.status(404), "does not exist", 1),
        (servers.status(403), "is refused (the server says 403 Forbidden)", 1),
        (servers.status(400), "the server says 400", 1),
        (servers.garbled, "after 4 tries", 4),
        (servers.cut, "is damaged", 1),
        (servers.huge, "has 1,125,899,906,842,624 bytes; at most", 1),
        (servers.led_to("file:///etc/passwd"), "file", None),
    ],
)
def test_a_partial_read_is_an_error_and_never_a_picture(
    fault: servers.Answer, told: str, tries: int | None, web: servers.Web, local_bank: Path
) -> None:
    (name, *_) = web.files
    web.faults[name] = [fault] * 4
    assert told in error_of(local_bank, f"{web.root}/{name}")
    assert tries is None or web.asked[name] == tries


def test_a_server_that_sends_on_and_on_is_left(
    web: servers.Web, local_bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_module, "_MOST_UNTOLD", 2**20)
    web.faults["x.jpg"] = [servers.endless]
    error = error_of(local_bank, f"{web.root}/x.jpg")
    assert "does not end after 1,048,576 bytes" in error


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("file:///etc/passwd", "line 2: file: is not followed from a list at http://"),
        ("s3://line/day/parts/000.jpg", "line 2: s3:// is not followed"),
        ("https://127.0.0.1/a.jpg", "line 2: https:// is not followed"),
        ("<html>", None),
    ],
)
def test_a_list_names_files_of_its_own_scheme_alone(
    line: str, told: str | None, web: servers.Web, local_bank: Path
) -> None:
    web.files["bad.txt"] = f"parts/000.jpg\n{line}\n".encode()
    if told is None:
        web.files["bad.txt"] = line.encode()
        told = "is a page"
    assert told in error_of(local_bank, f"{web.root}/bad.txt")
    assert not web.asked["parts/000.jpg"]


def test_a_list_may_name_files_beside_it_and_none_twice_or_below_nothing(
    web: servers.Web, local_bank: Path
) -> None:
    web.files["other/list.txt"] = (
        b"\xef\xbb\xbf# beside\n../parts/000.jpg\r\n/parts/001.jpg\n\n"
        b"%2e%2e/%2e%2e/x.jpg\n../parts/000.jpg?b=1\n"
    )
    records = scored(local_bank, f"{web.root}/other/list.txt")
    host = web.root.removeprefix("http://")
    (bad,) = (one for one in records if "error" in one)
    assert {one["path"] for one in records if one is not bad} == {
        f"{web.root}/other/{host}/parts/{number}.jpg" for number in ("000", "001")
    }
    assert "leads elsewhere" in bad["error"]


def test_a_list_of_a_million_lines_has_its_bound(
    web: servers.Web, local_bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_FILES", 10)
    web.files["long.txt"] = b"".join(b"%d.jpg\n" % number for number in range(11))
    assert "more than 10 files" in error_of(local_bank, f"{web.root}/long.txt")


def test_a_login_and_a_signature_are_used_and_never_shown(
    web: servers.Web, local_bank: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address = f"{web.root.replace('://', '://user:s3cr3tQ@')}/parts/000.jpg?sig=s1gn3dQ"
    (record,) = scored(local_bank, address)
    assert web.last["query"] == "sig=s1gn3dQ"
    assert web.last["headers"]["Authorization"].startswith("Basic ")
    shown = [str(record), fapm("score", local_bank, address).out]
    drawn = fapm("heatmap", local_bank, address, "-o", tmp_path, "--html", tmp_path / "r.html")
    assert drawn.code == 0, drawn
    shown += [drawn.out, drawn.err, (tmp_path / "r.html").read_text()]
    web.faults["parts/000.jpg"] = [servers.drop] * 8
    shown += [error_of(local_bank, address), fapm("build", address, "-o", tmp_path / "b.st").err]
    shown += [fapm("info", address).err, fapm("score", address, address).err]
    built = fapm("build", address, "-o", tmp_path / "b.st", *SMALL)
    assert built.code == 0, built
    shown += [built.err, built.out, (tmp_path / "b.st").read_bytes().decode("latin-1")]
    shown += [*capfd.readouterr()]
    assert not any(secret in one for secret in ("s3cr3tQ", "s1gn3dQ") for one in shown)


def test_what_a_server_refuses_is_one_line(
    sftp: str, s3: str, local_bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = sftp.replace("p4ssw0rd", "wr0ngQ")
    assert "is refused" in (error := error_of(local_bank, f"{wrong}/000.jpg"))
    assert "wr0ngQ" not in error
    assert "does not exist" in error_of(local_bank, f"{s3}/no.jpg")
    assert "does not exist" in error_of(local_bank, f"{sftp}/no.jpg")
    from fsspec.config import conf

    monkeypatch.setitem(conf, "sftp", {})
    monkeypatch.setenv("HOME", "/nonexistent")
    unknown = sftp.replace("127.0.0.1", "localhost")
    assert "ost key" in error_of(local_bank, f"{unknown}/000.jpg")


def test_without_fsspec_one_line_says_what_to_install(
    local_bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    for address in ("s3://a/b.jpg", "https://a/b.jpg", "sftp://a/b", "gs://a", "az://a/x.tar"):
        for command in (("score", local_bank, address), ("build", address, "-o", "x.st")):
            assert_fails(fapm(*command), "pip install 'fapm[remote]'")


def test_pictures_here_take_no_fsspec(local_bank: Path) -> None:
    code, _, modules = imported_by("score", local_bank, GOOD[0], "--exit-zero")
    assert code == 0
    assert not {"fsspec", "aiohttp", "fapm_cli.stores.archive"} & modules
