"""The console's memory: the last hour's points, and the thumbnails on the shelf."""

from uuid import uuid4

import numpy as np
import pytest

from daemon.api.thumbnails import KEPT_SECONDS, Shelf
from daemon.errors import Reason
from daemon.events import Settled, Worked
from daemon.records import Claim, Dead, Released, Stored
from daemon.telemetry.history import BOUNDS, POINTS, SECONDS, History, quantile
from tests.clock import HandClock

CLAIM = Claim(image_id=7, revision=1, token=uuid4(), location="http://x/7")
STORED = Stored(claim=CLAIM, vector=np.ones(2, np.float32))
DEAD = Dead(claim=CLAIM, stage="load", reason=Reason.NOT_FOUND, detail="")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def history(clock: HandClock) -> History:
    return History(clock, clock.wall)


def test_points_close_when_their_time_is_over(clock: HandClock, history: History) -> None:
    for seconds in (0.1, 0.1, 0.1, 4.0):
        history(Settled(outcome=STORED, seconds=seconds))
    history(Settled(outcome=DEAD, seconds=1.0))
    history(Settled(outcome=Released(claim=CLAIM), seconds=None))
    history(Worked(stage="embed", items=3, seconds=1.0))
    assert history.points() == []
    clock.now = SECONDS + 1
    (point,) = history.points()
    assert (point.at, point.stored, point.dead) == (1_000_000, 4, 1)
    assert point.median == pytest.approx(0.1, rel=0.19)
    assert point.slow == pytest.approx(4.0, rel=0.19)
    clock.now = 3 * SECONDS
    assert [(one.at, one.stored, one.median) for one in history.points(after=point.at)] == [
        (1_000_005, 0, None),
        (1_000_010, 0, None),
    ]
    assert (history.stored, history.dead) == (4, 1)


def test_an_hour_is_kept_and_no_more(clock: HandClock, history: History) -> None:
    for _ in range(2 * POINTS):
        history(Settled(outcome=STORED, seconds=0.5))
        clock.now += SECONDS
    assert [one.stored for one in history.points()] == [1] * POINTS
    clock.now += 1_000_000 * SECONDS
    asleep = history.points()
    assert [one.stored for one in asleep] == [0] * POINTS
    assert asleep[-1].at == clock.wall() - SECONDS


def test_the_rate_is_that_of_the_last_seconds(clock: HandClock, history: History) -> None:
    assert history.rate() == 0
    for _ in range(3):
        for _ in range(50):
            history(Settled(outcome=STORED, seconds=0.5))
        clock.now += SECONDS
    assert history.rate() == pytest.approx(10)
    clock.now += 3 * SECONDS
    assert history.rate() == 0


def test_a_quantile_is_the_bound_above_it() -> None:
    counts = [0] * (len(BOUNDS) + 1)
    assert quantile(counts, 0.5) is None
    counts[3], counts[9] = 95, 5
    assert (quantile(counts, 0.5), quantile(counts, 0.95), quantile(counts, 0.96)) == (BOUNDS[3], BOUNDS[3], BOUNDS[9])
    counts[-1] = 1_000_000
    assert quantile(counts, 0.5) == BOUNDS[-1]


def test_the_shelf_holds_so_many_bytes_and_lets_the_oldest_go() -> None:
    shelf = Shelf(most_bytes=100, now=lambda: 0.0)
    for n in range(5):
        shelf.put((n, "x"), bytes(25))
        assert shelf.get((0, "x")) is not None
    assert shelf.bytes == 100
    assert shelf.get((1, "x")) is None
    assert shelf.get((0, "another location")) is None
    shelf.put((0, "x"), bytes(10))
    assert shelf.bytes == 85
    shelf.put((9, "x"), bytes(200))
    assert shelf.bytes == 0


def test_the_shelf_forgets_after_a_while(clock: HandClock) -> None:
    shelf = Shelf(now=clock.monotonic)
    shelf.put((1, "x"), b"jpeg")
    clock.now = KEPT_SECONDS
    assert shelf.get((1, "x")) == b"jpeg"
    clock.now = KEPT_SECONDS + 1
    assert shelf.get((1, "x")) is None
