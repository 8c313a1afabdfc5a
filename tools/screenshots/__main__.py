"""Takes the pictures of the console in docs/: `python -m tools.screenshots [--weights FILE]`, in some three minutes.

Runs the demo on pictures that it draws itself, writes rows that fail, goes through the pages with Debian's Chromium
while images come in, and saves what it shows as small PNG files. No picture of anybody's is shown.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import count, islice
from pathlib import Path
from typing import Literal

import psycopg2
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = "/usr/bin/chromium"
PATIENCE = 30_000
"""Milliseconds for all thumbnails."""
LARGEST_BYTES = 150_000
PICTURES = 96
LIVELY_SECONDS = 100.0
DESKTOP: ViewportSize = {"width": 1180, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
NUMBERS = count(10_000)
"""Ids of images that come in while the page is looked at."""
WEB_BASE = re.compile(r"pictures: (\S+)")
CONSOLE_BASE = re.compile(r"console:\s+(\S+)")
DSN = re.compile(r"psql '([^']+)'")


@dataclass(frozen=True)
class Stage:
    """A demo that stays up: where its database, its pictures and its console are."""

    dsn: str
    pictures: str
    console: str

    def insert(self, locations: dict[int, str]) -> None:
        with closing(psycopg2.connect(self.dsn)) as session, session, session.cursor() as cursor:
            cursor.executemany("INSERT INTO ecai.tb_image (id, url) VALUES (%s, %s)", list(locations.items()))

    def locations(self) -> list[str]:
        with closing(psycopg2.connect(self.dsn)) as session, session, session.cursor() as cursor:
            cursor.execute("SELECT url FROM ecai.tb_image WHERE id <= %s ORDER BY id", (PICTURES,))
            return [url for (url,) in cursor.fetchall()]


@contextmanager
def demo(weights: str | None) -> Iterator[Stage]:
    """The demo, until this ends."""
    command = [sys.executable, "-m", "daemon", "demo", "--serve", "--count", str(PICTURES)]
    command += ["--weights", weights] if weights else []
    with tempfile.TemporaryDirectory(prefix="vectord-screenshots-") as state:
        environment = {**os.environ, "VECTORD_DATABASE__STATE_DIR": state, "VECTORD_HTTP__PORT": "0"}
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own demo
            try:
                yield _stage(process)
            finally:
                process.terminate()


def _stage(process: "subprocess.Popen[str]") -> Stage:
    said = ""
    for line in process.stdout or ():
        said += line
        if found := CONSOLE_BASE.search(said):
            return Stage(DSN.findall(said)[0], WEB_BASE.findall(said)[0], found[1])
    raise SystemExit(f"the demo ended:\n{said}")


def fail(stage: Stage) -> None:
    """Writes images that come to no vector, each for a reason of its own."""
    gone = {n: f"{stage.pictures}/moved/{n}.jpg" for n in range(2001, 2008)}
    private = {n: f"http://10.20.0.{n - 2000}/{n}.png" for n in range(2011, 2014)}
    refused = {n: f"http://127.0.0.1:9/{n}.webp" for n in range(2021, 2024)}
    signed = {2031: "https://shop:secret@192.0.2.7/a.jpg?signature=d34db33f", 2041: f"{stage.pictures}/"}
    stage.insert(gone | private | refused | signed)


def enliven(stage: Stage, seconds: float) -> None:
    """Writes images, now more and now fewer, as an application would."""
    locations, end = stage.locations(), time.monotonic() + seconds
    dice = random.Random(7)  # noqa: S311 - the same each time
    while time.monotonic() < end:
        numbers = list(islice(NUMBERS, dice.randint(4, 40)))
        stage.insert({number: f"{dice.choice(locations)}?{number}" for number in numbers})
        time.sleep(dice.uniform(0.3, 1.6))


@contextmanager
def page(browser: Browser, size: ViewportSize, scheme: Literal["light", "dark"]) -> Iterator[Page]:
    """A window of this size."""
    context = browser.new_context(viewport=size, color_scheme=scheme, locale="en-GB", reduced_motion="reduce")
    yield context.new_page()
    context.close()


def show(shown: Page, stage: Stage, place: str, ready: str) -> None:
    """Goes to a page of the console and waits until it has what it shows."""
    shown.goto(f"{stage.console}#/{place}")
    shown.locator(ready).first.wait_for()
    shown.locator("#badge").wait_for()
    expect(shown.locator(".thumb.loading")).to_have_count(0, timeout=PATIENCE)
    shown.wait_for_timeout(2_500)


def _show_now(shown: Page, stage: Stage, name: str) -> None:
    show(shown, stage, "now", "#figure-images")
    enliven(stage, 5.0)
    save(shown, name)


def save(shown: Page, name: str) -> None:
    """Raises `SystemExit` for a file that is too large for docs/."""
    with Image.open(BytesIO(shown.screenshot())) as image:
        colours = image.convert("RGB")
    files = (_png(one) for one in (colours, colours.quantize(256, kmeans=2)))
    content = next((file for file in files if len(file) <= LARGEST_BYTES), None)
    if content is None:
        raise SystemExit(f"{name} would have more than {LARGEST_BYTES:,} bytes")
    path = ROOT / "docs" / f"console-{name}.png"
    path.write_bytes(content)
    print(f"{path.relative_to(ROOT)}: {len(content):,} bytes")  # noqa: T201 - the command's output


def _png(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> None:
    """Takes them all."""
    parser = argparse.ArgumentParser(description="Takes the pictures of the console in docs/.")
    parser.add_argument("--weights", help="Keras weights; without, as the demo finds them")
    weights = parser.parse_args().weights
    with demo(weights) as stage, sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        fail(stage)
        with page(browser, DESKTOP, "dark") as shown:
            show(shown, stage, "look/5", ".hit")
            save(shown, "look")
            show(shown, stage, "image/5", "#vector")
            save(shown, "image")
        with page(browser, DESKTOP, "light") as shown:
            show(shown, stage, "failures", "#failed tr[data-image]")
            save(shown, "failures")
        enliven(stage, LIVELY_SECONDS)
        with page(browser, DESKTOP, "light") as shown:
            _show_now(shown, stage, "now")
        with page(browser, PHONE, "dark") as shown:
            _show_now(shown, stage, "phone")
        browser.close()


if __name__ == "__main__":
    main()
