"""The examples of docs/deployment.md are compiled and run, where what they need is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ONE_BAD, ROOT, fapm
from PIL import Image

from fapm_cli.bank.file import load_bank
from fapm_cli.pictures.preparing import prepare

runtime: Any = pytest.importorskip("onnxruntime", reason="the extra fapm[export] is not installed")
pytest.importorskip("onnx", reason="the extra fapm[export] is not installed")


def source(name: str) -> str:
    page = (ROOT / "docs" / "deployment.md").read_text()
    found = re.search(rf"<!-- example: {re.escape(name)} -->\n```\w+\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return found[1]


def onnxruntime_flags() -> tuple[list[str], Path]:
    """What to compile with, and where the library lies."""
    root = os.environ.get("ONNXRUNTIME_ROOT")
    if root is None:
        pytest.skip("ONNXRUNTIME_ROOT does not say where ONNX Runtime's C++ package lies")
    return [f"-I{root}/include", f"-L{root}/lib", "-lonnxruntime"], Path(root) / "lib"


def openvino_flags() -> tuple[list[str], Path]:
    """Likewise, of OpenVINO's Python package."""
    spec = find_spec("openvino")
    if spec is None or spec.origin is None:
        pytest.skip("openvino is not installed")
    package = Path(spec.origin).parent
    libraries = sorted((package / "libs").glob("libopenvino.so*"))
    if not libraries or not (package / "include" / "openvino" / "openvino.hpp").exists():
        pytest.skip("this openvino has no headers and no library to link")
    return [f"-I{package / 'include'}", str(libraries[0])], package / "libs"


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_example_prints_what_python_finds(engine: str, bank: Path, tmp_path: Path) -> None:
    flags, libraries = onnxruntime_flags() if engine == "onnxruntime" else openvino_flags()
    (tmp_path / "judge.cpp").write_text(source(f"{engine}.cpp"))
    compiled = ["g++", "-std=c++17", "judge.cpp", *flags, f"-Wl,-rpath,{libraries}", "-o", "judge"]
    subprocess.run(compiled, cwd=tmp_path, check=True, timeout=300)
    part = tmp_path / "part.onnx"
    assert fapm("export", bank, "-o", part).code == 0
    loaded = load_bank(bank)
    pixels = prepare(Image.open(ONE_BAD).convert("RGB"), loaded.config.preprocessing)
    (tmp_path / "picture.rgb").write_bytes(pixels.tobytes())
    done = subprocess.run(
        ["./judge", "part.onnx", "picture.rgb"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done
    session = runtime.InferenceSession(part, providers=["CPUExecutionProvider"])
    score, _, _, peak, _ = session.run(None, {"pixels": np.asarray(pixels)[None]})
    found = re.fullmatch(r"([\d.]+) (ok|anomalous) at (\d+),(\d+)\n", done.stdout)
    assert found is not None, done
    assert float(found[1]) == pytest.approx(float(score[0]), rel=1e-4)
    assert found[2] == ("anomalous" if score[0] > loaded.thresholds.score else "ok")
    assert [int(found[3]), int(found[4])] == peak[0].tolist()


@pytest.mark.skipif(
    shutil.which("mcs") is None or shutil.which("mono") is None, reason="no C# compiler here"
)
def test_the_example_in_c_sharp_calls_what_its_package_has(tmp_path: Path) -> None:
    """No package of ONNX Runtime for C# can be had: its signatures stand for it."""
    (tmp_path / "judge.cs").write_text(source("onnxruntime.cs"))
    signatures = Path(__file__).with_name("OnnxRuntime.cs")
    compiled = ["mcs", "-warnaserror", "judge.cs", str(signatures)]
    subprocess.run(compiled, cwd=tmp_path, check=True, timeout=120)
    (tmp_path / "picture.rgb").write_bytes(bytes(2 * 5 * 3))
    done = subprocess.run(
        ["mono", "judge.exe", "part.onnx", "picture.rgb", "2", "5"],
        cwd=tmp_path,
        env={**os.environ, "LC_ALL": "de_DE.UTF-8"},  # where a comma stands before decimals
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "1.5 anomalous at 12,34\n", done
    assert done.stderr == "30 of 1x2x5x3\npixels to score,peak\n"
