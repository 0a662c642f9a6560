"""Exported banks: what fapm finds, other engines find by the file alone; or there is no file."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOOD, ONE_BAD, ONE_GOOD, assert_fails, build, fapm
from PIL import Image, ImageDraw

from fapm_cli.api.bank import Bank
from fapm_cli.bank.file import load_bank, save_bank
from fapm_cli.errors import ModelError, OptionError
from fapm_cli.exporting import file as files
from fapm_cli.exporting.operators import OPERATORS
from fapm_cli.graph.model import engine_model
from fapm_cli.pictures.preparing import prepare

onnx: Any = pytest.importorskip("onnx", reason="the extra fapm[export] is not installed")
runtime: Any = pytest.importorskip("onnxruntime", reason="the extra fapm[export] is not installed")

# Of onnx-tensorrt's docs/operators.md for TensorRT 10.15: what its parser knows.
_KNOWN = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool
BatchNormalization BlackmanWindow Cast CastLike Ceil Celu Clip Concat Constant ConstantOfShape
Conv ConvTranspose Cos Cosh CumSum DeformConv DepthToSpace DequantizeLinear Div Dropout Einsum Elu
Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm
GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization
GRU HammingWindow HannWindow HardSigmoid HardSwish Hardmax Identity If ImageScaler
InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
Loop LRN LSTM LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization Min Mish
Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or Pad ParametricSoftplus Pow PRelu
QuantizeLinear RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal
ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare Relu Reshape Resize ReverseSequence RMSNormalization RNN RoiAlign RotaryEmbedding
Round STFT ScaledTanh Scan Scatter ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin
Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh
ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""
TENSORRT = set(_KNOWN.split())


@pytest.fixture(scope="module")
def made(bank: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """An exported bank, and what the command says of it."""
    path = tmp_path_factory.mktemp("exported") / "part.onnx"
    result = fapm("export", bank, "-o", path, "--json")
    assert result.code == 0, result
    return path, result.json


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank that is proven soon: six pictures of 96 px."""
    return build(tmp_path_factory.mktemp("small") / "bank.st", GOOD[:6], "--size", "96")


@pytest.fixture
def part(made: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy of it, to be spoiled."""
    return Path(shutil.copy(made[0], tmp_path / "part.onnx"))


def judge(path: Path, *pictures: Path, bank: Path) -> list[Any]:
    """What ONNX Runtime finds by a file in pictures, prepared as a program would."""
    preprocessing = load_bank(bank).config.preprocessing
    pixels = np.stack([prepare(Image.open(one).convert("RGB"), preprocessing) for one in pictures])
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found: list[Any] = session.run(None, {"pixels": pixels})
    return found


@pytest.mark.parametrize("picture", [ONE_GOOD, ONE_BAD])
def test_the_file_alone_scores_as_the_command_does(
    picture: Path, made: tuple[Path, Any], bank: Path
) -> None:
    [record] = fapm("score", bank, picture, "--json", "--precision", "fp32").json
    score, layers, anomaly_map, peak, nearest = judge(made[0], picture, bank=bank)
    assert score[0] == pytest.approx(record["score"], rel=1e-4)
    assert layers[0].tolist() == pytest.approx([*record["layer_scores"].values()], rel=1e-4)
    x, y = peak[0]
    assert anomaly_map[0, y, x] == anomaly_map.max()
    height, width = Image.open(picture).size[::-1]
    assert abs((x + 0.5) * width / 224 - 0.5 - record["peak"]["x"]) <= 1
    assert abs((y + 0.5) * height / 224 - 0.5 - record["peak"]["y"]) <= 1
    key = load_bank(bank).memories[0].key_pictures[nearest[0, y // 8, x // 8]]
    assert int(key) == record["nearest"]["picture"]


def test_the_file_says_all_that_a_program_must_know(made: tuple[Path, Any], bank: Path) -> None:
    session = runtime.InferenceSession(made[0], providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    thresholds = load_bank(bank).thresholds
    assert float(said["fapm.threshold"]) == thresholds.score
    assert float(said["fapm.pixel_threshold"]) == thresholds.pixel
    assert said["fapm.bank"] == hashlib.sha256(bank.read_bytes()).hexdigest()
    assert said["fapm.input_px"] == said["fapm.resize_px"] == "224x224"
    assert said["fapm.layers"] == "block4_depthwise,block5_expand"
    assert json.loads(said["fapm.outputs"]).keys() == {o.name for o in session.get_outputs()}
    assert {"fapm." + name: value for name, value in made[1]["metadata"].items()} == said
    [pixels] = session.get_inputs()
    assert (pixels.name, pixels.type, pixels.shape) == ("pixels", "tensor(uint8)", [1, 224, 224, 3])


def test_the_table_has_a_row_for_each_engine(made: tuple[Path, Any]) -> None:
    there = {name for name in ("onnxruntime", "openvino") if find_spec(name) is not None}
    assert {one["engine"].split()[0] for one in made[1]["parity"]} == there
    assert all(0 <= one["score"] <= 1e-4 < one["nearest"] for one in made[1]["parity"])
    assert made[1]["bank_pictures"]
    assert all(one["pictures"] == 24 for one in made[1]["parity"])


def test_text_shows_the_table_and_notes_what_is_left_to_the_program(
    bank: Path, tmp_path: Path
) -> None:
    result = fapm("export", bank, "-o", tmp_path / "part.onnx")
    assert result.code == 0
    assert "corrects no light" in result.err
    lines = result.out.splitlines()
    assert lines[0].startswith("model     ")
    assert any(line.startswith("onnxruntime ") for line in lines)


def test_only_operators_that_tensorrt_knows(made: tuple[Path, Any]) -> None:
    assert OPERATORS <= TENSORRT
    assert {node.op_type for node in onnx.load(made[0]).graph.node} <= OPERATORS


def test_nothing_in_the_file_tells_of_the_machine_that_made_it(made: tuple[Path, Any]) -> None:
    data = made[0].read_bytes()
    assert str(Path(files.__file__).parent).encode() not in data
    assert b"site-packages" not in data


def test_the_same_bank_gives_the_same_file(made: tuple[Path, Any], bank: Path, part: Path) -> None:
    assert fapm("export", bank, "-o", part).code == 0
    assert part.read_bytes() == made[0].read_bytes()


# --- Banks of every kind ------------------------------------------------------------------------


def round_trip(bank: Bank, path: Path, **ask: Any) -> dict[str, Any]:
    made = bank.export(path, **ask)
    assert bank.verify(path)["parity"] == made["parity"]
    return made


@pytest.mark.parametrize("bank_of", ["own_bank", "paper_bank"])
def test_banks_with_metrics_crops_and_no_pictures(
    bank_of: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bank = Bank(load_bank(request.getfixturevalue(bank_of)))
    made = round_trip(bank, tmp_path / "part.onnx")
    assert made["bank_pictures"] == (bank_of == "paper_bank")


@pytest.mark.parametrize("bank_of", ["small", "own_bank"])
@pytest.mark.parametrize(
    "query",
    [
        {"reach": 1, "num_neighbors": 3},
        {"image_score": "max", "placement": "nearest", "calibration": "none", "sigma": 0.0},
    ],
)
def test_other_queries_of_a_bank(
    query: dict[str, Any], bank_of: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    learnt = load_bank(request.getfixturevalue(bank_of))
    asked = dataclasses.replace(learnt, config=learnt.config.with_query(**query))
    round_trip(Bank(asked), tmp_path / "part.onnx")


@pytest.mark.parametrize("variant", ["A", "B", "C"])
def test_variants_that_join_patches_or_layers(variant: str, tmp_path: Path) -> None:
    path = build(tmp_path / "bank.st", GOOD[:3], "--variant", variant, "--size", "96")
    round_trip(Bank(load_bank(path)), tmp_path / "part.onnx")


def test_what_lies_outside_the_roi_reaches_no_output(tmp_path: Path) -> None:
    mask = Image.new("L", (224, 224))
    ImageDraw.Draw(mask).rectangle((64, 64, 159, 159), fill=255)
    mask.save(tmp_path / "roi.png")
    bank = build(tmp_path / "bank.st", GOOD[:3], "--roi", tmp_path / "roi.png")
    round_trip(Bank(load_bank(bank)), tmp_path / "part.onnx")
    _, _, anomaly_map, peak, _ = judge(tmp_path / "part.onnx", ONE_BAD, bank=bank)
    inside = np.asarray(mask) > 0
    assert not anomaly_map[0][~inside].any()
    assert anomaly_map[0][inside].any()
    assert inside[peak[0, 1], peak[0, 0]]


def test_a_batch_judges_each_picture_as_one_alone(small: Path, tmp_path: Path) -> None:
    one, five = tmp_path / "one.onnx", tmp_path / "five.onnx"
    Bank(load_bank(small)).export(one)
    assert round_trip(Bank(load_bank(small)), five, batch=5)["batch"] == 5
    pictures = [ONE_GOOD, ONE_BAD, *GOOD[20:23]]
    together = judge(five, *pictures, bank=small)
    for number, picture in enumerate(pictures):
        alone = judge(one, picture, bank=small)
        assert together[0][number] == pytest.approx(alone[0][0], rel=1e-4)
        assert together[3][number].tolist() == alone[3][0].tolist()


def test_half_the_bytes_for_a_percent_of_the_score(small: Path, tmp_path: Path) -> None:
    before = small.read_bytes()
    path, exact = tmp_path / "half.onnx", tmp_path / "exact.onnx"
    Bank(load_bank(small)).export(exact)
    round_trip(Bank(load_bank(small)), path, half=True)
    assert path.stat().st_size < 0.56 * exact.stat().st_size
    for picture in (ONE_GOOD, ONE_BAD):
        half, whole = (judge(one, picture, bank=small)[0] for one in (path, exact))
        assert half[0] == pytest.approx(whole[0], rel=1e-2)
        assert half[0] != whole[0]
    again = load_bank(small)
    Bank(again).export(path, half=True)  # what is rounded is no part of the bank
    save_bank(again, tmp_path / "again.st")
    assert (tmp_path / "again.st").read_bytes() == before


def test_another_opset(small: Path, tmp_path: Path) -> None:
    assert round_trip(Bank(load_bank(small)), tmp_path / "part.onnx", opset=20)["opset"] == 20


def test_a_file_for_any_size_resizes_as_fapm_does(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "part.onnx"
    made = fapm("export", small, "-o", path, "--any-size", "--json").json
    assert made["any_size"]
    assert made["metadata"]["resize_px"] == "any"
    assert "1xheightxwidthx3" in fapm("verify", path, small).out
    assert {node.op_type for node in onnx.load(path).graph.node} <= TENSORRT
    assert files.read_input(path) == (1, 96, 96, 3)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for size in ((320, 320), (500, 333), (111, 640)):
        Image.open(ONE_BAD).resize(size).save(tmp_path / "one.png")
        [record] = fapm("score", small, tmp_path / "one.png", "--json", "--light", "as-is").json
        pixels = np.asarray(Image.open(tmp_path / "one.png").convert("RGB"))[None]
        assert session.run(["score"], {"pixels": pixels})[0][0] == pytest.approx(
            record["score"], rel=1e-4
        )
    with pytest.raises(OptionError, match="one picture at a time"):
        Bank(load_bank(small)).export(path, batch=2, any_size=True)


def test_a_file_for_any_size_cuts_the_middle_out_or_is_refused(
    small: Path, paper_bank: Path, tmp_path: Path
) -> None:
    learnt = load_bank(small)
    larger = dataclasses.replace(learnt.config.preprocessing, resize_px=(112, 104))
    config = dataclasses.replace(learnt.config, preprocessing=larger)
    cropping = Bank(dataclasses.replace(learnt, config=config))
    assert cropping.export(tmp_path / "part.onnx", any_size=True)["any_size"]
    with pytest.raises(OptionError, match="lanczos"):
        Bank(load_bank(paper_bank)).export(tmp_path / "part.onnx", any_size=True)


# --- What is refused ----------------------------------------------------------------------------


def test_an_input_that_torch_runs_by_tiles_is_exported_in_one(tmp_path: Path) -> None:
    bank = build(tmp_path / "long.st", GOOD[:3], "--size", "704x32")
    round_trip(Bank(load_bank(bank)), tmp_path / "long.onnx")
    [pixels] = runtime.InferenceSession(tmp_path / "long.onnx").get_inputs()
    assert pixels.shape == [1, 704, 32, 3]


def test_an_input_that_all_run_by_tiles_is_not_exported(
    bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fapm_cli.exporting.export.MOST_PX", 192)
    result = fapm("export", bank, "-o", tmp_path / "part.onnx")
    assert_fails(result, "224x224 px is worked through in tiles", "192 px")
    assert not (tmp_path / "part.onnx").exists()


def test_a_bank_that_aligns_is_exported_only_as_is(tmp_path: Path) -> None:
    bank = build(tmp_path / "bank.st", GOOD[:8], "--align", "shift")
    path = tmp_path / "part.onnx"
    assert_fails(fapm("export", bank, "-o", path), "aligns", "--as-is")
    assert not path.exists()
    result = fapm("export", bank, "-o", path, "--as-is")
    assert result.code == 0, result
    assert "aligns no picture" in result.err


@pytest.mark.parametrize("ask", [{"batch": 0}, {"batch": 65}, {"opset": 17}, {"opset": 24}])
def test_an_argument_that_makes_no_sense(ask: dict[str, int], bank: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="wanted"):
        Bank(load_bank(bank)).export(tmp_path / "part.onnx", **ask)


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_extra_a_line_says_what_to_install(
    missing: str, bank: Path, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.import_module

    def find(name: str, package: str | None = None) -> Any:
        if name == missing:
            raise ImportError(f"No module named {name!r}")
        return there(name, package)

    monkeypatch.setattr(importlib, "import_module", find)
    before = part.read_bytes()
    assert_fails(fapm("export", bank, "-o", part), missing, "pip install 'fapm[export]'")
    assert part.read_bytes() == before
    assert_fails(fapm("verify", part, bank), missing, "pip install 'fapm[export]'")


def test_a_file_of_another_kind_is_not_overwritten(bank: Path, tmp_path: Path) -> None:
    path = tmp_path / "kept.st"
    shutil.copy(bank, path)
    assert_fails(fapm("export", bank, "-o", path), "is a bank, not an exported bank")
    assert path.read_bytes() == bank.read_bytes()


def larger(model: Any, by: float) -> None:
    """Multiply the largest weights or keys."""
    tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    values = onnx.numpy_helper.to_array(tensor) * np.float32(by)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def test_a_graph_that_finds_something_else_is_not_written(
    bank: Path, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = engine_model

    def wrong(*arguments: Any, **options: Any) -> Any:
        model = make(*arguments, **options)
        larger(model, 1.001)
        return model

    monkeypatch.setattr("fapm_cli.graph.model.engine_model", wrong)
    before = part.read_bytes()
    assert_fails(fapm("export", bank, "-o", part), "nothing was written", "differs from fapm's")
    assert part.read_bytes() == before
    assert [one.name for one in part.parent.iterdir()] == ["part.onnx"]


# --- verify: files are not trusted --------------------------------------------------------------


def test_verify_proves_a_file_again(made: tuple[Path, Any], bank: Path) -> None:
    result = fapm("verify", made[0], bank, "--json")
    assert (result.code, result.err) == (0, "")
    assert result.json == {**made[1], "model": str(made[0])}


def test_verify_refuses_a_file_of_another_bank(made: tuple[Path, Any], paper_bank: Path) -> None:
    assert_fails(fapm("verify", made[0], paper_bank), "of another bank")


def test_other_thresholds_make_it_another_bank(
    made: tuple[Path, Any], bank: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.st"
    assert fapm("calibrate", bank, "--threshold", 2, "-o", other).code == 0
    assert_fails(fapm("verify", made[0], other), "of another bank")


@pytest.mark.parametrize("at", [0.001, 0.3, 0.9, 0.99999])
def test_verify_refuses_a_file_with_another_byte(at: float, part: Path, bank: Path) -> None:
    data = bytearray(part.read_bytes())
    data[max(int(at * len(data)), 8)] ^= 1
    part.write_bytes(data)
    assert_fails(fapm("verify", part, bank), "not as fapm made it")


def test_verify_refuses_what_is_no_exported_bank(bank: Path, tmp_path: Path) -> None:
    assert_fails(fapm("verify", tmp_path / "none.onnx", bank), "does not exist")
    assert_fails(fapm("verify", bank, bank), "is a bank, not an exported bank")
    assert_fails(fapm("verify", ONE_GOOD, bank), "is a picture, not an exported bank")
    assert_fails(fapm("verify", tmp_path, bank), "is a folder, not an exported bank")
    for content in (b"", b"\x00\xff" * 99, b"\x08\x0a\x12\x04fapm", b"\x08\x0a\x12\x04fapm" * 99):
        (tmp_path / "other.onnx").write_bytes(content)
        assert_fails(fapm("verify", tmp_path / "other.onnx", bank), "fapm")
    node = onnx.helper.make_node("Identity", ["pixels"], ["score"])
    value = onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.UINT8, [1])
    graph = onnx.helper.make_graph([node], "g", [value], [value])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "other.onnx")
    assert_fails(fapm("verify", tmp_path / "other.onnx", bank), "not an exported bank")


def forged(path: Path, change: Callable[[Any], object]) -> None:
    """Change a file, and seal it as fapm would."""
    model = onnx.load(path)
    change(model)
    said = {name: v for name, v in files.metadata_of(model).items() if name != "fapm.sha256"}
    path.write_bytes(files.seal(model, said))


def external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def with_dims(*dims: int) -> Callable[[Any], object]:
    def change(model: Any) -> None:
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)

    return change


def with_input(*dims: int) -> Callable[[Any], object]:
    def change(model: Any) -> None:
        value = onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.UINT8, dims)
        model.graph.input[0].CopyFrom(value)

    return change


def with_function(model: Any) -> None:
    model.functions.add(name="Relu", domain="")


def loops(model: Any) -> None:
    node = onnx.helper.make_node("Cast", ["pixels"], ["a"], to=1, body=onnx.GraphProto())
    model.graph.node.insert(0, node)


FORGERIES: dict[str, tuple[Callable[[Any], object], str]] = {
    "weights": (lambda model: larger(model, 1.001), "differs from fapm's"),
    "external data": (external, "in another file"),
    "an operator": (
        lambda model: setattr(model.graph.node[3], "op_type", "StringConcat"),
        "an operator that no exported graph has: 'StringConcat'",
    ),
    "a foreign domain": (
        lambda model: setattr(model.graph.node[3], "domain", "com.example"),
        "an operator that no exported graph has",
    ),
    "an imported domain": (
        lambda model: model.opset_import.add(domain="com.example", version=1),
        "not ONNX's own",
    ),
    "a function": (with_function, "not ONNX's own"),
    "a graph inside": (loops, "a graph inside"),
    "a shape": (with_dims(2**40, 2**40), "size is not its shape's"),
    "a negative shape": (with_dims(-1, -4), "of a type that no exported graph has"),
    "no fixed batch": (with_input(0, 224, 224, 3), "its inputs"),
    "another size": (with_input(1, 64, 64, 3), "not its bank's"),
    "a huge batch": (with_input(2**40, 224, 224, 3), "its inputs"),
    "no output": (lambda model: model.graph.output.pop(), "no exported bank does"),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_verify_refuses_a_forged_file(kind: str, part: Path, bank: Path) -> None:
    change, words = FORGERIES[kind]
    forged(part, change)
    assert_fails(fapm("verify", part, bank), "part.onnx", words)


def test_a_file_too_large_for_onnx_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 10)
    with pytest.raises(ModelError, match="an ONNX file holds 2"):
        files.seal(onnx.ModelProto(), {"fapm.bank": "0" * 64})


def test_verify_reads_no_file_that_is_too_large(
    part: Path, bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 1000)
    assert_fails(fapm("verify", part, bank), "larger than an ONNX file can be")
