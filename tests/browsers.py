"""A real browser for what a page does: Chromium by Playwright, where both are there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A running browser; a test that asks for it is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not on the path")
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


def opened(browser: Any, path: Path, fragment: str, until: str) -> str:
    """Open a page from disk, wait until an expression holds, and give the document as it is then.

    Frames come when they come, so what a test looks at is waited for. A page that says anything
    on its console, or fails, fails the test.
    """
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text))
    page.goto(f"{path.as_uri()}{fragment}")
    page.wait_for_function(f"() => {until}", timeout=60_000)
    document: str = page.content()
    page.close()
    assert said == []
    return document
