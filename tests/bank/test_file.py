from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import small_bank, version_1_bytes
from safetensors import safe_open
from safetensors.torch import save, save_file
from torch import Tensor

from fapm_cli.bank.bank import Bank, LayerMemory
from fapm_cli.bank.file import FORMAT, bank_bytes, load_bank, save_bank
from fapm_cli.bank.nominal_pictures import NominalPicture
from fapm_cli.errors import BankError, OutputError

Header = dict[str, Any]
Tensors = dict[str, Tensor]


@pytest.fixture
def bank_path(tmp_path: Path) -> Path:
    path = tmp_path / "bank.st"
    save_bank(small_bank(), path)
    return path


def read_parts(path: Path) -> tuple[Header, Tensors]:
    with safe_open(path, "pt") as file:
        # Clones: tensors read from a file are a view of it, and the file is written anew.
        tensors = {name: file.get_tensor(name).clone() for name in sorted(file.keys())}
        return json.loads(file.metadata()[FORMAT]), tensors


def refusal(path: Path) -> str:
    """Read a bank that can't be read, and return what is said about it."""
    with pytest.raises(BankError) as raised:
        load_bank(path)
    message = str(raised.value)
    assert "\n" not in message
    assert str(path) in message
    return message


# --- Round trip --------------------------------------------------------------------------------


@pytest.mark.parametrize("with_backbone", [True, False])
@pytest.mark.parametrize("with_thumbnails", [True, False])
def test_a_bank_comes_back_from_its_file_as_it_was(
    tmp_path: Path, with_backbone: bool, with_thumbnails: bool
) -> None:
    bank = small_bank(
        with_backbone=with_backbone,
        with_thumbnails=with_thumbnails,
        with_metrics=with_backbone,
    )
    path = tmp_path / "bank.st"
    size = save_bank(bank, path)
    assert size == path.stat().st_size
    loaded = load_bank(path)
    for name in (
        "config",
        "map_sizes",
        "pictures",
        "thresholds",
        "weights_hash",
        "weights",
        "versions",
        "metric",
    ):
        assert getattr(loaded, name) == getattr(bank, name)
    assert loaded.roi is None
    assert loaded.light is not None
    assert bank.light is not None
    assert loaded.light.to_json() == bank.light.to_json()
    assert (loaded.light.usual == bank.light.usual).all()
    if with_thumbnails:
        assert loaded.thumbnails is not None
        assert bank.thumbnails is not None
        assert tuple(loaded.thumbnails) == tuple(bank.thumbnails)
        assert tuple(loaded.thumbnails[1:]) == tuple(bank.thumbnails[1:])
    else:
        assert loaded.thumbnails is None
    assert torch.equal(loaded.calibration.factors, bank.calibration.factors)
    assert loaded.calibration.place_share == bank.calibration.place_share
    assert len(loaded.memories) == len(bank.memories)
    for memory, original in zip(loaded.memories, bank.memories, strict=True):
        for field in fields(LayerMemory):
            value, wanted = getattr(memory, field.name), getattr(original, field.name)
            if wanted is None:
                assert value is None
                continue
            assert value.dtype == wanted.dtype
            assert torch.equal(value, wanted)
    assert (loaded.backbone is None) == (bank.backbone is None)
    for name, value in (bank.backbone or {}).items():
        assert torch.equal((loaded.backbone or {})[name], value)
    assert (loaded.backbone or {}).keys() == (bank.backbone or {}).keys()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (lambda m: m.float(), "metrics: float32"),
        (lambda m: m[1:], "metrics: bfloat16 (5, 5, 5)"),
        (lambda m: m[:, :, 1:], "metrics: bfloat16 (6, 5, 4)"),
        (lambda m: m.fill_(torch.nan), "metrics out of range"),
        (lambda m: m.fill_(2e6), "metrics out of range"),
    ],
)
def test_metrics_that_make_no_sense_are_refused(
    tmp_path: Path, changed: Callable[[Tensor], Tensor], says: str
) -> None:
    path = tmp_path / "bank.st"
    save_bank(small_bank(with_metrics=True), path)
    header, tensors = read_parts(path)
    tensors["metrics.0"] = changed(tensors["metrics.0"]).contiguous()
    path.write_bytes(save(tensors, {FORMAT: json.dumps(header)}))
    assert says in refusal(path)


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        (None, "metrics don't fit how they were chosen"),
        ([None, [[None, 0.5]]], "metrics don't fit how they were chosen"),
        ([0.5, [[None, 0.5], [0.3, 0.6]]], "metric floor 0.5 was not tried"),
        ([0.3, [[None, 0.5], [0.3, 1.5]]], "out of range"),
        ([0.3, [[None, 0.5], [-1, 0.5], [0.3, 0.6]]], "out of range"),
        ("strong", "damaged"),
        ([], "damaged"),
        ([0.3, 7], "damaged"),
    ],
)
def test_a_metrics_choice_that_makes_no_sense_is_refused(
    tmp_path: Path, metric: object, says: str
) -> None:
    path = tmp_path / "bank.st"
    save_bank(small_bank(with_metrics=True), path)
    header, tensors = read_parts(path)
    path.write_bytes(save(tensors, {FORMAT: json.dumps({**header, "metric": metric})}))
    assert says in refusal(path)


def with_roi(path: Path, roi: Tensor) -> None:
    save_bank(replace(small_bank(), roi=roi), path)


def half() -> Tensor:
    return torch.arange(96).expand(64, 96) < 48


def test_a_region_of_interest_comes_back_and_its_share_is_told(bank_path: Path) -> None:
    assert load_bank(bank_path).inspected_share == 1
    with_roi(bank_path, half())
    loaded = load_bank(bank_path)
    assert loaded.roi is not None
    assert torch.equal(loaded.roi, half())
    assert loaded.inspected_share == 0.5
    assert bank_bytes(loaded) == bank_path.read_bytes()


@pytest.mark.parametrize(
    "roi",
    [
        half().T,
        half()[:8, :12],
        half().byte(),
        half().float(),
        torch.zeros(64, 96, dtype=torch.bool),
    ],
    ids=["turned", "small", "uint8", "float", "empty"],
)
def test_a_region_of_interest_that_makes_no_sense_is_refused(bank_path: Path, roi: Tensor) -> None:
    with_roi(bank_path, roi)
    assert "roi" in refusal(bank_path)


PICTURE_PARTS = ["names", "name_ends", "sha256", "pixels", "scores", "peaks", "groups"]


def many_pictures(count: int) -> tuple[NominalPicture, ...]:
    return tuple(
        NominalPicture(f"{i:0200}.png", f"{i + 1:064x}", f"{i + 2:064x}", i / 3, i / 7, i // 2)
        for i in range(count)
    )


def test_the_header_does_not_grow_with_the_pictures(tmp_path: Path) -> None:
    # safetensors reads no header above 100 MB: 700,000 pictures must not come near.
    path = tmp_path / "bank.st"
    sizes = []
    for count in (3, 5000):
        bank = replace(small_bank(with_thumbnails=False), pictures=many_pictures(count))
        save_bank(bank, path)
        sizes.append(int.from_bytes(path.read_bytes()[:8], "little"))
        assert load_bank(path).pictures == bank.pictures
    assert sizes[1] - sizes[0] < 200


def test_a_bank_of_version_1_is_read_with_each_picture_a_part_of_its_own(tmp_path: Path) -> None:
    bank, path = small_bank(), tmp_path / "bank.st"
    path.write_bytes(version_1_bytes(replace(bank, roi=half())))
    loaded = load_bank(path)
    assert loaded.pictures == tuple(replace(p, pixels="") for p in bank.pictures)
    assert [p.group for p in loaded.pictures] == [0, 1, 2]
    assert loaded.previous_thresholds is None
    calibration = replace(bank.calibration, extents=None)
    config = bank.config.with_query(light="as-is")
    same = replace(bank, roi=half(), pictures=loaded.pictures, calibration=calibration)
    same = replace(same, config=config, light=None)
    assert bank_bytes(loaded) == bank_bytes(same)


@pytest.mark.parametrize(
    "pictures",
    [
        [],
        [["name", "digest"]],
        [["name", "digest", 1.0, 1.0]] * 3,
        None,
        [["n", "ab", 1.0, 1.0]] * 3,
        [["n", "", 1.0, 1.0]],
    ],
)
def test_pictures_of_version_1_that_make_no_sense_are_refused(
    bank_path: Path, pictures: object
) -> None:
    bank_path.write_bytes(version_1_bytes(small_bank()))
    header, _ = read_parts(bank_path)
    assert "damaged" in with_header(bank_path, json.dumps({**header, "pictures": pictures}))


@pytest.mark.parametrize("name", ["\udcb2\udcbf.jpg", "\ud800", "a\nb", "", "ü/日本.png"])
def test_any_name_comes_back(bank_path: Path, name: str) -> None:
    first, *rest = small_bank().pictures
    bank = replace(small_bank(), pictures=(replace(first, name=name), *rest))
    save_bank(bank, bank_path)
    assert load_bank(bank_path).pictures == bank.pictures


def test_the_thresholds_of_before_come_back(bank_path: Path) -> None:
    bank = small_bank()
    save_bank(replace(bank, previous_thresholds=bank.thresholds.at(0.5)), bank_path)
    assert load_bank(bank_path).previous_thresholds == bank.thresholds.at(0.5)


def test_the_scores_that_thresholds_were_set_by_come_back(bank_path: Path) -> None:
    bank = load_bank(bank_path)
    number = bank.thresholds.num_pictures
    scored = replace(bank.thresholds, scores=tuple(0.1 * i for i in range(number)))
    save_bank(replace(bank, thresholds=scored, previous_thresholds=bank.thresholds), bank_path)
    assert load_bank(bank_path).thresholds == scored
    assert load_bank(bank_path).previous_thresholds == bank.thresholds
    save_bank(replace(bank, previous_thresholds=scored), bank_path)
    assert load_bank(bank_path).thresholds == bank.thresholds
    assert load_bank(bank_path).previous_thresholds == scored


@pytest.mark.parametrize(
    ("change_one", "says"),
    [
        (lambda s: s.float(), "threshold scores: float32"),
        (lambda s: s.unsqueeze(0), "threshold scores: float64 (1, "),
        (lambda s: s * torch.nan, "threshold scores are not finite"),
        (lambda s: torch.cat([s, s]), "good pictures"),
    ],
)
@pytest.mark.parametrize("name", ["threshold_scores", "previous_threshold_scores"])
def test_scores_behind_thresholds_that_make_no_sense_are_refused(
    bank_path: Path, name: str, change_one: Callable[[Tensor], Tensor], says: str
) -> None:
    bank = load_bank(bank_path)
    scores = tuple(0.1 for _ in range(bank.thresholds.num_pictures))
    scored = replace(bank.thresholds, scores=scores)
    save_bank(replace(bank, thresholds=scored, previous_thresholds=scored), bank_path)
    assert says in change(bank_path, name, change_one)


@pytest.mark.parametrize("part", PICTURE_PARTS)
def test_what_is_known_of_pictures_must_fit_together(bank_path: Path, part: str) -> None:
    data = bank_path.read_bytes()
    for edit in (lambda t: t[:-1], lambda t: t.unsqueeze(0), lambda t: t.flatten()[0], bool_of):
        message = change(bank_path, f"picture_{part}", lambda t, e=edit: e(t).clone())  # type: ignore[misc]
        assert "damaged (picture_" in message or "no pictures" in message
        bank_path.write_bytes(data)


def bool_of(tensor: Tensor) -> Tensor:
    return tensor.bool()


@pytest.mark.parametrize(
    ("part", "place", "value", "words"),
    [
        ("scores", 1, float("nan"), "not finite"),
        ("peaks", 2, float("inf"), "not finite"),
        ("groups", 0, -1, "picture_groups out of range"),
        ("groups", 2, 3, "picture_groups out of range"),
        ("name_ends", 0, -1, "picture_name_ends don't add up"),
        ("name_ends", 0, 2**40, "picture_name_ends don't add up"),
        ("name_ends", 2, 5, "picture_name_ends don't add up"),
        ("names", 3, 255, "utf-8"),
    ],
)
def test_a_value_of_a_picture_that_makes_no_sense_is_refused(
    bank_path: Path, part: str, place: int, value: float, words: str
) -> None:
    message = change(bank_path, f"picture_{part}", put(place, value))
    assert "damaged" in message
    assert words in message


def test_nominal_scores_are_the_pictures_scores_in_order(bank_path: Path) -> None:
    assert load_bank(bank_path).nominal_scores.tolist() == [0.1 + i / 3 for i in range(3)]


def test_a_bank_read_and_written_again_has_the_same_bytes(bank_path: Path) -> None:
    assert bank_bytes(load_bank(bank_path)) == bank_path.read_bytes()


def with_slack(change: Callable[[Tensor], Tensor]) -> Bank:
    bank = small_bank()
    memories = (replace(m, key_slack=change(torch.rand(len(m.keys)))) for m in bank.memories)
    return replace(bank, memories=tuple(memories))


def test_slack_of_keys_is_read_back_from_a_bank_of_version_5_and_others_stay_at_4(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bank.st"
    for bank, version in ((with_slack(torch.clone), 5), (small_bank(), 4)):
        save_bank(bank, path)
        assert read_parts(path)[0]["version"] == version
        assert bank_bytes(load_bank(path)) == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda slack: slack.double(), "key_slack: float64"),
        (lambda slack: slack[1:], "key_slack: float32 (31,)"),
        (lambda slack: -slack, "key_slack out of range"),
        (lambda slack: slack.fill_(torch.nan), "key_slack out of range"),
    ],
)
def test_slack_of_keys_that_makes_no_sense_is_refused(
    change: Callable[[Tensor], Tensor], said: str, tmp_path: Path
) -> None:
    save_bank(with_slack(change), tmp_path / "bank.st")
    assert said in refusal(tmp_path / "bank.st")


def test_equal_banks_give_equal_bytes_and_others_do_not() -> None:
    data = bank_bytes(small_bank())
    assert bank_bytes(small_bank()) == data
    assert bank_bytes(small_bank(seed=1)) != data
    assert bank_bytes(replace(small_bank(), weights="own")) != data


def test_bytes_do_not_depend_on_the_order_of_dicts_or_the_layout_of_tensors() -> None:
    bank = small_bank()
    assert bank.backbone is not None
    turned = {
        name: value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value
        for name, value in reversed(bank.backbone.items())
    }
    versions = dict(reversed(bank.versions.items()))
    memories = tuple(replace(m, keys=m.keys.T.contiguous().T) for m in bank.memories)
    assert not memories[0].keys.is_contiguous()
    same = replace(bank, memories=memories, backbone=turned, versions=versions)
    assert bank_bytes(same) == bank_bytes(bank)


def test_equal_banks_give_equal_bytes_in_another_process() -> None:
    script = (
        "import hashlib; from helpers import small_bank; "
        "from fapm_cli.bank.file import bank_bytes; "
        "print(hashlib.sha256(bank_bytes(small_bank())).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    own = bank_bytes(small_bank())  # the hash seed of this process is another, drawn by chance
    assert other.stdout.strip() == hashlib.sha256(own).hexdigest()


# --- Damaged, foreign, from the future ---------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.001, 0.01, 0.3, 0.7, 0.999])
def test_a_truncated_bank_is_refused(bank_path: Path, share: float) -> None:
    data = bank_path.read_bytes()
    bank_path.write_bytes(data[: int(len(data) * share)])
    assert "damaged or not a bank" in refusal(bank_path)


def test_a_bank_that_lacks_or_has_one_more_byte_is_refused(bank_path: Path) -> None:
    data = bank_path.read_bytes()
    for wrong in (data[:-1], data + b"\0"):
        bank_path.write_bytes(wrong)
        assert "damaged or not a bank" in refusal(bank_path)


class Trap:
    """A pickle of it makes a folder when it is loaded."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("dump", [pickle.dumps, None], ids=["pickle", "torch.save"])
def test_a_pickle_is_refused_and_never_run(
    tmp_path: Path, dump: Callable[[object], bytes] | None
) -> None:
    path, sprung = tmp_path / "bank.st", tmp_path / "sprung"
    if dump:
        path.write_bytes(dump(Trap(sprung)))
    else:
        torch.save(Trap(sprung), path)
    assert "damaged or not a bank" in refusal(path)
    assert not sprung.exists()


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes_are_refused(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "bank.st"
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(256, (100 + 1000 * seed,), generator=generator, dtype=torch.uint8)
    path.write_bytes(noise.numpy().tobytes())
    assert "damaged or not a bank" in refusal(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bank.st"
    path.touch()
    assert "damaged or not a bank" in refusal(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_foreign_safetensors_file_is_no_bank(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"keys.0": torch.zeros(3, 3)}, path, metadata)
    assert "no bank" in refusal(path)


def test_a_missing_file_is_told_with_how_to_make_one(tmp_path: Path) -> None:
    assert "fapm build" in refusal(tmp_path / "none.st")


def test_a_folder_is_no_bank(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


def change(path: Path, name: str, edit: Callable[[Tensor], Tensor]) -> str:
    """Change one tensor of a bank's file, and read it."""
    header, tensors = read_parts(path)
    tensors[name] = edit(tensors[name])
    path.write_bytes(save(tensors, {FORMAT: json.dumps(header)}))
    return refusal(path)


def put(place: int, value: float) -> Callable[[Tensor], Tensor]:
    def edit(tensor: Tensor) -> Tensor:
        tensor.view(-1)[place] = value
        return tensor

    return edit


PARTS = ["keys", "key_counts", "key_pictures", "key_cells", "radius_sq", "widened"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("layer", [0, 1])
def test_a_tensor_of_another_shape_is_refused(bank_path: Path, part: str, layer: int) -> None:
    for edit in (lambda t: t[:-1], lambda t: t.unsqueeze(0), lambda t: t.flatten()[0]):
        data = bank_path.read_bytes()
        message = change(bank_path, f"{part}.{layer}", lambda t, e=edit: e(t).clone())  # type: ignore[misc]
        assert "damaged" in message
        assert "shape" in message or "add up" in message
        bank_path.write_bytes(data)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("dtype", "said"),
    [(torch.float64, " is float64"), (torch.int16, ".1: I16"), (torch.uint8, " is uint8")],
)
def test_a_tensor_of_another_dtype_is_refused(
    bank_path: Path, part: str, dtype: torch.dtype, said: str
) -> None:
    message = change(bank_path, f"{part}.1", lambda t: t.to(dtype))
    assert f"{part}{said}" in message


@pytest.mark.parametrize(
    "counts",
    [
        [4, 8, 4, 4, 8, 5],
        [4, 8, 4, 4, 8, 3],
        [0, 8, 8, 4, 8, 4],
        [-4, 8, 12, 4, 8, 4],
        [2**62, 2**62, 2**62, 2**62, 16, 16],
    ],
)
def test_key_counts_that_do_not_add_up_are_refused(bank_path: Path, counts: list[int]) -> None:
    assert "key_counts" in change(bank_path, "key_counts.0", lambda _: torch.tensor(counts))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key_pictures.0", 3),
        ("key_pictures.1", -1),
        ("key_cells.0", 96),
        ("key_cells.1", 24),
        ("key_cells.1", -1),
    ],
)
def test_an_index_out_of_range_is_refused(bank_path: Path, name: str, value: int) -> None:
    message = change(bank_path, name, put(5, value))
    assert f"{name.split('.')[0]} out of range" in message


@pytest.mark.parametrize("name", ["keys.0", "keys.1", "radius_sq.0"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_refused(bank_path: Path, name: str, value: float) -> None:
    assert "not finite" in change(bank_path, name, put(3, value))


@pytest.mark.parametrize(
    ("name", "value"), [("keys.0", 1.1e6), ("keys.1", -1.1e6), ("radius_sq.0", -0.1)]
)
def test_a_value_out_of_range_is_refused(bank_path: Path, name: str, value: float) -> None:
    assert "values out of range" in change(bank_path, name, put(3, value))


def test_keys_of_no_channels_are_refused(bank_path: Path) -> None:
    assert "damaged" in change(bank_path, "keys.0", lambda keys: keys[:, :0].clone())


def test_a_calibration_that_does_not_fit_the_finest_map_is_refused(bank_path: Path) -> None:
    data = bank_path.read_bytes()
    for edit in (lambda f: f.T.contiguous(), lambda f: f.double(), lambda f: f[:4, :6].clone()):
        assert "calibration: " in change(bank_path, "calibration", edit)
        bank_path.write_bytes(data)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_calibration_that_is_not_above_0_is_refused(bank_path: Path, value: float) -> None:
    assert "calibration out of range" in change(bank_path, "calibration", put(7, value))


def test_a_usual_light_of_another_kind_or_size_is_refused(bank_path: Path) -> None:
    data = bank_path.read_bytes()
    for edit in (lambda t: t.float(), lambda t: t[:32].clone(), lambda t: t[..., :1].clone()):
        assert "usual light: " in change(bank_path, "usual_light", edit)
        bank_path.write_bytes(data)


def test_a_missing_tensor_is_refused(bank_path: Path) -> None:
    header, tensors = read_parts(bank_path)
    for name in [name for name in tensors if not name.startswith("backbone.")]:
        rest = {other: value for other, value in tensors.items() if other != name}
        bank_path.write_bytes(save(rest, {FORMAT: json.dumps(header)}))
        assert "parts" in refusal(bank_path)


@pytest.mark.parametrize(
    "ends",
    [
        torch.tensor([5, 5]),
        torch.tensor([5, 9, 12], dtype=torch.int32),
        torch.tensor([[5, 9, 12]]),
        torch.tensor([-5, 5, 2**62]),
        torch.tensor([0, 0, 0]),
    ],
)
def test_thumbnail_ends_of_another_kind_are_refused(bank_path: Path, ends: Tensor) -> None:
    assert "thumbnail_ends" in change(bank_path, "thumbnail_ends", lambda _: ends)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("step", [-(2**40), -(10**5), 10**5, 2**40])
def test_thumbnail_ends_that_do_not_add_up_are_refused(
    bank_path: Path, place: int, step: int
) -> None:
    def move(ends: Tensor) -> Tensor:
        ends[place] += step
        return ends

    assert "thumbnail_ends don't add up" in change(bank_path, "thumbnail_ends", move)


def test_thumbnails_of_another_kind_or_size_are_refused(bank_path: Path) -> None:
    _, tensors = read_parts(bank_path)
    second = int(tensors["thumbnail_ends"][0])
    data = bank_path.read_bytes()
    for place in (0, 15, 21, 23, second, second + 24):
        assert "no lossless WebP of the input's size" in change(
            bank_path, "thumbnails", put(place, 7)
        )
        bank_path.write_bytes(data)
    assert "thumbnails: " in change(bank_path, "thumbnails", lambda t: t.float())


def test_a_thumbnail_longer_than_any_of_its_size_is_refused(bank_path: Path) -> None:
    header, tensors = read_parts(bank_path)
    padding = torch.zeros(200_000, dtype=torch.uint8)
    tensors["thumbnails"] = torch.cat([tensors["thumbnails"], padding])
    tensors["thumbnail_ends"][2] += len(padding)
    bank_path.write_bytes(save(tensors, {FORMAT: json.dumps(header)}))
    assert "thumbnail_ends don't add up" in refusal(bank_path)


def test_a_tensor_too_many_is_refused(bank_path: Path) -> None:
    header, tensors = read_parts(bank_path)
    for name in ("keys.2", "extra"):
        more = {**tensors, name: tensors["keys.0"].clone()}
        bank_path.write_bytes(save(more, {FORMAT: json.dumps(header)}))
        assert "parts" in refusal(bank_path)


def with_header(path: Path, text: str) -> str:
    """Change a bank's header, and read it."""
    path.write_bytes(save(read_parts(path)[1], {FORMAT: text}))
    return refusal(path)


def test_a_bank_of_a_future_version_says_to_update(bank_path: Path) -> None:
    header, _ = read_parts(bank_path)
    message = with_header(bank_path, json.dumps({**header, "version": 6, "config": "unheard of"}))
    assert "version 6" in message
    assert "update fapm" in message


@pytest.mark.parametrize("text", ["", "{", "null", "[1]", '"version"', "{}", "[" * 10_000])
def test_a_header_that_is_no_json_object_is_refused(bank_path: Path, text: str) -> None:
    assert "damaged (its header)" in with_header(bank_path, text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config", None),
        ("config", []),
        ("config", {}),
        ("map_sizes", []),
        ("map_sizes", [[8, 12]]),
        ("map_sizes", [[8, 12], [4, 6], [4, 6]]),
        ("map_sizes", [[8, 12], [4, 7]]),
        ("map_sizes", [[8, 12], [0, 6]]),
        ("map_sizes", [[8, 12], [-4, -6]]),
        ("map_sizes", [[8, 12], [4, "x"]]),
        ("map_sizes", 5),
        ("versions", 5),
        ("thresholds", None),
        ("thresholds", {}),
        ("thresholds", {"score": 1.0}),
        ("thresholds", [1.0, 1.0, None, "rate", 0.1, 3, 0]),
        ("previous_thresholds", 5),
        ("previous_thresholds", {}),
        ("place_share", -0.1),
        ("place_share", 1.1),
        ("place_share", float("nan")),
        ("place_share", [0.5]),
        ("map_sizes", [[float("inf"), 1]] * 2),
        ("light", None),
        ("light", 5),
        ("light", {}),
        ("likeness", 0.5),
        ("light", {"levels": [], "spreads": [], "gains": [], "gammas": []}),
    ],
)
def test_a_header_field_that_makes_no_sense_is_refused(
    bank_path: Path, name: str, value: object
) -> None:
    header, _ = read_parts(bank_path)
    assert "damaged" in with_header(bank_path, json.dumps({**header, name: value}))


@pytest.mark.parametrize(
    "name",
    [
        *("config", "map_sizes", "place_share", "thresholds", "versions", "weights"),
        *("weights_hash", "previous_thresholds"),
    ],
)
def test_a_missing_header_field_is_refused_by_name(bank_path: Path, name: str) -> None:
    header, _ = read_parts(bank_path)
    del header[name]
    assert f"damaged ({name})" in with_header(bank_path, json.dumps(header))


@pytest.mark.parametrize(
    ("field", "value"),
    [("score", float("nan")), ("score", "1"), ("num_above", 4), ("method", "magic"), ("more", 1)],
)
def test_thresholds_that_make_no_sense_are_refused(
    bank_path: Path, field: str, value: object
) -> None:
    header, _ = read_parts(bank_path)
    header["thresholds"][field] = value
    assert "damaged" in with_header(bank_path, json.dumps(header))


def test_an_option_out_of_range_in_the_header_is_a_bank_error(bank_path: Path) -> None:
    header, _ = read_parts(bank_path)
    header["config"]["query"]["reach"] = 99
    assert "reach 99" in with_header(bank_path, json.dumps(header))


def test_no_damaged_byte_of_the_header_gets_past_as_another_error(bank_path: Path) -> None:
    data = bank_path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    generator = torch.Generator().manual_seed(0)
    messages = []
    for place in torch.randint(end, (300,), generator=generator).tolist():
        wrong = bytes([data[place] ^ 1 << place % 8])
        bank_path.write_bytes(data[:place] + wrong + data[place + 1 :])
        try:
            load_bank(bank_path)  # a letter of a name may be another
        except BankError as error:
            messages.append(str(error))
    assert len(messages) > 150
    assert not any("\n" in message for message in messages)


# --- Writing -----------------------------------------------------------------------------------


def disk_full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    bank_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = bank_path.read_bytes()
    monkeypatch.setattr(os, step, disk_full)
    with pytest.raises(OutputError) as raised:
        save_bank(small_bank(seed=1), bank_path)
    monkeypatch.undo()
    assert (
        str(raised.value)
        == f"can't write {bank_path}: No space left on device; nothing was changed"
    )
    assert bank_path.read_bytes() == before
    assert os.listdir(bank_path.parent) == [bank_path.name]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_first_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(os, step, disk_full)
    with pytest.raises(OutputError):
        save_bank(small_bank(), tmp_path / "bank.st")
    assert os.listdir(tmp_path) == []


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    bank_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = bank_path.read_bytes()
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_bank(small_bank(seed=1), bank_path)
    assert bank_path.read_bytes() == before
    assert os.listdir(bank_path.parent) == [bank_path.name]


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        save_bank(small_bank(), tmp_path / "none" / "bank.st")


def test_writing_replaces_the_old_bank_whole(bank_path: Path) -> None:
    save_bank(small_bank(seed=1), bank_path)
    assert bank_path.read_bytes() == bank_bytes(small_bank(seed=1))
    assert os.listdir(bank_path.parent) == [bank_path.name]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_bank_has_the_permissions_of_any_new_file(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "bank.st"
    before = os.umask(mask)
    try:
        save_bank(small_bank(), path)
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_a_name_as_long_as_the_file_system_allows_can_be_written(tmp_path: Path) -> None:
    save_bank(small_bank(), tmp_path / ("b" * 252 + ".st"))
