"""Pictures that do harm, among good ones: each ends with its own reason, and costs its neighbours nothing."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.faults.scene import Scene
from tests.pictures import picture
from tests.servers import Answer, Request, body, redirect, status

GOOD = 120
FLAWED = ("tests/faults/flawed.py",)


def encoded(image: Image.Image, kind: str) -> bytes:
    out = BytesIO()
    image.save(out, kind)
    return out.getvalue()


def bomb() -> bytes:
    """A few hundred kB that are 100 megapixels."""
    return encoded(Image.new("1", (10_000, 10_000)), "PNG")


def red() -> bytes:
    return encoded(Image.new("RGB", (64, 48), (250, 10, 10)), "PNG")


def drip(request: Request) -> None:
    """A whole picture, though not in this lifetime."""
    data = picture(1)
    request.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode())
    request.drip(data, 0.3)


POISON: dict[str, tuple[Answer, str]] = {
    "page.html": (body(b"<html>no picture</html>"), "not_an_image"),
    "empty.jpg": (body(b""), "empty_body"),
    "torn.jpg": (body(picture(4)[:4] + bytes(1000)), "corrupt_image"),
    "cut.jpg": (body(picture(5, (640, 480))[:2000]), "truncated"),
    "bomb.png": (body(bomb()), "too_many_pixels"),
    "away.jpg": (status(410), "gone"),
    "round.jpg": (redirect("/round.jpg"), "too_many_redirects"),
    "drip.jpg": (drip, "total_timeout"),
    "abort.jpg": (body(b"FAULT:abort"), "decoder_crash"),
    "hog.jpg": (body(b"FAULT:hog"), "decoder_memory"),
    "loop.jpg": (body(b"FAULT:loop"), "decoder_timeout"),
    "nan.png": (body(red()), "vector_not_finite"),
}


def test_each_poison_dies_alone_and_of_its_own_reason(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "engine").write_text("nan")
    daemon = scene.start(
        FLAWED,
        FAULTS_ENGINE=str(tmp_path / "engine"),
        LOADER_TEST_PLUGIN="loader_plugin",
        PYTHONPATH=f"{Path(__file__).parent}:{Path(__file__).parents[2]}",
        VECTORD_LOADER__TIMEOUT_SECONDS="5",
        VECTORD_LOADER__MEMORY_MB="512",
        VECTORD_FETCH__TOTAL_TIMEOUT="1",
    )
    with scene.fault(7, "poison of twelve kinds among good images") as fault:
        locations = {image: scene.gallery.location(image) for image in range(GOOD)}
        for number, (path, (answer, reason)) in enumerate(POISON.items()):
            scene.gallery.add(path, answer, dead=reason)
            locations[number * 10 + 1_000_000] = scene.gallery.location(number, path)
        locations[5] = scene.gallery.location(5, "gone.jpg")
        scene.write(locations)
        fault.note = "the loader that each of three had killed was replaced"
    assert daemon.health()["healthy"]
    assert daemon.stop() == 0


@pytest.mark.slow
def test_an_engine_short_of_memory_takes_smaller_batches(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "engine").write_text("memory 5")
    daemon = scene.start(FLAWED, FAULTS_ENGINE=str(tmp_path / "engine"), VECTORD_ENGINE__BACKEND="tensorflow")
    with scene.fault(7, "engine out of memory for batches of more than 5") as fault:
        scene.insert(range(GOOD))
        scene.wait_for_vectors(GOOD)
        fault.note = f"batches of {daemon.metric('vectord_batch_limit'):.0f}"
    assert daemon.metric("vectord_batch_limit") == 4
    assert daemon.metric("vectord_engine_out_of_memory_total") == 3
    assert daemon.stop() == 0


@pytest.mark.slow
def test_an_engine_without_memory_for_one_image_costs_no_attempt(scene: Scene, tmp_path: Path) -> None:
    sign = tmp_path / "engine"
    daemon = scene.start(FLAWED, FAULTS_ENGINE=str(sign), VECTORD_ENGINE__BACKEND="tensorflow")
    with scene.fault(7, "engine out of memory for a single image") as fault:
        sign.write_text("memory 0")
        scene.insert(range(GOOD))
        # Only a new process gets the device's memory back, and systemd starts one.
        assert daemon.process.wait(60) == 1
        assert daemon.heard("daemon.failed")
        leased = scene.number("FROM vectord.job WHERE lease_token NOTNULL OR attempts > 0")
        assert leased == 0, f"{leased} jobs are leased or charged"
        again = scene.launch(FLAWED, FAULTS_ENGINE=str(sign), VECTORD_ENGINE__BACKEND="tensorflow")
        # It does not get over its warm-up, so it claims nothing.
        assert again.process.wait(60) == 1
        assert "has too little memory for a single image" in again.wait_for("daemon.not_started")["error"]
        assert scene.number("FROM vectord.job WHERE attempts > 0") == 0
        sign.unlink()
        scene.start()
        fault.note = "the daemon ends; the next ones fail in their warm-up, until there is memory"
