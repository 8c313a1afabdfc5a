"""Wall clocks that are set, by hours, while all runs: the daemon's own, and the server's."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.db.jobs import JobQueue
from tests.faults.clocks import WallClock
from tests.faults.scene import Scene
from tests.faults.server import OwnServer
from tests.postgres import Database

IMAGES = 24
HOURS = 3600
PUT_OFF = "UPDATE vectord.job SET not_before = now() + interval '{}'"


@pytest.fixture
def clock() -> Iterator[WallClock]:
    """Not below pytest's folder: PostgreSQL runs as another user when this is root, and has to get at it."""
    folder = Path(tempfile.mkdtemp(prefix="vectord-clock-"))
    folder.chmod(0o755)
    yield WallClock(folder / "clock")
    shutil.rmtree(folder)


def test_the_daemons_clock_is_set(scene: Scene, clock: WallClock) -> None:
    """Work that only the sweep can find: its timetable must not wait for an hour to come again."""
    # A lease that no machine's hiccup outlasts: nothing but a clock that counts could then have an image done twice.
    daemon = scene.start(("-m", "daemon"), **clock.variables, VECTORD_QUEUE__LEASE_SECONDS="120")
    scene.insert(range(IMAGES))
    scene.wait_for_vectors(IMAGES)
    scene.tables.execute("ALTER TABLE ecai.tb_image DISABLE TRIGGER USER")
    with scene.fault(15, "the daemon's clock set back by an hour, and ahead by two"):
        for number, seconds in ((1, -HOURS), (2, HOURS)):
            clock.step(seconds)
            scene.insert(range(number * IMAGES, (number + 1) * IMAGES))
            scene.wait_for_vectors((number + 1) * IMAGES)
    assert scene.gallery.twice() == 0
    assert daemon.health()["ready"]


@pytest.fixture
def clocked(own_server: OwnServer, clock: WallClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[WallClock]:
    """The clock of the server, which is the one that leases and due times go by."""
    with monkeypatch.context() as variables:
        own_server.stop()
        for name, value in clock.variables.items():
            variables.setenv(name, value)
        own_server.start()
    yield clock
    own_server.stop()
    own_server.start()


def test_the_servers_clock_is_set(own_scene: Scene, clocked: WallClock, own_server: OwnServer) -> None:
    own_scene.insert(range(IMAGES))
    with own_scene.fault(15, "PostgreSQL's clock set back by two hours, then ahead by four, under load"):
        # What waits now was due at a time that is to come only in two hours.
        clocked.step(-2 * HOURS)
        daemon = own_scene.start()
        own_scene.wait_for_vectors(IMAGES)
        assert daemon.wait_for("the server's clock was set back: what was due hours from now is due now")
        clocked.step(2 * HOURS)
        own_scene.insert(range(IMAGES, 3 * IMAGES))
        clocked.step(-2 * HOURS)
    assert daemon.health()["ready"]


@pytest.mark.parametrize(("put_off", "due"), [("2 hours", True), ("50 minutes", False)])
def test_only_what_nothing_is_put_off_to_is_called_back(
    database: Database, make_queue: Callable[[Database], JobQueue], put_off: str, *, due: bool
) -> None:
    database.insert([1, 2])
    database.execute(PUT_OFF.format(put_off) + " WHERE image_id = 1")
    queue = make_queue(database)
    assert [claim.image_id for claim in queue.claim(10)] == [2]
    queue.seconds_until_due()
    assert [claim.image_id for claim in queue.claim(10)] == ([1] if due else [])


def test_a_lease_of_the_future_is_taken_over(database: Database, make_queue: Callable[[Database], JobQueue]) -> None:
    database.insert([1])
    dead = make_queue(database)
    assert len(dead.claim(10)) == 1
    database.execute("UPDATE vectord.job SET lease_until = now() + interval '1 day'")
    heir = make_queue(database)
    assert heir.claim(10) == []
    heir.seconds_until_due()
    assert [claim.attempt for claim in heir.claim(10)] == [2]


@pytest.fixture
def make_queue() -> Callable[[Database], JobQueue]:
    numbers = iter(range(100))
    return lambda database: JobQueue(
        database.pool, database.names, worker=f"worker {next(numbers)}", lease_seconds=60.0
    )
