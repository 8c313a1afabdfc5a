"""Jobs that other sessions lock and let go of at random while outcomes are written: each is written once, and soon."""

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Event, Thread

import numpy as np
import pytest

from daemon.clock import SystemClock
from daemon.db.encode import VectorColumn
from daemon.db.jobs import JobQueue
from daemon.db.outcomes import OutcomeWriter
from daemon.pipeline.channel import Channel
from daemon.pipeline.heartbeat import Heartbeat
from daemon.pipeline.inflight import Inflight
from daemon.pipeline.store import StoreStage
from daemon.policy import RetryPolicy
from daemon.records import Claim, Embedded, Outcome, Result, Stored
from tests.postgres import DIMENSION, Database

IMAGES = 120
A_DAY = 86_400.0
"""Nothing that is left to its lease is done within this test."""
LOCK = "SELECT FROM vectord.job WHERE image_id = ANY(%s) FOR UPDATE"


class Store:
    """The store stage and the heartbeat on this database, and how often each image was told as stored."""

    def __init__(self, database: Database) -> None:
        self.queue = JobQueue(database.pool, database.names, worker="w", lease_seconds=A_DAY)
        self.inflight = Inflight(IMAGES)
        self.results: Channel[Result] = Channel()
        self.stored: list[object] = []
        column = VectorColumn(dimension=DIMENSION)
        self.stage = StoreStage(
            OutcomeWriter(database.pool, database.names, vector_column=column, signature="s"),
            self.inflight,
            self.results,
            RetryPolicy(),
            lambda: None,
            self._hear,
            clock=SystemClock(),
            emit=lambda _: None,
        )
        # Far more often than in earnest, since renewals lock the jobs as well.
        self.heartbeat = Heartbeat(self.queue, self.inflight, lease_seconds=A_DAY, emit=lambda _: None)
        self.heartbeat._seconds = 0.01

    def _hear(self, outcome: Outcome, took_effect: bool) -> None:  # noqa: FBT001 - it is `store.Tell`
        assert isinstance(outcome, Stored)
        assert took_effect
        self.stored.append(outcome.claim.image_id)

    def put(self, claims: list[Claim]) -> None:
        for claim in claims:
            vector = np.full(DIMENSION, claim.image_id, dtype=np.float32)
            self.results.put(Embedded(claim=claim, vector=vector))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Until all that was put is written, or given up because a lock does not end."""
        threads = [Thread(target=self.stage.run), Thread(target=self.heartbeat.run)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.results.close()
            threads[0].join(60.0)
            self.heartbeat.stop()
            threads[1].join(60.0)


@contextmanager
def locking(database: Database, seed: int) -> Iterator[None]:
    """Another session locks a few jobs for a moment, again and again, and rolls back or commits."""
    over, chance = Event(), random.Random(seed)

    def lock() -> None:
        with closing(database.connect()) as session, session.cursor() as cursor:
            while not over.is_set():
                cursor.execute(LOCK, (chance.sample(range(IMAGES), 10),))
                over.wait(chance.uniform(0.0, 0.1))
                (session.commit if chance.random() < 0.5 else session.rollback)()

    thread = Thread(target=lock)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60.0)


@pytest.mark.parametrize("seed", range(3))
def test_each_outcome_is_written_once_and_none_waits_for_its_lease(database: Database, seed: int) -> None:
    store = Store(database)
    database.insert(range(IMAGES))
    claims = store.queue.claim(IMAGES)
    store.inflight.add(claims)
    random.Random(seed).shuffle(claims)
    with locking(database, seed), locking(database, seed + 100), store.running():
        for at in range(0, IMAGES, 8):
            store.put(claims[at : at + 8])
    assert sorted(map(str, store.stored)) == sorted(map(str, range(IMAGES)))
    assert store.inflight.claims() == []
    assert database.execute("SELECT count(*) FROM vectord.job") == [(0,)]
    rows = database.execute("SELECT image_id, (feature_vector::real[])[1]::int FROM tb_hsx_img_value ORDER BY 1")
    assert rows == [(image, image) for image in range(IMAGES)]


def test_the_lease_of_a_locked_job_is_renewed_at_the_next_beat(database: Database) -> None:
    database.insert([1, 2])
    queue = JobQueue(database.pool, database.names, worker="w", lease_seconds=60.0)
    claims = queue.claim(2)
    with closing(database.connect()) as session:
        session.cursor().execute(LOCK, ([1],))
        assert queue.renew(claims) == 1
        session.rollback()
    assert queue.renew(claims) == 2
