"""The report: one page that needs nothing else, holds what was judged, and works in a browser."""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import json
import re
import shlex
import shutil
import time
from dataclasses import replace
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from browsers import browser, opened
from conftest import GOOD, ONE_BAD, ONE_GOOD, SAMPLES, assert_fails, build, fapm
from helpers import small_bank
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fapm_cli.bank.file import load_bank
from fapm_cli.drawing.heatmap import STRONGEST, Caption, draw_heatmap
from fapm_cli.drawing.report import ReportPage
from fapm_cli.drawing.report_pictures import heat_size
from fapm_cli.errors import OutputError
from fapm_cli.files import one_line, write_atomically
from fapm_cli.scores.thresholds import UNSET

__all__ = ["browser"]

HOSTILE = [
    "</script><script>document.title='broken out'</script>",
    "<!-- <script> .png",
    "<!-- index -->",
    "quotes \" ' ` ${1} &amp; &lt;",
    "line\nbreak\r\u2028.png",
    "no UTF-8 \udcff.png",
    "right to left \u202egnp.exe",
]


class Page(HTMLParser):
    """A page's blocks of JSON by id, its scripts and its attributes."""

    def __init__(self, html: bytes):
        super().__init__()
        self.html = html
        self.texts: dict[str, str] = {}
        self.num_scripts = 0
        self.addresses: list[str | None] = []
        self._id: str | None = None
        self.feed(html.decode("utf-8"))
        self.close()
        self.blocks = {name: json.loads(text) for name, text in self.texts.items()}
        self.index = self.blocks.pop("index")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [given[key] for key in ("src", "href", "action") if key in given]
        if tag == "script":
            self._id = given.get("id")
            self.num_scripts += self._id is None

    def handle_endtag(self, tag: str) -> None:
        self._id = None

    def handle_data(self, data: str) -> None:
        if self._id is not None:
            self.texts[self._id] = self.texts.get(self._id, "") + data

    def image(self, block: str, key: str) -> Image.Image:
        return Image.open(io.BytesIO(base64.b64decode(self.blocks[block][key], validate=True)))


@pytest.fixture(scope="module")
def page_path(bank: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of all test samples."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        result = fapm("heatmap", bank, SAMPLES / "test", "--html", path)
    assert (result.code, result.out, result.err) == (0, f"{path}\n", "")
    return path


@pytest.fixture(scope="module")
def page(page_path: Path) -> Page:
    return Page(page_path.read_bytes())


def small_report(**changes: Any) -> ReportPage:
    options = {"name": "bank.st", "calm": 1.0, "threshold": 0.5, "comparable": True, **changes}
    options["path"] = Path(options.pop("name"))
    thresholds = UNSET.at(options.pop("threshold"))
    if "review" in options:
        thresholds = replace(thresholds, review=options.pop("review"), review_rate=0.2)
    options["thresholds"] = thresholds
    return ReportPage(small_bank(), **options)


def add(
    report: ReportPage, name: str = "a.png", size: tuple[int, int] = (60, 40), **more: Any
) -> None:
    """Add a grey picture; sizes are width and height."""
    scores = np.linspace(0.5, 3, size[0] * size[1], dtype=np.float32).reshape(size[::-1])
    located = {
        "score": 1.25,
        "layer_scores": {"layer2": 1.0},
        "peak": {"x": size[0] - 1, "y": size[1] - 1},
        "nearest": {"name": name, "picture": 1, "input_x": 0, "input_y": 63},
        **more,
    }
    report.add(Path(name), Image.new("RGB", size, (128, 128, 128)), located, scores)


def written(report: ReportPage, folder: Path) -> Page:
    report.write(folder / "page.html")
    return Page((folder / "page.html").read_bytes())


# --- What is in it -----------------------------------------------------------------------------


def test_page_names_no_address_outside_itself_and_forbids_the_network(page: Page) -> None:
    assert page.addresses == ["data:,"]
    assert not re.search(rb"https?:|//[a-z]+\.[a-z]|@import|url\((?!#)", page.html)
    assert b"default-src 'none'; img-src data:;" in page.html
    assert page.num_scripts == 1


def test_page_holds_what_score_says_in_the_order_given(page: Page, bank: Path) -> None:
    records = fapm("score", bank, SAMPLES / "test", "--json").json
    held = page.index["pictures"]
    assert [p["path"] for p in held] == [r["path"] for r in records]
    assert [p["score"] for p in held] == [r["score"] for r in records]
    assert [p["at"] for p in held] == [[r["peak"]["x"], r["peak"]["y"]] for r in records]
    assert [p["near"]["name"] for p in held] == [r["nearest"]["name"] for r in records]
    assert page.index["errors"] == []


def test_page_says_which_bank_and_when(page: Page, bank: Path) -> None:
    assert page.index["made"] == "2023-11-14 22:13 UTC"
    assert page.index["digest"] == hashlib.sha256(bank.read_bytes()).hexdigest()
    assert (page.index["bank"], page.index["bank_path"]) == (bank.name, str(bank))


def test_time_is_that_of_the_report() -> None:
    before = time.time() - 60
    made = datetime.strptime(small_report()._head["made"], "%Y-%m-%d %H:%M UTC")
    assert before <= made.replace(tzinfo=timezone.utc).timestamp() <= time.time()


def test_slider_starts_at_the_banks_threshold(page: Page, bank: Path) -> None:
    assert len(page.index["nominal"]) == 12
    assert page.index["threshold"] == load_bank(bank).thresholds.score


def test_threshold_option_says_where_the_slider_starts(bank: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    assert fapm("heatmap", bank, ONE_BAD, "--html", path, "--threshold", 1.25).code == 0
    assert Page(path.read_bytes()).index["threshold"] == 1.25


def test_good_scores_are_left_out_where_pictures_are_scored_in_another_way(
    bank: Path, tmp_path: Path
) -> None:
    path = tmp_path / "r.html"
    assert fapm("heatmap", bank, ONE_BAD, "--html", path, "--sigma", 2).code == 0
    assert Page(path.read_bytes()).index["nominal"] == []


def test_every_picture_and_every_nearest_one_has_its_images_once(page: Page) -> None:
    held = page.index["pictures"]
    nearest = {f"nominal-{p['near']['picture']}" for p in held}
    assert set(page.blocks) == {f"picture-{i}" for i in range(len(held))} | nearest
    assert page.html.count(b'type="application/json"') == len(page.blocks) + 1
    assert page.image("picture-0", "picture").size == (320, 320)
    assert page.image(min(nearest), "picture").size == (224, 224)


def test_spot_is_cut_around_the_peak_at_the_pictures_own_size(page: Page) -> None:
    for number, held in enumerate(page.index["pictures"]):
        left, top, width, height = held["spot"]
        assert left <= held["peak"][0] <= left + width
        assert top <= held["peak"][1] <= top + height
        found = np.asarray(page.image(f"picture-{number}", "spot")).astype(int)
        x, y = round(left * 320), round(top * 320)
        own = np.asarray(Image.open(held["path"]))[y : y + 80, x : x + 80].astype(int)
        assert np.abs(found - own).mean() < 4


@given(
    size=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    place=st.tuples(*[st.floats(0, 1)] * 2),
)
@settings(max_examples=30)
def test_windows_lie_inside_and_show_the_same_share_of_both_pictures(
    size: tuple[int, int], place: tuple[float, float]
) -> None:
    report = small_report()
    peak = {"x": int(place[0] * (size[0] - 1)), "y": int(place[1] * (size[1] - 1))}
    near = {"name": "n", "picture": 0, "input_x": peak["x"] % 96, "input_y": peak["y"] % 64}
    add(report, size=size, peak=peak, nearest=near)
    (held,) = report._pictures
    for window, at in ((held["spot"], held["peak"]), (held["near"]["window"], held["near"]["at"])):
        for first, side, centre in zip(window[:2], window[2:], at, strict=True):
            assert 0 <= first <= first + side <= 1 + 1e-9
            assert first <= centre <= first + side
    assert held["spot"][2:] == held["near"]["window"][2:]


def test_bank_without_thumbnails_gives_the_nearest_pictures_name_alone(tmp_path: Path) -> None:
    bank = build(tmp_path / "b.st", GOOD[:4], "--no-thumbnails")
    assert fapm("heatmap", bank, ONE_BAD, "--html", tmp_path / "r.html").code == 0
    page = Page((tmp_path / "r.html").read_bytes())
    assert set(page.blocks) == {"picture-0"}
    assert set(page.index["pictures"][0]["near"]) == {"name", "at"}


def test_colours_are_the_heatmaps(tmp_path: Path) -> None:
    report = small_report()
    add(report)  # below 96 px, a heatmap has neither caption nor ring
    page = written(report, tmp_path)
    assert page.index["scale"]["opacity"] == STRONGEST
    heat = np.asarray(page.image("picture-0", "heat").convert("RGBA")).astype(float)
    share = heat[..., 3:] / 255 * STRONGEST
    scores = np.linspace(0.5, 3, 2400, dtype=np.float32).reshape(40, 60)
    wanted = Image.new("RGB", (60, 40), (128, 128, 128))
    draw_heatmap(wanted, [(0, scores)], 1.0, (0, 0), Caption(1.0))
    page_shows = 128 * (1 - share) + heat[..., :3] * share  # 256 levels
    assert np.abs(page_shows - np.asarray(wanted)).max() <= 4
    assert (share[scores < 1] == 0).all()


def test_what_a_cropping_bank_does_not_look_at_is_hatched(paper_bank: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    assert fapm("heatmap", paper_bank, ONE_GOOD, "--html", path).code == 0
    page = Page(path.read_bytes())
    shown = np.asarray(page.image("picture-0", "picture")).astype(int)
    differs = np.abs(shown - np.asarray(Image.open(ONE_GOOD)).astype(int)).mean(axis=-1)
    assert differs[:18].mean() > 10 > 2 > differs[24:-24, 24:-24].mean()
    # A quarter of 256 px is more of the 224 px that the bank's own pictures are.
    assert page.index["pictures"][0]["near"]["window"][2:] == pytest.approx([64 / 224] * 2)


def test_large_pictures_are_held_small(tmp_path: Path) -> None:
    report = small_report()
    add(report, size=(1500, 1000))
    page = written(report, tmp_path)
    assert page.image("picture-0", "picture").size == (512, 341)
    assert page.image("picture-0", "spot").size == (192, 192)
    assert heat_size((1000, 1500)) == (171, 256)
    assert heat_size((3, 100_000)) == (1, 256)


def test_regions_are_held_as_shares_of_the_picture(tmp_path: Path) -> None:
    report = small_report()
    add(report, regions=[{"x": 15, "y": 10, "width": 30, "height": 4, "score": 2.0}])
    assert written(report, tmp_path).index["pictures"][0]["boxes"] == [[0.25, 0.25, 0.5, 0.1]]


@given(st.text(st.characters(exclude_characters="\0/")).filter(lambda text: text.strip(".")))
@settings(max_examples=60)
def test_no_name_breaks_out_of_its_place(name: str) -> None:
    report = small_report(name=name)
    add(report, name)
    report.add_error(Path(name), name)
    page = Page(b"".join(report._page()))
    shown = one_line(name)
    assert page.index["bank"] == shown
    assert [p["path"] for p in page.index["pictures"]] == [shown]
    assert page.index["pictures"][0]["near"]["name"] == shown
    assert page.index["errors"] == [{"path": shown, "error": shown}]
    assert set(page.blocks) == {"picture-0", "nominal-1"}
    assert page.num_scripts == 1
    assert not any("<" in text for text in page.texts.values())


# --- The command -------------------------------------------------------------------------------


def test_files_and_report_come_from_one_run(bank: Path, tmp_path: Path) -> None:
    result = fapm("heatmap", bank, ONE_BAD, "-o", tmp_path, "--html", tmp_path / "r.html")
    assert result.out.splitlines() == [str(tmp_path / "000_heatmap.png"), str(tmp_path / "r.html")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000_heatmap.png", "r.html"]


def test_second_report_of_the_same_time_has_the_same_bytes(
    bank: Path, tmp_path: Path, page_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    fapm("heatmap", bank, SAMPLES / "test", "--html", tmp_path / "r.html")
    assert (tmp_path / "r.html").read_bytes() == page_path.read_bytes()


def test_unreadable_pictures_are_listed_and_the_rest_is_shown(bank: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    path = tmp_path / "r.html"
    result = fapm("heatmap", bank, ONE_BAD, tmp_path / "bad.png", ONE_BAD, "--html", path)
    assert_fails(result, "bad.png")
    index = Page(path.read_bytes()).index
    assert [p["path"] for p in index["pictures"]] == [str(ONE_BAD)] * 2
    assert [e["path"] for e in index["errors"]] == [str(tmp_path / "bad.png")]
    assert "not a picture" in index["errors"][0]["error"]


def test_report_is_written_where_no_picture_can_be_read(bank: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    assert_fails(fapm("heatmap", bank, tmp_path / "none.png", "--html", path), "does not exist")
    index = Page(path.read_bytes()).index
    assert (index["pictures"], len(index["errors"])) == ([], 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ["--output", "--html"]),
        (["--html", "r.html", "--map", "npy"], ["-o"]),
        (["--html", "r.html", "--mask", "--threshold", 1], ["-o"]),
        (["--html", "."], ["is a folder"]),
        (["--html", "no/r.html"], ["does not exist"]),
    ],
)
def test_what_cannot_be_written_is_refused_before_work(
    options: list[object], words: list[str], bank: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_fails(fapm("heatmap", bank, ONE_BAD, *options), *words)
    assert list(tmp_path.iterdir()) == []


def test_report_replaces_nothing_but_a_report(bank: Path, tmp_path: Path) -> None:
    for source, kind in ((bank, "a bank"), (ONE_BAD, "a picture")):
        copy = shutil.copy(source, tmp_path / source.name)
        given = [copy, ONE_GOOD] if source == bank else [bank, copy]
        assert_fails(fapm("heatmap", *given, "--html", copy), f"is {kind}, not a report of fapm")
        assert Path(copy).read_bytes() == source.read_bytes()
    for _ in range(2):
        assert fapm("heatmap", bank, ONE_GOOD, "--html", tmp_path / "r.html").code == 0


def test_write_that_fails_halfway_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    path.write_bytes(b"before")

    def parts() -> Any:
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        write_atomically(path, parts())
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


# --- In a browser ------------------------------------------------------------------------------


class Browse(Protocol):
    """Open a page of a report, and give the document that it made of itself."""

    def __call__(self, path: Path, fragment: str = "", until: str = ...) -> str: ...


DRAWN = "!document.querySelector('.card') || document.querySelector('.heat')"


@pytest.fixture
def browse(browser: Any) -> Browse:
    return lambda path, fragment="", until=DRAWN: opened(browser, path, fragment, until)


def groups(document: str) -> dict[str, list[float]]:
    """The scores that a document shows, by verdict, in order; cards agree with their group."""
    found = {}
    for name in ("anomalous", "review", "ok"):
        section = re.search(rf'<section id="{name}".*?</section>', document, re.DOTALL)
        assert section is not None
        cards = re.findall(
            r'class="badge (\w+)">(\w+)<.*?class="score">([\d.]+)<', section[0], re.DOTALL
        )
        assert all((style, text) == (name, name) for style, text, _ in cards)
        found[name] = [float(score) for _, _, score in cards]
    return found


@pytest.mark.parametrize("threshold", [None, 1.3, -1.0, 99.0])
def test_browser_judges_by_the_threshold_and_sorts_by_score(
    browse: Browse, threshold: float | None, page_path: Path, page: Page
) -> None:
    document = browse(page_path, "" if threshold is None else f"#threshold={threshold}")
    cut = page.index["threshold"] if threshold is None else threshold
    scores = sorted((p["score"] for p in page.index["pictures"]), reverse=True)
    wanted = {
        "anomalous": [s for s in scores if s > cut],
        "review": [],
        "ok": [s for s in scores if s <= cut],
    }
    shown = groups(document)
    assert shown.keys() == wanted.keys()
    for name, group in wanted.items():
        assert shown[name] == pytest.approx(group, rel=1e-3)
    assert f"{len(wanted['anomalous'])} of 20 pictures anomalous" in document
    for said in ("made", "bank", "version"):
        assert page.index[said] in document
    assert f"(SHA-256 {page.index['digest'][:12]}…)" in document
    over = sum(score > cut for score in page.index["nominal"])
    assert f"{over} of 12 good pictures of the bank lie above" in document


def test_browser_filters_orders_and_enlarges_as_the_address_says(
    browse: Browse, page_path: Path
) -> None:
    document = browse(page_path, "#show=ok&find=GOOD&sort=path&picture=3")
    shown = groups(document)
    assert shown["anomalous"] == []
    names = re.findall(r'class="name" title="([^"]+)"', document)
    assert names == sorted(str(p) for p in (SAMPLES / "test" / "good").iterdir())
    assert re.search(r"<dialog[^>]* open", document)
    assert re.search(r'id="large-name">[^<]*good/000.jpg<', document)


def test_browser_shows_what_colours_mean(browse: Browse, tmp_path: Path) -> None:
    report = small_report(threshold=1.0)
    add(report, score=1.5)
    written(report, tmp_path)
    document = browse(tmp_path / "page.html")
    legend = re.sub(r"<[^>]+>", " ", document[document.index('class="legend"') :])
    assert re.search(r"these pictures\s+good pictures of the bank", legend)
    low, high = (
        float(re.search(rf'id="scale-{end}"[^>]*>([\d.]+)', document)[1])  # type: ignore[index]
        for end in ("from", "to")
    )
    assert high == pytest.approx(2 * low, rel=0.01)
    assert re.search(r'id="scale"[^>]*style="[^"]*linear-gradient\(90deg, rgb', document)


def test_browser_parts_what_is_for_review(browse: Browse, tmp_path: Path) -> None:
    report = small_report(threshold=2.0, review=1.0)
    for score in (2.5, 1.5, 0.5):
        add(report, score=score)
    written(report, tmp_path)
    assert groups(browse(tmp_path / "page.html")) == {
        "anomalous": [2.5],
        "review": [1.5],
        "ok": [0.5],
    }
    moved = groups(browse(tmp_path / "page.html", "#threshold=1.2"))
    assert moved == {"anomalous": [2.5, 1.5], "review": [], "ok": [0.5]}


def test_browser_shows_hostile_names_as_text(browse: Browse, tmp_path: Path) -> None:
    report = small_report(name=HOSTILE[0])
    for name in HOSTILE:
        add(report, name)
        report.add_error(Path(name), name)
    written(report, tmp_path)
    document = browse(tmp_path / "page.html")
    assert "<title>fapm report: " in document
    assert "broken out</title>" not in document
    titles = set(map(html.unescape, re.findall(r'class="name" title="([^"]*)"', document)))
    for name in HOSTILE:
        shown = one_line(name).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert one_line(name) in titles
        assert f"<li>{shown}</li>" in document


@pytest.mark.parametrize("count", [0, 1])
def test_browser_opens_a_report_of_hardly_anything(
    browse: Browse, count: int, tmp_path: Path
) -> None:
    report = small_report(comparable=False)
    for _ in range(count):
        add(report)
    report.add_error(Path("b.png"), "picture b.png is damaged")
    written(report, tmp_path)
    document = browse(tmp_path / "page.html")
    assert f"{count} of {count} pictures anomalous" in document
    assert document.count('class="card"') == count
    assert document.count('class="heat"') == count
    assert "picture b.png is damaged" in document


def with_script(path: Path, script: str) -> Path:
    """A copy of a page beside it that does something more once all is there."""
    target = path.with_name(f"{hashlib.sha256(script.encode()).hexdigest()[:8]}.html")
    more = f"<script>addEventListener('load', () => {{ {script} }});</script></body>"
    target.write_bytes(path.read_bytes().replace(b"</body>", more.encode()))
    return target


def copied(browse: Browse, path: Path, script: str) -> str:
    """What a page copies after a script."""
    document = browse(
        with_script(path, script), until="document.querySelector('#copied').textContent"
    )
    found = re.search(r'<textarea id="copied"[^>]*>(.*?)</textarea>', document, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


CLICK = "document.getElementById('{}').click();"


def test_browser_copies_a_command_that_judges_what_is_shown_again(
    browse: Browse, page_path: Path, bank: Path
) -> None:
    script = "change({find: 'stain', threshold: 1.1}); " + CLICK.format("copy-command")
    program, *arguments = shlex.split(copied(browse, page_path, script))
    stains = [str(p) for p in sorted((SAMPLES / "test" / "stain").iterdir())]
    assert program == "fapm"
    assert arguments[:5] == ["score", str(bank), "--threshold", "1.1", "--"]
    assert sorted(arguments[5:]) == stains
    assert [record["path"] for record in fapm("score", "--json", *arguments[1:]).json] == arguments[
        5:
    ]


def test_browser_copies_csv_of_the_chosen_pictures_as_score_writes_it(
    browse: Browse, page_path: Path, bank: Path
) -> None:
    choose = "document.querySelectorAll('.card input')[1].click(); "
    (row,) = csv.DictReader(
        io.StringIO(copied(browse, page_path, choose + CLICK.format("copy-csv")))
    )
    wanted = fapm("score", bank, row["path"], "--format", "csv").out
    (own,) = csv.DictReader(io.StringIO(wanted))
    assert float(row.pop("score")) == pytest.approx(float(own["score"]), rel=1e-6)
    assert float(row.pop("threshold")) == pytest.approx(float(own["threshold"]))
    assert row == {key: own[key] for key in row}


def test_browser_quotes_hostile_names_for_shell_and_csv(browse: Browse, tmp_path: Path) -> None:
    report = small_report(name="it's a bank.st")
    for name in HOSTILE:
        add(report, name)
    written(report, tmp_path)
    words = shlex.split(copied(browse, tmp_path / "page.html", CLICK.format("copy-command")))
    assert words[2] == "it's a bank.st"
    assert set(words[4:]) == {one_line(name) for name in HOSTILE}
    rows = csv.DictReader(
        io.StringIO(copied(browse, tmp_path / "page.html", CLICK.format("copy-csv"))), strict=True
    )
    assert {row["path"] for row in rows} == {one_line(name) for name in HOSTILE}


def test_browser_shortens_a_long_path_in_its_middle(browse: Browse, tmp_path: Path) -> None:
    name = f"line 7/{'deep/' * 30}shift 2/part_000123.png"
    report = small_report()
    add(report, name, unlike=True)
    written(report, tmp_path)
    document = browse(tmp_path / "page.html")
    found = re.search(r'class="name" title="([^"]+)">([^<]+)<', document)
    assert found is not None
    assert found[1] == name
    start, end = found[2].split("…")
    assert len(found[2]) <= 60
    assert name.startswith(start)
    assert name.endswith(end)
    assert "part_000123.png" in end
    assert "unlike the training pictures" in document


def layout(browse: Browse, path: Path, width: int, height: int) -> dict[str, Any]:
    """Where things lie in a page of a size: left, top, right and bottom in px."""
    script = """
        const at = (name) => { const r = document.querySelector(name).getBoundingClientRect();
                               return [r.left, r.top, r.right, r.bottom]; };
        parent.postMessage({panel: at('#controls'), card: at('.card'), key: at('.key'),
                            scrolls: document.documentElement.scrollWidth, width: innerWidth}, '*');
    """
    inner = with_script(path, script)
    frame = path.with_name("frame.html")
    frame.write_text(
        "<script>addEventListener('message', (e) => {"
        "document.body.dataset.found = JSON.stringify(e.data); });</script>"
        f'<iframe src="{inner.name}" style="width:{width}px;height:{height}px;border:0"></iframe>'
    )
    found = re.search(r'data-found="([^"]+)"', browse(frame, until="document.body.dataset.found"))
    assert found is not None
    said: dict[str, Any] = json.loads(html.unescape(found[1]))
    return said


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900), (2560, 1300)])
def test_browser_shows_pictures_and_controls_at_once_at_any_width(
    browse: Browse, width: int, height: int, page_path: Path
) -> None:
    found = layout(browse, page_path, width, height)
    assert found["width"] == width
    assert found["scrolls"] <= width
    panel, card = found["panel"], found["card"]
    if width < 900:
        assert panel[1] - card[1] > 300
        assert panel[3] == pytest.approx(height, abs=1)
    else:
        assert panel[2] < card[0]
        assert card[1] < 200
        assert panel[1] < 200
    assert card[2] <= width
