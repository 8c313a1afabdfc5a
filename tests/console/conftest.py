"""A headless Chromium, a whole daemon behind the page, and what every test of the console holds it to."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect, sync_playwright

from daemon.wiring import Daemon

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE = 60_000
"""Milliseconds that the page may take to come to say what it should."""
VIOLATION = """document.addEventListener("securitypolicyviolation",
    (event) => console.error(`CSP ${event.violatedDirective} ${event.blockedURI}`))"""
HARMLESS = re.compile(r"Failed to load resource: (the server responded with a status of|net::ERR_)")
"""What Chromium itself says of an answer that is not 200, or of none: tests bring these about."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Skips where it is not installed; in CI that is a failure.

    Not for the session: while Playwright is there, this thread has a running event loop, and `asyncio.run` refuses.
    """
    if not CHROMIUM.exists():
        missing = f"Chromium (Debian: chromium) is missing: there is no {CHROMIUM}"
        assert "CI" not in os.environ, missing
        pytest.skip(missing)
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page of the console, and what went wrong in it that nobody would see."""

    page: Page
    base: str
    wrong: list[str] = field(default_factory=list)

    def go(self, place: str) -> Page:
        """To a page of the console: "now", "failures", "look/5", "image/5"."""
        self.page.goto(f"{self.base}/#/{place}")
        return self.page


@contextmanager
def visiting(browser: Browser, base: str, **options: Any) -> Iterator[Visit]:
    """A fresh profile in which every script error, policy violation and dialog is noted, and none is allowed."""
    context = browser.new_context(**{"locale": "en-GB", "reduced_motion": "reduce"} | options)
    context.add_init_script(VIOLATION)
    page = context.new_page()
    visit = Visit(page, base)
    page.on("pageerror", lambda error: visit.wrong.append(f"error: {error}"))
    page.on("console", lambda message: _note(visit, message.type, message.text))
    page.on("dialog", lambda dialog: _note_dialog(visit, dialog))
    page.on("request", lambda request: _note_stranger(visit, request.url))
    try:
        yield visit
        assert visit.wrong == []
    finally:
        context.close()


def _note(visit: Visit, kind: str, text: str) -> None:
    if kind in {"error", "warning"} and not HARMLESS.search(text):
        visit.wrong.append(f"{kind}: {text}")


def _note_dialog(visit: Visit, dialog: Dialog) -> None:
    visit.wrong.append(f"dialog: {dialog.message}")
    dialog.dismiss()


def _note_stranger(visit: Visit, url: str) -> None:
    if not url.startswith((visit.base, "blob:")):
        visit.wrong.append(f"request: {url}")


Visits = Callable[..., Visit]


@pytest.fixture
def visits(browser: Browser, daemon: Daemon) -> Iterator[Visits]:
    """Makes visits, each in a profile of its own."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(visiting(browser, daemon.address, **options))


@pytest.fixture
def visit(visits: Visits) -> Visit:
    return visits()
