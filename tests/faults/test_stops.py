"""SIGTERM under load: the daemon ends in time, and nothing that it had in hand has to wait for a lease."""

import signal

from daemon.assembly import STOP_SECONDS
from tests.faults.scene import Scene

IMAGES = 120
LONG_LEASE = "3600"
"""Nobody takes over what this daemon leaves leased: all of it has to be released."""


def test_a_stop_under_load(scene: Scene) -> None:
    scene.gallery.pause = 0.05
    daemon = scene.start(VECTORD_QUEUE__LEASE_SECONDS=LONG_LEASE)
    with scene.fault(12, "SIGTERM under load") as fault:
        scene.insert(range(IMAGES))
        scene.wait_for_vectors(20)
        assert daemon.stop(STOP_SECONDS) == 0
        fault.note = f"{check_released(scene, daemon.pid)} were left to the next daemon"
        scene.start()


def test_a_second_one_hurries(scene: Scene) -> None:
    daemon = scene.start(VECTORD_QUEUE__LEASE_SECONDS=LONG_LEASE, VECTORD_FETCH__TOTAL_TIMEOUT="300")
    with scene.fault(12, "SIGTERM twice, in the middle of fetches that do not end") as fault:
        with scene.gallery.holding() as held:
            scene.insert(range(IMAGES))
            held.wait_for(4)
            daemon.send(signal.SIGTERM)
            daemon.wait_for("daemon.stopping")
            # A single one would wait for the loaders, for half of its time.
            assert daemon.stop(STOP_SECONDS / 2) == 0
            assert daemon.heard("daemon.hurried")
            fault.note = f"{check_released(scene, daemon.pid)} were left to the next daemon"
        scene.start()


def check_released(scene: Scene, pid: int) -> int:
    """Nothing is leased, and nobody paid for the stop; gives how many jobs are left."""
    assert scene.tables.nothing_leased_to(pid)
    assert scene.number("FROM vectord.job WHERE attempts > 0 AND reason IS NULL") == 0
    return scene.number("FROM vectord.job")
