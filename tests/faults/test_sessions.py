"""Sessions that the server ends: the listener's, the writer's, everyone's once a second."""

import threading

import pytest

from tests.faults import barrier
from tests.faults.barrier import Barrier
from tests.faults.scene import Scene

IMAGES = 200


def test_the_listeners_session(scene: Scene) -> None:
    daemon = scene.start()
    with scene.fault(3, "the listener's session ended") as fault:
        scene.gallery.pause = 0.02
        scene.insert(range(IMAGES))
        scene.wait_for_vectors(1)
        assert scene.end_sessions("vectord listener") == 1
        daemon.wait_for("listener.changed", hearing="reconnecting")
        daemon.wait_for("listener.changed", hearing="listening", times=2)
        fault.note = "it listens again"


def test_the_writers_session(scene: Scene) -> None:
    at = Barrier(scene.dsn, barrier.STORE)
    daemon = scene.start()
    with scene.fault(3, "the writer's session ended in its transaction"):
        with at:
            scene.insert(range(IMAGES))
            at.wait_for_someone()
            assert at.break_off() == 1
        daemon.wait_for("stage.hindered", stage="store")


@pytest.mark.parametrize("seconds", [4.0, pytest.param(60.0, marks=[pytest.mark.slow, pytest.mark.timeout(400)])])
def test_everyones_sessions_again_and_again(scene: Scene, seconds: float) -> None:
    scene.start()
    scene.start()
    scene.gallery.pause = 0.02
    ticks = threading.Event()
    ended = 0
    with scene.fault(3, f"all sessions ended once a second, for {seconds:.0f} s, under load", within=150.0) as fault:
        for turn in range(int(seconds)):
            scene.insert(range(turn * 40, turn * 40 + 40))
            ended += scene.end_sessions()
            ticks.wait(1.0)
        fault.note = f"two daemons, {ended} sessions"
    assert ended > seconds
