"""The operator's page, in a real browser: parts are seen, and sorted by mouse and by key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsers import browser
from conftest import ONE_BAD, ONE_GOOD, SAMPLES
from servers import Server, serving, until

from fapm_cli.finding.labels import read_labels

__all__ = ["browser"]

TOKEN = "a token of some length"
PRESS_G_AS_IT_COMES = """() => {
  const press = () => document.body.dispatchEvent(
    new KeyboardEvent("keydown", { key: "g", bubbles: true }));
  new MutationObserver(press).observe(document.getElementById("verdict"), { childList: true });
}"""


@pytest.fixture
def server(bank: Path, tmp_path: Path) -> Iterator[Server]:
    with serving({"bank": bank}, keep=tmp_path) as running:
        yield running


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """The page, connected; it asks nothing but its service, and nothing goes wrong in it."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    faults: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.extend([said.text] * (said.type == "error")))
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(15_000)
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_selector("#state:text('connected')")
    yield page
    page.close()
    assert faults == []
    own = (f"http://127.0.0.1:{server.port}/", f"blob:http://127.0.0.1:{server.port}/", "data:,")
    assert [address for address in asked if not address.startswith(own)] == []


def shown(page: Any) -> str:
    """The path of the picture that is looked at."""
    path: str = page.locator("#facts div", has_text="picture").locator("dd").inner_text()
    return path


def send(server: Server, picture: Path, name: str) -> None:
    assert server.ask("/banks/bank/score?name=" + name, picture.read_bytes(), {}).status == 200


def see(page: Any, name: str) -> None:
    page.wait_for_selector(f"#facts dd:text-is('{name}')")
    page.wait_for_function("() => document.getElementById('heatmap').src.startsWith('blob:')")


def test_twenty_parts_are_sorted_with_the_page_alone(
    page: Any, server: Server, tmp_path: Path
) -> None:
    parts = sorted((SAMPLES / "test").rglob("*.jpg"))
    assert len(parts) == 20
    for number, part in enumerate(parts):
        send(server, part, f"{number:02}-{part.parent.name}.jpg")
    see(page, f"19-{parts[19].parent.name}.jpg")
    page.locator("#filter label", has_text="undecided").click()
    page.locator("#strip button").first.click()  # the oldest; live is off
    for number, part in enumerate(parts):
        name = f"{number:02}-{part.parent.name}.jpg"
        see(page, name)
        decision = "good" if part.parent.name == "good" else "defect"
        if number % 2:
            page.keyboard.press(decision[0])
        else:
            page.click(f"[data-decision={decision}]")
        page.wait_for_selector(f"#decided:text('{name}: {decision}')") if number < 19 else None
    page.wait_for_selector("#nothing:text('No picture like that.')")
    labels = read_labels(tmp_path / "bank" / "decisions.jsonl")
    want = [part.read_bytes() for part in parts if part.parent.name == "good"]
    assert [one.read_bytes() for one in labels.good] == want
    assert (len(labels.good), len(labels.defect)) == (len(want), 20 - len(want))


def test_a_picture_is_shown_as_it_comes_with_its_heatmap_and_nearest_part(
    page: Any, server: Server
) -> None:
    send(server, ONE_BAD, "bad.jpg")
    see(page, "bad.jpg")
    assert page.inner_text("#verdict") == "anomalous"
    for what in ("heatmap", "picture", "nearest"):
        page.wait_for_function(f"() => document.getElementById('{what}').naturalWidth > 0")
    page.keyboard.press("l")
    send(server, ONE_GOOD, "good.jpg")
    page.wait_for_selector("#strip button.ok")
    assert shown(page) == "bad.jpg"
    page.keyboard.press("ArrowRight")
    see(page, "good.jpg")
    assert page.inner_text("#verdict") == "ok"


def test_a_decision_just_as_another_picture_comes_is_asked_again(
    page: Any, server: Server, tmp_path: Path
) -> None:
    send(server, ONE_BAD, "first.jpg")
    see(page, "first.jpg")
    page.evaluate(PRESS_G_AS_IT_COMES)
    send(server, ONE_GOOD, "second.jpg")
    page.wait_for_selector("#decided:text('Look again')")
    assert not (tmp_path / "bank" / "decisions.jsonl").exists()


def test_a_name_is_text_whatever_it_holds(page: Any, server: Server) -> None:
    name = "<img src=x onerror=alert(1)>&amp;.jpg"
    send(server, ONE_GOOD, "%3Cimg%20src=x%20onerror=alert(1)%3E%26amp;.jpg")
    page.wait_for_selector("#strip button")
    until(lambda: shown(page) == name)


def test_filters_show_what_they_say(page: Any, server: Server) -> None:
    send(server, ONE_BAD, "bad.jpg")
    send(server, ONE_GOOD, "good.jpg")
    see(page, "good.jpg")
    for word, name in (("anomalous", "bad.jpg"), ("ok", "good.jpg")):
        page.locator("#filter label", has=page.locator(f"[value={word}]")).click()
        see(page, name)
        assert page.locator("#strip button:visible").count() == 1
    page.locator("#filter label", has=page.locator("[value=error]")).click()
    page.wait_for_selector("#nothing:visible")


@pytest.mark.parametrize("size", [(1280, 800), (1024, 768), (768, 1024)])
def test_all_that_is_needed_is_in_view(page: Any, server: Server, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    send(server, ONE_BAD, "bad.jpg")
    see(page, "bad.jpg")
    for what in ("#heatmap", "#picture", "#nearest", "[data-decision=unsure]", "#newer", "#live"):
        box = page.locator(what).bounding_box()
        assert box["width"] > 30, what
        assert box["x"] + box["width"] <= size[0], what
        assert box["y"] + box["height"] <= size[1], what


def test_a_token_is_asked_for_once(browser: Any, bank: Path) -> None:
    with serving({"bank": bank}, token=TOKEN) as server:
        page = browser.new_page()
        page.set_default_timeout(15_000)
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.fill("#token", "another one of some length")
        page.keyboard.press("Enter")
        page.wait_for_selector("#state.bad")
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector("#state:text('connected')")
        assert page.locator("#ask").is_hidden()
        page.reload()
        page.wait_for_selector("#state:text('connected')")
        shown = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "image/jpeg"}
        server.ask("/banks/bank/score?name=a.jpg", ONE_GOOD.read_bytes(), shown)
        see(page, "a.jpg")
        assert page.locator("[data-decision=good]").is_disabled()  # nothing is kept
        page.close()
