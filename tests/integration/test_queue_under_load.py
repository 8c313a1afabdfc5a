"""Everybody at once: users who write, update and delete in bulk, and several daemons that claim, renew and store.

Nobody gets an error, nobody waits for long, and in the end every image has the vector of its last location.
"""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import psycopg2
import pytest

from daemon.db.encode import VectorColumn
from daemon.db.jobs import JobQueue
from daemon.db.outcomes import OutcomeWriter
from daemon.records import Claim, Stored
from tests.postgres import DIMENSION, Database

IMAGES = 120
SECONDS = 4.0


def vector_of(claim: Claim) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A vector that says which location it was made from."""
    return np.array([float(str(claim.location)), 0, 0, 1], dtype=np.float32)


DIFFERENT = """
SELECT i.id, i.url, v.feature_vector FROM ecai.tb_image i FULL JOIN tb_hsx_img_value v ON v.image_id = i.id
WHERE (v.feature_vector::real[])[1] IS DISTINCT FROM i.url::real
"""


class Daemon:
    """What a daemon does to the database, without the pictures. Now and then it is too slow, or dies."""

    def __init__(self, database: Database, name: str, seed: int) -> None:
        self._queue = JobQueue(database.pool, database.names, worker=name, lease_seconds=0.2, max_attempts=10**6)
        column = VectorColumn(dimension=DIMENSION)
        self._writer = OutcomeWriter(database.pool, database.names, vector_column=column, signature="s")
        self._random = random.Random(seed)
        self._late: list[Claim] = []

    def step(self) -> int:
        """Works on what is due; gives how many vectors it stored."""
        claims = self._queue.claim(self._random.randrange(1, 20))
        dice = self._random.random()
        if dice < 0.05:
            return 0
        if dice < 0.15:
            self._late += claims
            return 0
        if dice < 0.3:
            self._queue.renew(claims)
        claims, self._late = claims + self._late, []
        self._random.shuffle(claims)
        # The same claims may be in two sessions at once: the heartbeat's and the store's.
        with ThreadPoolExecutor(1) as threads:
            beating = threads.submit(self._queue.renew, claims)
            written = self._writer.write([Stored(claim=claim, vector=vector_of(claim)) for claim in claims])
            beating.result()
        return written.stored


class Users:
    """The users' application: bulk statements over random images, several in a transaction."""

    def __init__(self, database: Database, seed: int) -> None:
        self._session = database.connect()
        self._random = random.Random(seed)

    def step(self) -> int:
        with self._session, self._session.cursor() as cursor:
            for _ in range(self._random.randrange(1, 4)):
                # Rows are taken in the order of their ids, as any two bulk writers have to agree on some order.
                low = self._random.randrange(IMAGES)
                bounds = {"low": low, "high": low + self._random.randrange(1, 30), "n": self._random.randrange(10**6)}
                cursor.execute(self._random.choice(STATEMENTS), bounds)
        return 1

    def close(self) -> None:
        self._session.close()


LOCKED = "SELECT id FROM ecai.tb_image WHERE id >= %(low)s AND id < %(high)s ORDER BY id FOR UPDATE"
UPSERT = """
INSERT INTO ecai.tb_image (id, url) SELECT g, %(n)s::text FROM generate_series(%(low)s::int, %(high)s::int - 1) g
ON CONFLICT (id) DO UPDATE SET url = EXCLUDED.url
"""
STATEMENTS = (
    f"UPDATE ecai.tb_image SET url = %(n)s::text WHERE id IN ({LOCKED})",
    f"UPDATE ecai.tb_image SET md5 = %(n)s::text WHERE id IN ({LOCKED})",
    f"DELETE FROM ecai.tb_image WHERE id IN ({LOCKED})",
    UPSERT,
)


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_doubled_or_stale(database: Database, seed: int) -> None:
    database.insert(range(IMAGES), "0")
    daemons = [Daemon(database, f"daemon {number}", seed * 10 + number) for number in range(3)]
    users = [Users(database, seed * 100 + number) for number in range(2)]
    ends = time.monotonic() + SECONDS

    def repeat(step: Callable[[], int]) -> int:
        done = 0
        while time.monotonic() < ends or not done:
            try:
                done += step()
            except psycopg2.errors.DeadlockDetected:
                # Two users' transactions of several statements each may lock each other out; that is theirs alone.
                continue
        return done

    with ThreadPoolExecutor(5) as threads:
        steps = [*(one.step for one in daemons), *(one.step for one in users)]
        working = [threads.submit(repeat, step) for step in steps]
        assert all(one.result() > 0 for one in working)
    for one in users:
        one.close()
    settle(database)
    assert database.execute("SELECT count(*) FROM vectord.job") == [(0,)]
    assert database.execute(DIFFERENT) == []


def settle(database: Database) -> None:
    """A calm daemon works off what is left; leases of the dead ones run out."""
    queue = JobQueue(database.pool, database.names, worker="calm", lease_seconds=5, max_attempts=10**6)
    column = VectorColumn(dimension=DIMENSION)
    writer = OutcomeWriter(database.pool, database.names, vector_column=column, signature="s")
    waiting = threading.Event()
    database.execute("UPDATE vectord.job SET not_before = now()")
    for _ in range(50):
        if claims := queue.claim(IMAGES):
            writer.write([Stored(claim=claim, vector=vector_of(claim)) for claim in claims])
        elif (until_due := queue.seconds_until_due()) is None:
            return
        else:
            waiting.wait(until_due)


def test_a_bulk_update_and_a_store_never_lock_each_other_out(database: Database) -> None:
    """The store locks what the users' statement locks, in the other order if it can; nobody may become the victim."""
    database.insert(range(IMAGES), "0")
    daemon = Daemon(database, "daemon", 1)
    ends = time.monotonic() + 2.0

    def work() -> int:
        done = 0
        while time.monotonic() < ends or not done:
            done += daemon.step()
        return done

    with ThreadPoolExecutor(1) as threads, closing(database.connect()) as session:
        working = threads.submit(work)
        number = 0
        while time.monotonic() < ends:
            number += 1
            # The vector first and its image after it: the opposite of the order in which the store takes them.
            with session, session.cursor() as cursor:
                cursor.execute("UPDATE tb_hsx_img_value SET vector_dimension = 4")
                cursor.execute("UPDATE ecai.tb_image SET url = %s", (str(number),))
        assert working.result() > 0
