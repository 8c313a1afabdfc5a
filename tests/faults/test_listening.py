"""Connections that went silent, and a pooler that swallows notifications."""

import time

import pytest

from tests.bouncer import bouncer
from tests.faults.daemons import Running
from tests.faults.scene import Scene
from tests.proxy import Proxy

IMAGES = 24
NOTICED_SECONDS = 30.0
"""A silent connection is to be noticed within so long, whatever the daemon's own timing is."""


def hearing(daemon: Running) -> list[str]:
    """What the daemon said of its listener so far."""
    return [line["hearing"] for line in daemon.heard("listener.changed")]


@pytest.mark.slow
def test_a_silent_connection_is_noticed_and_work_goes_on_meanwhile(scene: Scene) -> None:
    with Proxy(scene.dsn) as proxy:
        daemon = scene.start(VECTORD_DATABASE__LISTEN_DSN=proxy.dsn)
        daemon.wait_for("listener.changed", hearing="listening")
        with scene.fault(4, "the listener's connection stalls") as fault:
            proxy.hole()
            began = time.monotonic()
            scene.insert(range(IMAGES))
            scene.wait_for_vectors(IMAGES)
            before = "before" if hearing(daemon) == ["listening"] else "after"
            daemon.wait_for("listener.changed", NOTICED_SECONDS, hearing="reconnecting")
            fault.note = f"all stored {before} it was noticed, which took {time.monotonic() - began:.0f} s"
            assert daemon.health()["healthy"]
            proxy.mend()
        daemon.wait_for("listener.changed", hearing="listening", times=2)
        scene.insert(range(IMAGES, 2 * IMAGES))
        scene.wait_for_vectors(2 * IMAGES)


def test_behind_pgbouncer_it_says_so_once_and_polls(scene: Scene) -> None:
    with bouncer(scene.dsn) as way:
        daemon = scene.start(VECTORD_DATABASE__DSN=way)
        with scene.fault(6, "PgBouncer in transaction mode"):
            daemon.wait_for("listener.changed", hearing="poll-only", key="database.listen_dsn")
            for start in range(0, 4 * IMAGES, IMAGES):
                scene.insert(range(start, start + IMAGES))
                scene.wait_for_vectors(start + IMAGES)
            scene.move(range(IMAGES))
        assert hearing(daemon) == ["poll-only"]
        assert daemon.stop() == 0


@pytest.mark.slow
def test_connections_that_never_answer_again_are_replaced(scene: Scene) -> None:
    """As through a pooler that hangs: TCP finds nothing wrong."""
    with Proxy(scene.dsn) as proxy:
        daemon = scene.start(("tests/faults/impatient.py",), VECTORD_DATABASE__DSN=proxy.dsn)
        scene.insert(range(IMAGES))
        scene.wait_for_vectors(IMAGES)
        with scene.fault(4, "every connection stalls for good") as fault:
            proxy.abandon()
            scene.insert(range(IMAGES, 2 * IMAGES))
            cut = daemon.wait_for("database.no_answer")
            fault.note = f"cut after {cut['seconds']:g} s here, 120 s in earnest"
        assert daemon.stop() == 0
