"""Requests that nobody who means well sends: each is refused, and nothing else happens."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from conftest import ONE_GOOD, fapm
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from servers import JPEG, JSON, Server, serving, until

from fapm_cli.serving.http import server as http_server
from fapm_cli.serving.served_bank import Loaded

SECRET = b"what no answer may hold"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one picture, and every way out of it."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.jpg").write_bytes(ONE_GOOD.read_bytes() + SECRET)
    root = tmp_path_factory.mktemp("root")
    (root / "in").mkdir()
    (root / "in" / "good.jpg").write_bytes(ONE_GOOD.read_bytes())
    (root / "link.jpg").symlink_to(outside / "secret.jpg")
    (root / "folder").symlink_to(outside)
    os.mkfifo(root / "pipe.jpg")
    return root


@pytest.fixture(scope="module")
def server(bank: Path, root: Path) -> Iterator[Server]:
    """A server that waits half a second for bodies and heads, and takes a MiB."""
    with (
        pytest.MonkeyPatch.context() as patch,
        serving({"bank": bank}, root=root, body_seconds=0.5, most_bytes=2**20) as running,
    ):
        patch.setattr(http_server, "_HEAD_S", 0.5)
        yield running


@pytest.fixture(scope="module")
def score(bank: Path) -> float:
    """Of a good part, by `fapm score`."""
    found: float = fapm("score", bank, ONE_GOOD, "--json").json[0]["score"]
    return found


@pytest.fixture(autouse=True)
def _no_fault(server: Server, capfd: pytest.CaptureFixture[str], score: float) -> Iterator[None]:
    """Whatever was sent: no word of a fault, and the next picture is judged as ever."""
    yield
    assert server.score(ONE_GOOD).json["score"] == score
    assert server.said == []
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err


def send(server: Server, data: bytes) -> bytes:
    """What comes back of raw bytes, until the server closes; nothing if it just does so."""
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        got = b""
        try:
            connection.sendall(data)
            while part := connection.recv(1 << 16):
                got += part
        except ConnectionError:
            pass
    return got


def head(path: str = "/banks/bank/score", *lines: str, method: str = "POST") -> bytes:
    """The head of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


@settings(max_examples=40)
@given(
    start=st.sampled_from(
        [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"II*\0", b"P6 "]
    ),
    rest=st.binary(max_size=400),
)
def test_random_bytes_are_no_picture(server: Server, start: bytes, rest: bytes) -> None:
    answer = server.ask("/banks/bank/score", start + rest, JPEG)
    assert answer.status in (415, 422)
    assert "error" in answer.json


@settings(max_examples=40)
@given(st.binary(max_size=300))
def test_random_bytes_are_no_request(server: Server, data: bytes) -> None:
    got = send(server, data + b"\r\n\r\n")
    assert got == b"" or got.startswith((b"HTTP/1.1 4", b"HTTP/1.1 3"))


def png(width: int, height: int) -> bytes:
    """A picture of one bit a px, all black: some kB, whatever its size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        code = zlib.crc32(kind + data)
        return len(data).to_bytes(4, "big") + kind + data + code.to_bytes(4, "big")

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    rows = zlib.compress(bytes((width + 7) // 8 + 1) * height)
    head = chunk(b"IHDR", size + b"\1\0\0\0\0") + chunk(b"IDAT", rows)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IEND", b"")


@pytest.mark.parametrize("bomb", [png(8000, 8000), png(2**31 - 1, 1), png(60_000, 10)])
def test_a_decompression_bomb_is_not_decoded(server: Server, bomb: bytes) -> None:
    answer = server.score(bomb)
    if len(bomb) < 2**20:
        assert answer.status == (200 if bomb == png(60_000, 10) else 422)
        assert ("at most 50,000,000 px" in answer.json.get("error", "")) == (answer.status == 422)
    else:
        assert answer.status == 413


def test_of_a_file_of_many_pages_no_more_are_looked_at_than_tell_it_from_a_picture(
    server: Server,
) -> None:
    pages = [Image.new("L", (1, 1))] * 1500
    data = BytesIO()
    pages[0].save(data, "TIFF", save_all=True, append_images=pages[1:])
    assert "holds 1000 pictures" in server.score(data.getvalue()).json["error"]


WAYS_OUT = [
    *("../outside/secret.jpg", "/etc/passwd", "in/../../x.jpg", "./in/good.jpg", "in//good.jpg"),
    *("link.jpg", "folder/secret.jpg", "pipe.jpg", "in", "", ".", "..", "in/", "a\0b", "\ud800"),
    *("in\\..\\..\\x", "C:/x.jpg", "~/x.jpg", "%2e%2e/x.jpg", "x" * 5000, "in/good.jpg/x", "\n"),
]


@pytest.mark.parametrize("name", WAYS_OUT)
def test_no_path_leads_out_of_the_root(server: Server, root: Path, name: str) -> None:
    for path in (name, name.replace("../outside", str(root.parent / "outside0"))):
        answer = server.ask("/banks/bank/score", json.dumps({"path": path}), JSON)
        assert answer.status in (403, 404), answer
        assert SECRET not in answer.body


def test_a_path_inside_the_root_leads_there(server: Server) -> None:
    assert server.ask("/banks/bank/score", '{"path": "in/good.jpg"}', JSON).status == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"x", {"Content-Type": "text/html"}, 415),
        (b"x", {"Content-Type": "multipart/form-data; boundary=x"}, 415),
        (b"x", {**JPEG, "Content-Encoding": "gzip"}, 415),
        (b"", JPEG, 415),
        (b"[" * 50_000, JSON, 400),
        (b'{"path": 1}', JSON, 400),
        (b'{"path": "in/good.jpg", "more": 1}', JSON, 400),
        (b"x" * (2**20 + 1), JPEG, 413),
        (b"x" * (2**16 + 1), JSON, 413),
        (b"x", {**JPEG, "Origin": "https://elsewhere.example"}, 403),
        (b"x", {**JPEG, "Host": "elsewhere.example"}, 403),
    ],
)
def test_what_is_wrong_with_a_request_is_said(
    server: Server, body: bytes, headers: dict[str, str], status: int
) -> None:
    lines = {"Connection": "close", "Content-Length": str(len(body)), **headers}
    asked = head("/banks/bank/score", *(f"{name}: {value}" for name, value in lines.items()))
    asked = asked.replace(b"Host: localhost\r\n", b"", int("Host" in headers))
    # What is too large is refused before it has come; the rest is read, and closed.
    said = send(server, asked + (b"" if status == 413 else body))
    assert said.startswith(f"HTTP/1.1 {status}".encode()), said
    assert set(json.loads(said.partition(b"\r\n\r\n")[2])) == {"error"}


@pytest.mark.parametrize("query", ["name=", "name=%00", "name=a%0Ab", "name=" + "x" * 201])
def test_a_name_that_does_not_show_is_refused(server: Server, query: str) -> None:
    assert server.score(ONE_GOOD, f"?{query}").status == 400


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/banks/other/score", "POST", 404),
        ("/banks/bank/score", "PUT", 405),
        ("/banks/../../etc/passwd", "GET", 404),
        ("/banks/bank/pictures/..%2f..%2fetc", "GET", 404),
        ("/banks/bank/pictures/1/heatmap", "GET", 404),
        ("/%00", "GET", 404),
        ("/pictures?last=-1", "GET", 400),
        ("/pictures?last=" + "9" * 400, "GET", 400),
    ],
)
def test_an_address_that_is_none_is_told(
    server: Server, path: str, method: str, status: int
) -> None:
    answer = server.ask(path, headers=JSON, method=method)
    assert (answer.status, set(answer.json)) == (status, {"error"})


def test_a_body_that_comes_too_slowly_is_let_go(server: Server) -> None:
    slow = head("/banks/bank/score", "Content-Type: image/png", "Content-Length: 1000") + b"x"
    assert send(server, slow).startswith(b"HTTP/1.1 408")


def test_a_head_that_comes_too_slowly_is_let_go(server: Server) -> None:
    assert send(server, b"POST /banks/bank/score HTTP/1.1\r\nHost: local") == b""
    assert send(server, b"") == b""


def test_a_head_that_is_too_long_is_refused(server: Server) -> None:
    many = [f"X{number}: {number}" for number in range(5000)]
    for path, lines in (
        ("/banks", ["X: " + "x" * 100_000]),
        ("/" + "x" * 50_000, []),
        ("/banks", many),
    ):
        said = send(server, head(path, *lines, method="GET"))
        assert said.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))


def test_a_connection_lasts_as_long_as_whole_requests_come(server: Server) -> None:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    until = time.monotonic() + 1.2
    while time.monotonic() < until:
        connection.request("GET", "/banks")
        held = connection.sock
        assert connection.getresponse().read()
        assert connection.sock is held
        time.sleep(0.02)
    connection.close()


def test_a_head_without_an_end_is_cut(server: Server) -> None:
    begun = b"GET /banks HTTP/1.1\r\nHost: localhost\r\nX: "
    assert send(server, begun + b"x" * 20_000).startswith(b"HTTP/1.1 400")


def test_an_answer_may_take_longer_than_a_head_and_others_may_wait_behind_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Loaded.judge

    def slowly(self: Loaded, item: Any) -> Any:
        time.sleep(0.7)
        return judge(self, item)

    monkeypatch.setattr(Loaded, "judge", slowly)
    picture = ONE_GOOD.read_bytes()
    lines = "Content-Type: image/jpeg", f"Content-Length: {len(picture)}"
    asked = head("/banks/bank/score", *lines) + picture
    last = head("/banks", "Connection: close", method="GET")
    assert send(server, asked + asked + last).count(b"HTTP/1.1 200 OK") == 3


def test_a_body_without_an_end_is_cut(server: Server) -> None:
    begin = head("/banks/bank/score", "Content-Type: image/png", "Transfer-Encoding: chunked")
    chunks = b"10000\r\n" + bytes(2**16) + b"\r\n"
    assert send(server, begin + chunks * 17).startswith(b"HTTP/1.1 413")


def test_past_the_queue_others_are_told_to_come_again(
    bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fapm_cli.compute.cores.cores_asked_for", 1)
    go, judge = threading.Event(), Loaded.judge

    def wait(self: Loaded, item: Any) -> Any:
        assert go.wait(20)
        return judge(self, item)

    with serving({"bank": bank}, queue=1) as server:
        monkeypatch.setattr(Loaded, "judge", wait)
        answers: list[int] = []
        asking = [
            threading.Thread(target=lambda: answers.append(server.score(ONE_GOOD).status))
            for _ in range(2)
        ]
        for one in asking:
            one.start()
        until(lambda: b"fapm_pictures_inside 2.0" in server.ask("/metrics").body)
        turned_away = server.score(ONE_GOOD)
        assert turned_away.status == 503
        assert turned_away.headers["Retry-After"] == "1"
        go.set()
        for one in asking:
            one.join(20)
        assert answers == [200, 200]
        assert b'fapm_refused_total{reason="busy"} 1.0' in server.ask("/metrics").body


def test_bodies_take_no_more_memory_than_there_is_for_them(bank: Path) -> None:
    slow = head("/banks/bank/score", "Content-Type: image/png", "Content-Length: 1000000")
    with serving({"bank": bank}, queue=1, most_bytes=2**20, body_seconds=60) as server:
        held = [socket.create_connection((server.host, server.port), timeout=10) for _ in range(4)]
        try:
            for one in held:
                one.sendall(slow + bytes(999_999))
            large = ONE_GOOD.read_bytes() + bytes(900_000)
            until(lambda: server.score(large).status == 503)  # when all of it has come
        finally:
            for one in held:
                one.close()
