"""Sweep, listener, queue and store together, the middle of the daemon left out: all ends well whatever goes missing."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from threading import Event, Thread
from time import monotonic

import numpy as np
import pytest

from daemon.db.encode import VectorColumn
from daemon.db.generation import Generations, Instance
from daemon.db.jobs import JobQueue
from daemon.db.outcomes import OutcomeWriter
from daemon.db.sweep import SweepOptions, SweepWindow
from daemon.db.walk import Swept
from daemon.errors import Reason
from daemon.records import Claim, Dead, Outcome, Stored
from daemon.wake.listener import Listener
from daemon.wake.sweep import Sweeper
from tests.postgres import Database, MakeDatabase
from tests.watching import wait_for_change

MODEL = "vectord:mobilenetv2_1.0_224:1a2b3c4d"
VECTOR = np.array([1.0, 0.0, 0.0, 0.0], dtype=np.float32)
PATIENCE = 120.0
UNFINISHED = """
SELECT count(*) FROM ecai.tb_image s
LEFT JOIN tb_hsx_img_value t ON t.image_id = s.id LEFT JOIN vectord.job j ON j.image_id = s.id
WHERE NOT coalesce(j.state = 'dead' OR (j.image_id IS NULL AND t.model_version = %s), false)
"""


class Half:
    """A daemon without loaders and model: every image gets the same vector, but those called "broken" fail."""

    def __init__(self, database: Database, name: str) -> None:
        generations = Generations(database.pool, database.names)
        self.signature = generations.on_start(Instance(name=name, boot_id="boot", signature=f"{MODEL}:g0")).signature
        self._window = SweepWindow(database.pool, database.names, SweepOptions(window=50, high_water=40))
        self._queue = JobQueue(database.pool, database.names, worker=name, lease_seconds=5.0)
        column = VectorColumn(kind="vector", dimension=4)
        self._writer = OutcomeWriter(database.pool, database.names, vector_column=column, signature=self.signature)
        self.wake = Event()
        self._stop = Event()
        self.defects: list[BaseException] = []
        self.sweeper = Sweeper(self._tick, interval_seconds=0.2, emit=lambda _: None, on_failure=self.defects.append)

    def stop(self) -> None:
        self._stop.set()
        self.wake.set()

    def work(self) -> None:
        while not self._stop.is_set():
            self.wake.wait(0.3)
            self.wake.clear()
            while claims := self._queue.claim(16):
                self._writer.write([outcome(claim) for claim in claims])

    def _tick(self) -> Swept:
        swept = self._window.step(self.signature)
        if swept.standing == "raised" and swept.present:
            self.signature = swept.present
            self._writer.sign_as(swept.present)
            self.sweeper.soon()
        if swept.queued:
            self.wake.set()
        return swept


def outcome(claim: Claim) -> Outcome:
    if claim.location == "broken":
        return Dead(claim=claim, stage="load", reason=Reason.NOT_AN_IMAGE, detail="")
    return Stored(claim=claim, vector=VECTOR)


@contextmanager
def running(database: Database, name: str) -> Iterator[Half]:
    half = Half(database, name)
    worker = Thread(target=half.work)
    listener = Listener(database.dsn, database.names.channel, half.wake.set, sweep=half.sweeper.soon)
    with ExitStack() as stack:
        worker.start()
        stack.callback(worker.join)
        stack.callback(half.stop)
        half.sweeper.start()
        stack.callback(half.sweeper.stop)
        listener.start()
        stack.callback(listener.stop)
        yield half
    assert half.defects == []


def disturb(database: Database, ids: Iterator[int], seconds: float) -> None:
    """What applications do, in any order: early, late, many at once, undone, changed, deleted."""
    chance = random.Random(7)
    until = monotonic() + seconds
    with closing(database.connect()) as late, late.cursor() as held:
        while monotonic() < until:
            database.insert([next(ids) for _ in range(chance.choice([1, 3, 30]))], chance.choice(["{}", "broken"]))
            held.execute("INSERT INTO ecai.tb_image (id, url) VALUES (%s, 'late')", (next(ids),))
            if chance.random() < 0.3:
                chance.choice([late.commit, late.rollback])()
            if chance.random() < 0.5:
                database.execute("DELETE FROM ecai.tb_image WHERE id %% 10 = %s", (chance.randrange(10),))
            database.execute("UPDATE ecai.tb_image SET md5 = 'x' WHERE id %% 7 = %s", (chance.randrange(7),))
        late.commit()


def wait_until_all_is_done(database: Database, signature: str) -> None:
    def left() -> int:
        return int(database.execute(UNFINISHED, (signature,))[0][0])

    assert wait_for_change(database.dsn, lambda: left() == 0, PATIENCE), f"{left()} are not done"


@pytest.mark.parametrize("what", ["all is well", "no trigger", "no notifications"])
def test_every_image_ends_with_one_vector_or_one_reason(make_database: MakeDatabase, what: str) -> None:
    database = make_database(trigger=what != "no trigger", notify=what != "no notifications", index="none")
    database.execute("INSERT INTO ecai.tb_image (id, url) SELECT -id, 'there before' FROM generate_series(1, 500) id")
    ids = iter(random.Random(7).sample(range(1, 1_000_000), 100_000))
    with running(database, "one"), running(database, "two"):
        disturb(database, ids, 2.0)
        raised = Generations(database.pool, database.names).raise_now()
        disturb(database, ids, 2.0)
        wait_until_all_is_done(database, f"{MODEL}:g{raised}")
    images = dict(database.execute("SELECT id, url FROM ecai.tb_image"))
    vectors = [image for (image,) in database.execute("SELECT image_id FROM tb_hsx_img_value")]
    assert "there before" in images.values()
    assert "broken" in images.values()
    assert sorted(vectors) == sorted(image for image, url in images.items() if url != "broken")
