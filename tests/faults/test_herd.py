"""Several daemons that are killed, stopped and continued while rows come, change and go."""

import random
import signal
import threading
import time
from functools import partial

import pytest

from tests.faults.daemons import Running
from tests.faults.scene import Scene
from tests.faults.users import Users

MINUTES = 3


def test_killed_stopped_and_continued(scene: Scene) -> None:
    scene.gallery.pause = 0.01
    users = Users(scene.dsn, scene.gallery, seed=7)
    running = [scene.start(), scene.start()]
    with scene.fault(1, "two daemons killed, stopped past their leases and continued, under load"):
        for turn in range(6):
            users.act(6)
            if turn % 3 == 0:
                running.pop(0).kill()
                running.append(scene.start())
            elif turn % 3 == 1:
                stop_past_the_lease(scene, users, running[0])


def stop_past_the_lease(scene: Scene, users: Users, daemon: Running) -> None:
    """Until the other daemon has taken its claims over: its late store is refused."""
    daemon.send(signal.SIGSTOP)
    users.act()
    scene.wait(partial(scene.tables.nothing_leased_to, daemon.pid), "its claims taken over")
    daemon.send(signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_of_three_killed_every_few_seconds(scene: Scene) -> None:
    scene.gallery.pause = 0.1
    users, chance, tick = Users(scene.dsn, scene.gallery, seed=8), random.Random(8), threading.Event()
    running = [scene.start() for _ in range(3)]
    ends, kills = time.monotonic() + 60 * MINUTES, 0
    with scene.fault(1, f"one of three daemons killed every three seconds, for {MINUTES} minutes") as fault:
        while time.monotonic() < ends:
            users.act(20)
            running.pop(chance.randrange(3)).kill()
            running.append(scene.launch())
            kills += 1
            tick.wait(3.0)
        fault.note = f"{kills} kills"
