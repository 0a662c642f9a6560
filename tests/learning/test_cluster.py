"""A cluster changes nothing: banks and records are the same, however many workers work and die.

What needs a running Ray stands here, since to start one takes long.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from conftest import GOOD, ONE_BAD, ONE_GOOD, ROOT, Result, assert_fails, build, fapm
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import fapm_cli
from fapm_cli.compute import cluster as clusters
from fapm_cli.compute import worker
from fapm_cli.compute.cluster import Cluster
from fapm_cli.compute.cores import usable_cores
from fapm_cli.learning.scratch import cluster_workspace
from fapm_cli.learning.scratch.cluster_workspace import ClusterStore
from fapm_cli.learning.scratch.field import Field
from fapm_cli.learning.scratch.workspace import HeldStore, Job
from fapm_cli.packages import is_there
from fapm_cli.sources.source import Source

FAST = "--size", "96", "--metric", "own", "--threads", "1"
PICTURES = GOOD[:10]
CPU = torch.device("cpu")
needs_ray = pytest.mark.skipif(
    not is_there("ray"), reason="ray is not installed: pip install 'fapm[ray]'"
)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_workspace, "_MOST", 4)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bank that was built here."""
    return digest(build(tmp_path_factory.mktemp("wanted") / "bank.st", PICTURES, *FAST))


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cluster of four workers on this machine, that the process is connected to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        with clusters.started("ray", 4) as ray:
            yield ray


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def built(path: Path, *options: object) -> str:
    result = fapm("build", *PICTURES, "-o", path, *FAST, "--on", "ray", *options)
    assert result.code == 0, result  # Ray may say of workers that they died
    return digest(path)


@contextmanager
def taken(ray: Any, busy: int) -> Iterator[None]:
    """Let others have so many of the cluster's workers."""
    from ray.util import placement_group, remove_placement_group

    theirs = placement_group([{"CPU": busy}] if busy else [{"memory": 1}])
    ray.get(theirs.ready())
    try:
        yield
    finally:
        remove_placement_group(theirs)


# --- The bank is the same ----------------------------------------------------------------------


@needs_ray
@pytest.mark.parametrize("busy", [3, 2, 0])
def test_a_bank_is_the_same_byte_for_byte_by_any_number_of_workers(
    busy: int, wanted: str, tmp_path: Path, ray: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    with taken(ray, busy):
        assert built(tmp_path / "bank.st") == wanted
    assert capfd.readouterr().out == ""  # the bank's summary was told elsewhere; Ray is quiet


@needs_ray
def test_a_bank_is_the_same_of_pictures_that_are_moved_and_turned_and_some_dropped(
    tmp_path: Path, ray: Any
) -> None:
    odd = ROOT / "samples" / "test" / "stain" / "000.jpg"
    options = ("--align", "shift", "--turn", "90", "--drop-outliers", "--keep-suspects")
    banks: list[Path] = []
    for on in ((), ("--on", "ray"), ("--scratch", tmp_path)):
        banks.append(tmp_path / f"{len(banks)}.st")
        pictures = (*PICTURES, PICTURES[3], odd)
        done = fapm("build", *pictures, *FAST, *options, *on, "-o", banks[-1])
        assert done.code == 0, done.err
    assert len({*map(digest, banks)}) == 1


STAGES = "prepare_item", "_vectors_of", "_keys_of", "nearest_rows", "_found"


def dying(work: Callable[[Any], Any], marker: str) -> Callable[[Any], Any]:
    """Work that kills its worker the first time."""

    def once(item: Any) -> Any:
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return work(item)
        os.kill(os.getpid(), signal.SIGKILL)

    return once


def stage(work: Any) -> str:
    """What is done, of work that is wrapped in work."""
    while isinstance(work, functools.partial):
        inner = [one for one in work.args if callable(one) and not isinstance(one, torch.nn.Module)]
        if not inner:
            return str(work.func.__name__)
        work = inner[0]
    return str(work.__name__)


def die_in(patch: pytest.MonkeyPatch, folder: Path, stages: Sequence[str]) -> None:
    """Have a worker die in each stage, once; a file of its name tells that."""
    place = Cluster.place

    def place_dying(self: Cluster, work: Any) -> Any:
        name = stage(work)
        return place(self, dying(work, str(folder / name)) if name in stages else work)

    patch.setattr(Cluster, "place", place_dying)


@needs_ray
def test_a_worker_that_dies_in_any_stage_is_replaced_and_the_bank_is_the_same(
    wanted: str, tmp_path: Path, ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_in(monkeypatch, tmp_path, STAGES)
    assert built(tmp_path / "bank.st") == wanted
    assert {path.name for path in tmp_path.iterdir()} == {*STAGES, "bank.st"}


# --- Records are the same ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Pictures, one after another: some can't be read, some lie in a tar file, some in a video."""
    folder = tmp_path_factory.mktemp("judged")
    (folder / "bad.jpg").write_bytes(GOOD[0].read_bytes()[:999])
    with tarfile.open(folder / "parts.tar", "w") as tar:
        for picture in GOOD[3:6]:
            tar.add(picture, picture.name)
        tar.add(folder / "bad.jpg", "z.jpg")
    writer = cv2.VideoWriter(
        str(folder / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (320, 320)
    )
    for picture in (ONE_BAD, ONE_GOOD):
        pixels = cv2.imread(str(picture))
        assert pixels is not None
        writer.write(pixels)
    writer.release()
    named = "bad.jpg", "missing.jpg", "parts.tar", "clip.avi"
    return ONE_BAD, *(folder / name for name in named), *GOOD[:6], ONE_GOOD


def scored_on(bank: Path, pictures: Sequence[Path], *options: object) -> tuple[Result, Result]:
    """What is said of pictures here, and by a cluster."""
    asked = ("score", bank, *pictures, "--threads", 1, *options)
    return fapm(*asked), fapm(*asked, "--on", "ray")


@needs_ray
@pytest.mark.parametrize(("busy", "engine"), [(3, "openvino"), (0, "openvino"), (3, "torch")])
def test_records_are_the_same_byte_for_byte_by_any_number_of_workers(
    busy: int, engine: str, bank: Path, judged: tuple[Path, ...], ray: Any
) -> None:
    options = "--format", "jsonl", "--batch-size", 2, "--engine", engine, "--drift"
    with taken(ray, busy):
        here, there = scored_on(bank, judged, *options)
    assert here.code == 2
    assert len(here.out.splitlines()) == 16
    assert here.out.count('"error"') == 3
    assert (there.code, there.out) == (here.code, here.out)


@needs_ray
def test_a_worker_that_dies_while_it_judges_is_replaced_and_records_are_the_same(
    bank: Path, tmp_path: Path, ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_in(monkeypatch, tmp_path, ("records",))
    here, there = scored_on(bank, GOOD[:6], "--json", "--batch-size", 1)
    assert (there.code, there.out) == (here.code, here.out)
    assert here.code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


@needs_ray
def test_a_picture_that_no_worker_sees_ends_judging(bank: Path, tmp_path: Path, ray: Any) -> None:
    here = tmp_path / "here.jpg"
    with ONE_GOOD.open("rb") as file:
        here.symlink_to(f"/proc/self/fd/{file.fileno()}")
        result = fapm("score", bank, ONE_GOOD, here, "--threads", 1, "--on", "ray")
    assert_fails(result, "does not see", "here.jpg", "same path")


@needs_ray
def test_no_more_pictures_are_asked_for_than_workers_have_to_do(bank: Path, ray: Any) -> None:
    asked_for = []

    def endless() -> Iterator[Path]:
        for picture in itertools.cycle(GOOD[:4]):
            asked_for.append(picture)
            yield picture

    detector = fapm_cli.load(bank).detector()
    with fapm_cli.connected("ray", detector.engine.package) as cluster:
        records = detector.records(Source(endless()), 2, cluster=cluster)
        some = [next(records) for _ in range(3)]
    assert [record["path"] for record in some] == [*map(str, GOOD[:3])]
    assert len(asked_for) <= (2 * 4 + 1) * max(2, usable_cores())


@pytest.mark.parametrize(
    "options",
    [("--watch", "."), ("--camera", "0"), ("--compile", ONE_GOOD), ("--device", "cuda", ONE_GOOD)],
)
def test_what_no_cluster_judges_is_told(options: tuple[object, ...], bank: Path) -> None:
    assert_fails(fapm("score", bank, *options, "--on", "ray"), str(options[0]), "leave")


def test_where_judging_lacks_a_cluster_it_is_told(
    bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for command in (("score", bank, ONE_GOOD), ("eval", ROOT / "samples", "--bank", bank)):
        assert_fails(fapm(*command, "--on", "ray"), "pip install 'fapm[ray]'")
        assert_fails(fapm(*command, "--on", "ray:/"), "--on", "ray://HOST:PORT")


@needs_ray
def test_an_evaluation_is_the_same_also_where_a_worker_dies(
    tmp_path: Path, ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = tmp_path / "part"
    for picture in PICTURES[:6]:
        copy_to(picture, part / "train" / "good")
    for picture in (ONE_GOOD, *GOOD[20:23]):
        copy_to(picture, part / "test" / "good")
    copy_to(ONE_BAD, part / "test" / "stain")
    (part / "test" / "stain" / "bad.jpg").write_bytes(ONE_BAD.read_bytes()[:999])
    copy_to(
        ROOT / "samples" / "ground_truth" / "stain" / "000_mask.png",
        part / "ground_truth" / "stain",
    )
    said = []
    for on in ((), ("--on", "ray")):
        scores = tmp_path / f"{len(on)}.csv"
        asked = ("--size", "96", "--metric", "plain", "--threads", 1, "--batch-size", 1)
        result = fapm("eval", part, *asked, "--json", "--scores", scores, *on)
        assert result.code == 2
        [record] = result.json
        assert record["pixel_auroc"] is not None
        record |= dict.fromkeys(("build_seconds", "images_per_second"))
        said.append((record, scores.read_bytes(), {*result.err.splitlines()}))
        die_in(monkeypatch, tmp_path, ("scored",))
    assert said[0][:2] == said[1][:2]
    assert said[0][2] <= said[1][2]  # where Ray says of the worker that it died
    assert (tmp_path / "scored").exists()


def copy_to(picture: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(picture, folder)


# --- What is missing is told -------------------------------------------------------------------


@needs_ray
def test_a_picture_that_a_worker_does_not_see_is_named(tmp_path: Path, ray: Any) -> None:
    here = tmp_path / "here.jpg"
    with PICTURES[0].open("rb") as file:
        here.symlink_to(f"/proc/self/fd/{file.fileno()}")
        result = fapm(
            *("build", *PICTURES[:4], here, *FAST, "--on", "ray", "--skip-bad"),
            *("-o", tmp_path / "bank.st"),
        )
    assert_fails(result, "does not see", "here.jpg", "same path")


@needs_ray
def test_a_picture_that_is_damaged_is_told_as_without_a_cluster(tmp_path: Path, ray: Any) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(PICTURES[0].read_bytes()[:999])
    arguments = ("build", *PICTURES[:4], bad, *FAST, "-o", tmp_path / "bank.st")
    plain, there = fapm(*arguments), fapm(*arguments, "--on", "ray")
    assert_fails(there, "bad.jpg", "--skip-bad")
    assert there == plain


@needs_ray
def test_a_worker_of_another_kind_is_told(
    tmp_path: Path, ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = {**worker.kind("torch"), "version of torch": "1.0"}
    monkeypatch.setattr(worker, "kind", lambda engine: kind)
    result = fapm("build", *PICTURES[:4], *FAST, "--on", "ray", "-o", tmp_path / "bank.st")
    assert_fails(result, "another version of torch", "here 1.0", torch.__version__)


@needs_ray
def test_more_threads_than_a_machine_has_cores_are_told(tmp_path: Path, ray: Any) -> None:
    before = torch.get_num_threads()
    try:
        result = fapm("build", *PICTURES[:4], "--threads", 5, "--on", "ray", "-o", "never.st")
    finally:
        torch.set_num_threads(before)
    assert_fails(result, "no machine of the cluster has 5 cores", "(the largest has 4)")


@pytest.mark.parametrize("on", ["rays", "ray://", "ray://host", "ray://:1", "tcp://host:1"])
def test_what_is_no_cluster_is_told(on: str) -> None:
    result = fapm("build", *PICTURES[:4], "--on", on, "-o", "never.st")
    assert_fails(result, "--on", "ray://HOST:PORT")


def test_without_ray_what_to_install_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = fapm("build", *PICTURES[:4], "--on", "ray", "-o", "never.st")
    assert_fails(result, "pip install 'fapm[ray]'")


@pytest.mark.parametrize(
    "options", [("--memory", "3GB"), ("--scratch", "never"), ("--device", "cuda")]
)
def test_what_is_of_one_machine_is_told(options: tuple[str, str]) -> None:
    result = fapm("build", *PICTURES[:4], "--on", "ray", *options, "-o", "never.st")
    assert_fails(result, options[0], "leave")


# --- Programs of their own ---------------------------------------------------------------------


def began(
    program: Sequence[str], tmp_path: Path, on: str, **environment: str
) -> subprocess.Popen[str]:
    command = [*program, "build", *map(str, PICTURES), *FAST, "--on", on]
    return subprocess.Popen(
        [*command, "-o", str(tmp_path / "bank.st")],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@needs_ray
def test_where_no_cluster_answers_it_is_told_in_time(tmp_path: Path, program: str) -> None:
    patience = {f"RAY_CLIENT_{of}_CONNECTION_TIMEOUT_S": "1" for of in ("INITIAL", "MAX")}
    with began(shlex.split(program), tmp_path, "ray://127.0.0.1:1", **patience) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.startswith("fapm: --on ray://127.0.0.1:1: can't connect: ")
    assert len(err.splitlines()) == 1


def children(of: str) -> list[int]:
    """Processes that have these words in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if of.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@needs_ray
def test_ctrl_c_ends_the_cluster_that_was_started(tmp_path: Path) -> None:
    name = f"FAPM_TEST_OF={tmp_path}"
    program = (sys.executable, "-m", "fapm_cli")
    process = began(program, tmp_path, "ray", FAPM_TEST_OF=str(tmp_path))
    deadline = time.monotonic() + 120
    while not [pid for pid in children(name) if "ray::run" in command_of(pid)]:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    while left := children(name):
        assert time.monotonic() < deadline, [command_of(pid) for pid in left]
        time.sleep(0.05)


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


# --- Where vectors lie -------------------------------------------------------------------------


class Here:
    """A cluster that does all at once, here."""

    most_waiting = 2

    def place(self, work: Any) -> Any:
        return work

    def start(self, placed: Any, item: object, num_returns: int = 1) -> Any:
        found = placed(item)
        assert len(found) == num_returns
        return found

    def get(self, reference: Any) -> Any:
        return reference


@given(st.data())
def test_fields_on_a_cluster_are_those_in_memory(data: st.DataObject) -> None:
    number, per_block = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 4))
    fields = [Field("a", 3, 2, (5,)), Field("b", 1, 4, (2,)), Field("empty", 3, 0, (5,))]
    fields.append(Field.of_rows("px", (2, 3), torch.uint8))
    drawn = torch.randint(256, (number, 1, 2, 3), dtype=torch.uint8)
    drawn[:, 0, 0, 0] = torch.arange(number)
    own: dict[int, dict[str, Tensor]] = {
        i: {one.name: torch.rand(one.shape(1)) for one in fields[:2]} for i in range(number)
    }
    here: Any = Here()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster_workspace, "PIECE_BYTES", data.draw(st.sampled_from([1, 100, 1000])))
        patch.setattr(cluster_workspace, "_MOST", per_block)
        patch.setattr(cluster_workspace, "_get", lambda references: references)
        there, held = ClusterStore(here, fields, number, CPU), HeldStore(fields, number, CPU)

        def work(pixels: Tensor) -> dict[str, Tensor]:
            return own[int(pixels[0, 0, 0])]

        for at in range(number):
            for store in (there, held):
                store.put(at, [str(at)], {"px": drawn[at : at + 1]}, Job(work, drawn[at]))
        for store in (there, held):
            store.finish(number)
        some = data.draw(st.lists(st.integers(0, number - 1), min_size=1))
        kept: Sequence[int] = sorted(set(some))
        for field in fields[:2]:
            found, whole = there.vectors(field.name), held.vectors(field.name)
            assert tuple(found.shape) == tuple(whole.shape)
            first = data.draw(st.integers(0, field.lead - 1))
            end = data.draw(st.integers(first + 1, field.lead))
            assert torch.equal(found.patches(first, end), whole[first:end])
            by_picture = whole.view(field.lead, number, field.per_picture, -1)
            of_some = by_picture[:, some].flatten(1, 2)
            assert torch.equal(found.of_pictures(torch.tensor(some)), of_some)
            only = found.of(kept)
            assert torch.equal(only.patches(0, 1), by_picture[:1, kept].flatten(1, 2))
        rows = there.rows("px")
        assert torch.equal(rows[torch.tensor(some)], drawn[some][:, 0])
        assert there.vectors("empty").shape[1] == 0
