"""Images that move, go, and come back while they are in work, at every stage."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults import barrier
from tests.faults.barrier import Barrier
from tests.faults.scene import Scene
from tests.faults.seams import frozen_loaders, lingering

IMAGES = 48
LEASED = "FROM vectord.job WHERE lease_token NOTNULL"
DELETE = "DELETE FROM ecai.tb_image WHERE id = ANY(%s)"


def change(scene: Scene) -> None:
    """Of every six images: one moves, one moves away and back, one goes, one goes and comes back, two stay."""
    by_rest = [list(range(rest, IMAGES, 6)) for rest in range(6)]
    scene.move(by_rest[0])
    scene.move(by_rest[1])
    scene.insert(by_rest[1])
    scene.tables.execute(DELETE, (by_rest[2],))
    scene.tables.execute(DELETE, (by_rest[3],))
    scene.insert(by_rest[3])


def test_while_claimed(scene: Scene) -> None:
    daemon = scene.start()
    with scene.fault(10, "images moved, deleted and re-inserted while claimed"), frozen_loaders(daemon):
        scene.insert(range(IMAGES))
        scene.wait(lambda: scene.number(LEASED) == IMAGES, "all claimed")
        change(scene)


def test_in_fetch(scene: Scene) -> None:
    scene.start()
    with scene.fault(10, "images moved, deleted and re-inserted while in fetch"), scene.gallery.holding() as held:
        scene.insert(range(IMAGES))
        held.wait_for(4)
        change(scene)


def test_in_decode(scene: Scene, tmp_path: Path) -> None:
    """Its loader hangs over the old location, which by then counts no more."""
    with lingering(tmp_path / "pipe") as decoding:
        scene.start(("-m", "daemon"), **decoding.variables, VECTORD_LOADER__TIMEOUT_SECONDS="2")
        scene.gallery.add("/slow.jpg", lambda request: request.reply(body=b"FAULT:linger"), dead="decoder_timeout")
        with scene.fault(10, "images moved and deleted while in decode"):
            scene.insert([0], "/slow.jpg")
            decoding.wait()
            change(scene)
            scene.insert(range(1, IMAGES))


def test_in_embed(scene: Scene, tmp_path: Path) -> None:
    sign = tmp_path / "halt"
    sign.touch()
    daemon = scene.start(("tests/faults/halting.py",), FAULTS_HALT=str(sign))
    with scene.fault(10, "images moved, deleted and re-inserted while in embed"):
        scene.insert(range(IMAGES))
        daemon.wait_for("test.halted")
        change(scene)
        sign.unlink()


@pytest.mark.parametrize("where", [barrier.CLAIM, barrier.STORE, barrier.COMMIT], ids=["claim", "store", "commit"])
def test_in_a_transaction(scene: Scene, where: str, request: pytest.FixtureRequest) -> None:
    """The application's statements wait for the daemon's locks, or not; it never gets an error."""
    at = Barrier(scene.dsn, where)
    scene.start()
    place = request.node.callspec.id
    with scene.fault(10, f"images moved, deleted and re-inserted in the transaction of the {place}"):
        changing = change_behind(scene, at)
        changing.result(60)


def change_behind(scene: Scene, at: Barrier) -> "Future[None]":
    """Lets the daemon go on when the application is through, or waits for one of its locks."""
    with ThreadPoolExecutor(1) as threads, at:
        scene.insert(range(IMAGES))
        at.wait_for_someone()
        changing = threads.submit(change, scene)
        wait_until_done_or_blocked(scene, changing.done)
        return changing


def wait_until_done_or_blocked(scene: Scene, done: Callable[[], bool]) -> None:
    blocked = "FROM pg_stat_activity WHERE application_name = '' AND cardinality(pg_blocking_pids(pid)) > 0"
    pause = threading.Event()
    while not done() and not scene.number(blocked):
        pause.wait(0.02)


@pytest.mark.slow
def test_bulk_delete_and_reinsert(scene: Scene) -> None:
    scene.start()
    scene.start()
    scene.gallery.pause = 0.01
    images = list(range(300))
    with scene.fault(10, "all images deleted and the same ids re-inserted, ten times"):
        for turn in range(10):
            scene.write({image: f"{scene.gallery.base}/{(image + turn) % 12}.jpg?{image}-{turn}" for image in images})
            scene.wait_for_vectors(1)
            scene.tables.execute(DELETE, (images,))
        scene.insert(images)
