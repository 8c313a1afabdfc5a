"""A transaction that is left open: no vacuum removes what the queue has done with since, and claims wade in it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple

import numpy as np
import pytest

from daemon.db.encode import VectorColumn
from daemon.db.gauges import Gauges
from daemon.db.jobs import JobQueue
from daemon.db.outcomes import OutcomeWriter
from daemon.records import Stored
from tests.faults.report import PROPERTY, Row
from tests.postgres import DIMENSION, Database

VECTOR = np.full(DIMENSION, 0.5, dtype=np.float32)
PER_SECOND, AT_ONCE = 100, 10
WARM_SECONDS, MEASURED_SECONDS, PINNED_SECONDS = 5.0, 30.0, 180.0
GROWS_BY = 3.0


class Load:
    """A daemon's part of the queue under so many images a second, and how long its claims take."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue = JobQueue(database.pool, database.names, worker="w", lease_seconds=60.0)
        column = VectorColumn(dimension=DIMENSION)
        self._writer = OutcomeWriter(database.pool, database.names, vector_column=column, signature="s")
        self._tick = threading.Event()
        self.images = 0

    def run(self, seconds: float) -> list[float]:
        """Works for so long; gives the seconds that each claim took."""
        ends, took = time.monotonic() + seconds, []
        while time.monotonic() < ends:
            self._database.insert(range(self.images, self.images + AT_ONCE))
            self.images += AT_ONCE
            began = time.perf_counter()
            claims = self._queue.claim(256)
            took.append(time.perf_counter() - began)
            assert self._writer.write([Stored(claim=claim, vector=VECTOR) for claim in claims]).stored == AT_ONCE
            self._tick.wait(AT_ONCE / PER_SECOND)
        return took


@contextmanager
def pinned(database: Database) -> Iterator[None]:
    """Somebody has begun a transaction, looked around, and gone to lunch."""
    with closing(database.connect()) as lunch:
        lunch.set_session(isolation_level="REPEATABLE READ")
        with lunch.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM ecai.tb_image")
        yield


def p99(seconds: list[float]) -> float:
    return float(np.quantile(seconds, 0.99))


def seconds_until(condition: Callable[[], bool], most: float) -> float:
    began, pause = time.monotonic(), threading.Event()
    while not condition():
        assert time.monotonic() < began + most
        pause.wait(0.5)
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_claims_stay_quick(database: Database, record_property: Callable[[str, object], None]) -> None:
    load, gauges = Load(database), Gauges(database.pool, database.names)
    load.run(WARM_SECONDS)
    before = p99(load.run(MEASURED_SECONDS))
    with pinned(database):
        load.run(PINNED_SECONDS - MEASURED_SECONDS)
        after = p99(load.run(MEASURED_SECONDS))
        dead = gauges.read().job_table_dead_rows
    # An estimate by the statistics, which lag behind; each image leaves more than one dead row.
    assert dead > PER_SECOND * PINNED_SECONDS
    recovery = seconds_until(lambda: gauges.read().job_table_dead_rows < dead / 10, 120.0)
    row = Row(
        number=13,
        fault=f"a transaction open for {PINNED_SECONDS / 60:.0f} minutes, {PER_SECOND} images a second",
        images=load.images,
        twice=0,
        seconds=round(recovery, 1),
        note=f"p99 of a claim {before * 1000:.1f} ms before, {after * 1000:.1f} ms at the end; {dead} dead rows told",
    )
    record_property(PROPERTY, astuple(row))
    assert after <= GROWS_BY * before
