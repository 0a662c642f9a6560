"""Wherever pictures lie, the bank is the same, byte for byte, and what went wrong is told."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import picture_servers as servers
import pytest
from conftest import GOOD, fapm

from fapm_cli.stores import retrying

NUM = 8


def learnt(where: object, bank: Path, left_out: str = "") -> Path:
    """Build a bank by a command, which notes what is left out; and that eight are few."""
    result = fapm("build", where, "-o", bank, "--metric", "plain")
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
