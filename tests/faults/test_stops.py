"""SIGTERM under load: the daemon ends in time, and nothing that it had in hand has to wait for a lease."""

import signal
import time

import pytest

from daemon.assembly import STOP_SECONDS
from tests.faults.scene import Scene
from tests.faults.server import OwnServer

IMAGES = 120
LONG_LEASE = "3600"
"""Nobody takes over what this daemon leaves leased: all of it has to be released."""
UNANSWERED_SECONDS = 60.0
"""For a stop while PostgreSQL stands still: systemd kills after 75."""
HURRIED_SECONDS = 15.0


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


@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_while_postgresql_stands_still(own_scene: Scene, own_server: OwnServer, times: int) -> None:
    """What is leased cannot be given back: its leases run out, and another daemon does the work."""
    own_scene.gallery.pause = 0.05
    daemon = own_scene.start()
    with own_scene.fault(12, f"SIGTERM{' twice' * (times - 1)} while PostgreSQL stands still, under load") as fault:
        own_scene.insert(range(IMAGES))
        own_scene.wait_for_vectors(20)
        with own_server.frozen():
            daemon.send(signal.SIGTERM)
            daemon.wait_for("daemon.stopping")
            began = time.monotonic()
            if times == 2:
                daemon.send(signal.SIGTERM)
                daemon.wait_for("daemon.hurried")
            assert daemon.process.wait(HURRIED_SECONDS if times == 2 else UNANSWERED_SECONDS) == 0
            fault.note = f"ended after {time.monotonic() - began:.0f} s"
        own_scene.start()


def check_released(scene: Scene, pid: int) -> int:
    """Nothing is leased, and nobody paid for the stop; gives how many jobs are left."""
    assert scene.tables.nothing_leased_to(pid)
    assert scene.number("FROM vectord.job WHERE attempts > 0 AND reason IS NULL") == 0
    return scene.number("FROM vectord.job")
