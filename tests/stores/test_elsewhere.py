"""Wherever pictures lie, the bank is the same, byte for byte, and what went wrong is told."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import picture_servers as servers
import pytest
from conftest import GOOD, ONE_BAD, SAMPLES, assert_fails, fapm
from PIL import Image
from test_layering import imported_by

import fapm_cli
from fapm_cli.bank.presets import default_config
from fapm_cli.errors import PictureError
from fapm_cli.evaluation.datasets import read_truth
from fapm_cli.finding.folders import below
from fapm_cli.stores import retrying, store
from fapm_cli.stores import web as web_module
from fapm_cli.stores.ahead import ahead
from fapm_cli.stores.locating import located
from fapm_cli.stores.stored import StoredPath

NUM = 4
SMALL = ("--metric", "plain", "--size", "64", "--keep-suspects")


sftp_faults: list[Callable[[], object]] = []


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
    with servers.sftp_server(folder.parent, keys) as (port, break_off):
        sftp_faults.append(break_off)
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


def test_parts_are_told_by_folders_elsewhere_too(tar: Path, folder: Path, tmp_path: Path) -> None:
    banks = []
    for where in (folder, tar):
        banks.append(tmp_path / f"{where.name}.st")
        result = fapm("build", where, "-o", banks[-1], *SMALL, "--group", "folder", "--json")
        assert result.json["groups"] == 2
    assert banks[0].read_bytes() == banks[1].read_bytes()


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


def test_a_login_that_broke_is_done_again(sftp: str) -> None:
    path = located(f"{sftp}/000.jpg")
    assert path.read_bytes() == GOOD[0].read_bytes()
    sftp_faults[0]()
    assert path.read_bytes() == GOOD[0].read_bytes()


def test_what_is_compressed_or_a_video_is_told(s3: str, local_bank: Path) -> None:
    assert "is compressed" in error_of(local_bank, f"{s3}/a.tar.gz")
    assert "copy it first" in error_of(local_bank, f"{s3}/a.mp4")


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
            result = fapm(*command)
            assert_fails(result, "pip install 'fapm[remote]'")
            apart = {"gs": "gcsfs", "az": "adlfs"}.get(address[:2], "'")
            assert result.err.endswith(f"{apart}\n")


def test_pictures_here_take_no_fsspec(local_bank: Path) -> None:
    code, _, modules = imported_by("score", local_bank, GOOD[0], "--exit-zero")
    assert code == 0
    assert not {"fsspec", "aiohttp", "fapm_cli.stores.archive"} & modules


# --- What holds of a folder holds elsewhere ---


@pytest.fixture
def bucket(s3: str) -> Iterator[Callable[[str, bytes], str]]:
    """Put a file into the bucket, below a folder that goes with the test; gives its address."""
    import boto3

    client = boto3.client("s3")

    def put(name: str, data: bytes) -> str:
        client.put_object(Bucket="line", Key=f"own/{name}", Body=data)
        return f"s3://line/own/{name}"

    yield put
    for one in client.list_objects_v2(Bucket="line", Prefix="own/").get("Contents", ()):
        client.delete_object(Bucket="line", Key=one["Key"])


def test_labelled_sets_masks_and_drawings_are_refused(
    bucket: Callable[[str, bytes], str], local_bank: Path, tmp_path: Path
) -> None:
    good = [path.read_bytes() for path in GOOD[:2]]
    bucket("set/good/0.jpg", good[0])
    bucket("set/bad/1.jpg", good[1])
    into = ("-o", tmp_path / "b.st")
    assert_fails(fapm("build", "s3://line/own/set", *into), "give s3://line/own/set/good")
    bucket("masks/1.jpg", good[0])
    bucket("masks/1_mask.jpg", good[1])
    assert_fails(fapm("build", "s3://line/own/masks", *into), "s3://line/own/masks/1_mask.jpg")
    assert fapm("heatmap", local_bank, GOOD[0], "-o", tmp_path).code == 0
    (drawn,) = tmp_path.rglob("*_heatmap.png")
    named = bucket("drawn/other.png", drawn.read_bytes())
    bucket("drawn/1.jpg", good[0])
    assert_fails(fapm("build", "s3://line/own/drawn", *into), "1 of the pictures", named)
    result = fapm("score", local_bank, "s3://line/own/drawn", "--exit-zero")
    assert (len(result.out.splitlines()), "1 drawn by fapm" in result.err) == (1, True)
    assert "drawn by fapm" in error_of(local_bank, named)


def test_what_grows_in_a_bucket_is_not_read_in_part(
    bucket: Callable[[str, bytes], str], local_bank: Path
) -> None:
    address = bucket("a", GOOD[0].read_bytes())
    path = located(address)
    assert isinstance(path, StoredPath)
    assert path.is_file()
    assert path.store.size(path.parts) == GOOD[0].stat().st_size
    bucket("a", GOOD[0].read_bytes() + b"more")
    with pytest.raises(PictureError, match=f"{GOOD[0].stat().st_size:,} were listed"):
        path.read_bytes()


def test_a_picture_is_left_out_by_its_address(s3: str, tmp_path: Path) -> None:
    options = ("-o", tmp_path / "b.st", *SMALL, "--without", f"{s3}/000.jpg")
    result = fapm("build", s3, *options)
    assert result.code == 0, result
    assert f"pictures  {NUM - 1}" in result.out
    result = fapm("build", s3, *options, "--without", f"{s3}/x.jpg")
    assert (result.code, f"{s3}/x.jpg: it is none" in result.err) == (2, True)


def test_a_labelled_set_in_a_tar_file_is_read_as_in_a_folder(tmp_path: Path) -> None:
    root = tmp_path / "part"
    for number, path in enumerate(GOOD[:6]):
        name = root / ("train" if number < 4 else "test") / "good" / path.name
        name.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, name)
    (root / "test" / "stain").mkdir()
    shutil.copy(ONE_BAD, root / "test" / "stain" / "0.jpg")
    (root / "ground_truth" / "stain").mkdir(parents=True)
    Image.new("L", (64, 96), 255).save(root / "ground_truth" / "stain" / "0_mask.png")
    with tarfile.open(tmp_path / "part.tar", "w") as archive:
        archive.add(root, "part")
    packed = located(tmp_path / "part.tar" / "part")
    shown: list[list[object]] = []
    for where in (root, packed):
        (found,) = fapm_cli.find_categories(where)
        category = found.read()
        learnt = [below(path, where).as_posix() for path in category.train]
        tested = [(below(one.path, where).as_posix(), one.defect) for one in category.test]
        masks = [[below(mask, where).as_posix() for mask in one.masks] for one in category.test]
        shown.append([found.name, learnt, tested, masks, category.notes])
    assert shown[0] == shown[1]
    truth = [one for one in category.test if one.masks]
    assert read_truth(truth[0], (96, 64), default_config().preprocessing).any()


def test_a_program_gives_addresses(web: servers.Web, s3: str, local_bank: Path) -> None:
    detector = fapm_cli.load(local_bank).detector()
    addresses = [f"{web.root}/parts/000.jpg", str(GOOD[0]), f"{s3}/000.jpg"]
    scores = {result.score for result in detector.stream(addresses)}
    assert len(scores) == 1
    listed = detector.stream(f"{web.root}/parts/list.txt")
    assert next(result.path for result in listed) == addresses[0]
    result = detector(addresses[0])
    assert result.picture().size == result.size_px[::-1]
    assert fapm_cli.build([addresses[2]], size=64, metric="plain").learnt.pictures[0].name == (
        "000.jpg"
    )


# --- Reading ahead ---


def test_many_are_asked_for_at_a_time_in_order_and_none_is_left(web: servers.Web) -> None:
    together = threading.Barrier(8, timeout=10)  # breaks, if fewer come at a time
    names = [f"{number:02}.jpg" for number in range(24)]

    def answer(handler: servers.Handler, data: bytes) -> None:
        together.wait()
        handler.send(data)

    for name in names:
        web.files[name] = name.encode()
        web.faults[name] = [answer]
    paths = [located(f"{web.root}/{name}") for name in names]
    read = [path.read_bytes() for path in ahead(paths) if isinstance(path, StoredPath)]
    assert read == [name.encode() for name in names]
    assert not together.broken


def test_what_nobody_took_is_forgotten(web: servers.Web) -> None:
    paths = [located(f"{web.root}/parts/00{number}.jpg") for number in range(3)]
    stream = ahead(iter(paths))
    assert next(stream) == paths[0]
    del stream
    for path in paths:
        assert isinstance(path, StoredPath)
        assert not path.store.has_begun(path.parts)
        assert path.read_bytes()


def test_a_slow_source_is_not_asked_in_advance(web: servers.Web) -> None:
    web.files["a.jpg"] = b"a"
    path, asked = located(f"{web.root}/a.jpg"), list[int]()

    def source() -> Iterator[object]:
        for number in range(10):
            asked.append(number)
            yield Path("here") if number else path
            time.sleep(0.1)

    stream = ahead(source())
    assert next(stream) is path
    assert len(asked) < 10


def test_docs_commands_run(
    s3: str,
    sftp: str,
    web: servers.Web,
    tar: Path,
    local_bank: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (SAMPLES.parent / "docs" / "elsewhere.md").read_text()
    (block,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    (elsewhere,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    for old, new in {
        "s3://line-7/good": s3,
        "sftp://line@10.0.0.7/inbox": sftp,
        "https://pictures.example/today/list.txt": f"{web.root}/parts/list.txt",
        "s3://line-7/shards/{000..023}.tar": f"{web.root}/parts.tar",
        "-C samples good": f"-C {SAMPLES} good/000.jpg good/001.jpg",
        "bank.st": str(local_bank),
    }.items():
        assert old in block + elsewhere
        block, elsewhere = block.replace(old, new), elsewhere.replace(old, new)
    web.files["parts.tar"] = tar.read_bytes()
    for line in (block + elsewhere).splitlines():
        program, *words = shlex.split(line)
        if program != "fapm":
            assert subprocess.run([program, *words], check=False).returncode == 0
        else:
            result = fapm(*words, *(SMALL if words[0] == "build" else ("--exit-zero",)))
            assert result.code == 0, result
