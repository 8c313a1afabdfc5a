"""SIGKILL at every seam of the pipeline. What the dead daemon had in hand is done by the next one."""

from pathlib import Path

import pytest

from tests.faults import barrier
from tests.faults.barrier import Barrier
from tests.faults.gallery import body_of
from tests.faults.scene import Scene
from tests.faults.seams import frozen_loaders, lingering
from tests.loading import is_alive
from tests.proxy import Proxy

IMAGES = 48
"""More than one batch."""
LEASED = "FROM vectord.job WHERE lease_token NOTNULL"


def test_after_the_claim(scene: Scene) -> None:
    victim = scene.start()
    loaders = victim.loaders()
    with scene.fault(1, "SIGKILL after the claim"):
        with frozen_loaders(victim):
            scene.insert(range(IMAGES))
            scene.wait(lambda: scene.number(LEASED) == IMAGES, "all claimed")
            victim.kill()
        scene.start()
    assert not any(map(is_alive, loaders))


def test_in_fetch(scene: Scene) -> None:
    victim = scene.start()
    with scene.fault(1, "SIGKILL in fetch"):
        with scene.gallery.holding() as held:
            scene.insert(range(IMAGES))
            held.wait_for(4)
            victim.kill()
        scene.start()


def test_in_decode(scene: Scene, tmp_path: Path) -> None:
    with lingering(tmp_path / "pipe") as decoding:
        victim = scene.start(("-m", "daemon"), **decoding.variables)
        scene.gallery.add("/slow.jpg", lambda request: request.reply(body=b"FAULT:linger"), picture=3)
        with scene.fault(1, "SIGKILL in decode"):
            scene.insert([1000], "/slow.jpg")
            scene.insert(range(IMAGES))
            decoding.wait()
            victim.kill()
            scene.gallery.add("/slow.jpg", body_of(3), picture=3)
            scene.start()


def test_in_embed(scene: Scene, tmp_path: Path) -> None:
    sign = tmp_path / "halt"
    sign.touch()
    victim = scene.start(("tests/faults/halting.py",), FAULTS_HALT=str(sign))
    with scene.fault(1, "SIGKILL in embed"):
        scene.insert(range(IMAGES))
        victim.wait_for("test.halted")
        victim.kill()
        scene.start()


@pytest.mark.parametrize(
    ("where", "name"),
    [
        pytest.param(barrier.CLAIM, "in the claim's transaction", marks=pytest.mark.slow),
        pytest.param(barrier.SWEEP, "in the sweep's transaction", marks=pytest.mark.slow),
        (barrier.STORE, "in the store's transaction"),
        pytest.param(barrier.COMMIT, "in the store's COMMIT, which goes through", marks=pytest.mark.slow),
    ],
    ids=["claim", "sweep", "store", "commit"],
)
def test_in_a_transaction(scene: Scene, where: str, name: str) -> None:
    at = Barrier(scene.dsn, where)
    with scene.fault(1, f"SIGKILL {name}"):
        with at:
            scene.insert(range(IMAGES))
            victim = scene.launch()
            at.wait_for_someone()
            victim.kill()
        scene.start()


def test_before_the_commit(scene: Scene) -> None:
    at = Barrier(scene.dsn, barrier.COMMIT)
    with scene.fault(1, "SIGKILL in the store's COMMIT, which the server breaks off"):
        with at:
            scene.insert(range(IMAGES))
            victim = scene.launch()
            at.wait_for_someone()
            victim.kill()
            assert at.break_off() == 1
        scene.start()


def test_after_the_commit(scene: Scene) -> None:
    at = Barrier(scene.dsn, barrier.COMMIT)
    with Proxy(scene.dsn) as proxy, scene.fault(1, "SIGKILL after the commit, before its answer arrived") as fault:
        with at:
            scene.insert(range(IMAGES))
            victim = scene.launch(VECTORD_DATABASE__DSN=proxy.dsn)
            at.wait_for_someone()
            proxy.hole()
        scene.wait_for_vectors(1)
        stored = scene.number("FROM tb_hsx_img_value")
        victim.kill()
        scene.start()
        fault.note = f"{stored} were stored already"
    assert scene.number("FROM tb_hsx_img_value") == IMAGES
