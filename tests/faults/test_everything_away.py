"""What all images need is away: their hosts, the resolver, the engine. No image pays for it, and nobody has to help."""

import threading
import time
from itertools import pairwise
from pathlib import Path

from tests.faults.daemons import Running
from tests.faults.scene import FAST, Scene
from tests.servers import Request

FIRST, LATER = 24, 96
PROBES = 14
"""Requests that are refused, or hindered batches, until the pauses have grown to their full length."""
PATIENCE = 120.0
BASE = float(FAST["VECTORD_QUEUE__RETRY_BASE_SECONDS"])


class Away:
    """Answers 503 to everything, and remembers when it was asked."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._changed = threading.Condition()

    def __call__(self, request: Request) -> None:
        with self._changed:
            self.times.append(time.monotonic())
            self._changed.notify_all()
        request.reply(503)

    def wait_for(self, count: int) -> None:
        """Until it was asked so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.times) >= count, PATIENCE), f"{len(self.times)} requests"

    def last_gaps(self, count: int) -> list[float]:
        """Seconds between the last few times."""
        return [after - before for before, after in pairwise(self.times[-count - 1 :])]


def dead(scene: Scene) -> int:
    return scene.number("FROM vectord.job WHERE state = 'dead'")


def test_all_hosts_answer_503(scene: Scene) -> None:
    daemon, away = scene.start(), Away()
    scene.insert(range(FIRST))
    scene.wait_for_vectors(FIRST)
    with scene.fault(8, "every host answers 503") as fault:
        with scene.gallery.failing(away):
            scene.insert(range(FIRST, FIRST + LATER))
            away.wait_for(PROBES)
            # One probe at a time, and none sooner than after the longest pause: six times the first.
            assert min(away.last_gaps(2)) > 5 * BASE
            assert dead(scene) == 0
            health = daemon.health()
        assert health["healthy"]
        assert "left alone" in health["status"]
        fault.note = f"{len(away.times)} requests while it lasted"


def named(scene: Scene, image: int, hosts: int) -> str:
    """A location of this image on one of so many hosts."""
    return scene.gallery.location(image).replace("127.0.0.1", f"host{image % hosts}.test")


def resolving(scene: Scene, sign: Path) -> Running:
    return scene.start(
        LOADER_TEST_PLUGIN="resolver_plugin",
        PYTHONPATH=f"{Path(__file__).parent}:{Path(__file__).parents[2]}",
        FAULTS_RESOLVER=str(sign),
        VECTORD_LOADER__THREADS="4",
    )


def pauses(sign: Path) -> list[float]:
    """Seconds between one try to reach the resolver and the next."""
    times = [float(line) for line in sign.read_text().splitlines()]
    return [after - before for before, after in pairwise(times)]


def test_the_resolver_cannot_be_reached(scene: Scene, tmp_path: Path) -> None:
    sign = tmp_path / "resolver"
    daemon = resolving(scene, sign)
    scene.write({image: named(scene, image, 8) for image in range(FIRST)})
    scene.wait_for_vectors(FIRST)
    with scene.fault(8, "DNS is gone") as fault:
        # Kept connections would outlive it.
        sign.touch()
        later = {image: named(scene, image, 8) for image in range(FIRST, FIRST + LATER)}
        with scene.gallery.failing(lambda request: request.socket.close()):
            scene.write(later)
            daemon.wait_for("image.settled", reason="host_unavailable", times=LATER)
            # The pauses grow to their full length: six times the first.
            scene.wait(lambda: max(pauses(sign), default=0.0) > 5 * BASE, "a long pause")
            assert dead(scene) == 0
            health = daemon.health()
        assert health["healthy"]
        assert "left alone" in health["status"]
        grown = [round(pause, 1) for pause in pauses(sign) if pause > BASE / 2]
        sign.unlink()
        fault.note = f"pauses of {', '.join(map(str, grown))} s"


def test_the_engine_is_out_of_order(scene: Scene, tmp_path: Path) -> None:
    sign = tmp_path / "engine"
    daemon = scene.start(("tests/faults/flawed.py",), FAULTS_ENGINE=str(sign))
    with scene.fault(8, "the GPU fails") as fault:
        sign.write_text("error")
        scene.insert(range(LATER))
        pauses = [daemon.wait_for("stage.hindered", stage="embed", pause=pause)["pause"] for pause in (0.2, 0.4, 0.8)]
        daemon.wait_for("stage.hindered", stage="embed", pause=1.6)
        health = daemon.health()
        assert (health["healthy"], health["ready"]) == (True, False)
        assert health["status"].startswith("waiting: embed: the model failed on gpu:0")
        assert dead(scene) == 0
        assert scene.number("FROM vectord.job WHERE attempts > 1") == 0
        sign.unlink()
        fault.note = f"pauses of {', '.join(map(str, pauses))} s and more"
    assert daemon.health()["ready"]
