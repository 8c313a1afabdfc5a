"""How long an image waits: from the sending of its COMMIT to its claim, in an idle daemon and during a backfill.

    .venv/bin/python -m benchmarks.latency [--images 500] [--rate 400] [--backfill 200000]

The listener, the claim stage, the queue and the store are the daemon's own; loading and the model are left out, so that
a claim is finished at once (idle), or `--rate` claims a second are (backfill: what the engine does on this machine).
Then the same without NOTIFY, which is what polling comes to. Single inserts, with pauses of 5 to 25 ms between them.
"""

import argparse
import random
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import perf_counter, sleep

import numpy as np
import psycopg2

from benchmarks.postgres import database, execute, machine, server
from daemon.clock import SystemClock
from daemon.db.encode import VectorColumn
from daemon.db.jobs import JobQueue
from daemon.db.names import Names
from daemon.db.outcomes import OutcomeWriter
from daemon.db.pool import Pool
from daemon.db.schema import SchemaOptions, migrate
from daemon.db.sweep import SweepOptions, SweepWindow
from daemon.pipeline.claim import ClaimStage
from daemon.pipeline.inflight import Inflight
from daemon.records import Claim, ImageId, Stored
from daemon.wake.listener import Hearing, Listener
from daemon.wake.sweep import Sweeper

SIGNATURE = "vectord:mobilenetv2_1.0_224:1a2b3c4d:g0"
IN_FLIGHT = 144
"""Two loaders of four threads, twice, and four batches of 32: what the daemon takes on two cores."""
BATCH = 32
POLL_SECONDS = 5.0
VECTOR = np.array([1.0, 0.0, 0.0], dtype=np.float32)


class Loaders:
    """Takes claims, notes when, and finishes them in batches, `rate` a second (0: as they come)."""

    def __init__(self, writer: OutcomeWriter, inflight: Inflight, rate: float) -> None:
        self.claimed: dict[ImageId, float] = {}
        self.stage: ClaimStage | None = None
        self._writer = writer
        self._inflight = inflight
        self._rate = rate
        self._waiting: SimpleQueue[Claim] = SimpleQueue()
        self._ended = Event()

    def free(self) -> int:
        return IN_FLIGHT

    def submit(self, claim: Claim) -> None:
        self.claimed[claim.image_id] = perf_counter()
        self._waiting.put(claim)

    def end(self) -> None:
        self._ended.set()

    def run(self) -> None:
        while not self._ended.is_set():
            if batch := self._take():
                self._ended.wait(len(batch) / self._rate if self._rate else 0.0)
                self._writer.write([Stored(claim=claim, vector=VECTOR) for claim in batch])
                self._inflight.remove(batch)
                if self.stage is not None:
                    self.stage.room_changed()

    def _take(self) -> list[Claim]:
        """What waits, a batch at most; waits a little for the first."""
        batch: list[Claim] = []
        with suppress(Empty):
            batch.append(self._waiting.get(timeout=0.1))
            while len(batch) < BATCH:
                batch.append(self._waiting.get_nowait())
        return batch


@contextmanager
def daemon(dsn: str, *, rate: float, notify: bool, sweep: bool) -> Iterator[Loaders]:
    """The daemon's front and its back, without the middle."""
    names, clock = Names(), SystemClock()
    with ExitStack() as stack:
        pool = stack.enter_context(closing(Pool(dsn, size=4)))
        inflight = Inflight(IN_FLIGHT)
        column = VectorColumn(kind="vector", dimension=3)
        loaders = Loaders(OutcomeWriter(pool, names, vector_column=column, signature=SIGNATURE), inflight, rate)
        queue = JobQueue(pool, names, worker="benchmark", lease_seconds=60.0)
        stage = ClaimStage(queue, inflight, loaders, poll_seconds=POLL_SECONDS, clock=clock, emit=lambda _: None)
        loaders.stage = stage
        for target, end in ((stage.run, stage.stop), (loaders.run, loaders.end)):
            thread = Thread(target=target)
            thread.start()
            stack.callback(thread.join)
            stack.callback(end)
        if notify:
            listening = Event()
            listener = Listener(dsn, names.channel, stage.wake, changed=lambda state: told(state.hearing, listening))
            listener.start()
            stack.callback(listener.stop)
            listening.wait(30)
        if sweep:
            window = SweepWindow(pool, names, SweepOptions())
            sweeper = Sweeper(
                lambda: window.step(SIGNATURE), interval_seconds=60.0, emit=lambda _: None, on_failure=print
            )
            sweeper.start()
            stack.callback(sweeper.stop)
        yield loaders


def told(hearing: Hearing, listening: Event) -> None:
    """Notes that notifications arrive from now on."""
    if hearing is Hearing.LISTENING:
        listening.set()


def pick_ups(dsn: str, loaders: Loaders, images: int, first: int) -> list[float]:
    """Milliseconds from the sending of each COMMIT to the claim."""
    sent = {}
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        for image_id in range(first, first + images):
            cursor.execute("INSERT INTO ecai.tb_image (id, url) VALUES (%s, 'http://example.test/a.jpg')", (image_id,))
            sent[image_id] = perf_counter()
            session.commit()
            sleep(random.uniform(0.005, 0.025))
    deadline = perf_counter() + 60
    while not sent.keys() <= loaders.claimed.keys() and perf_counter() < deadline:
        sleep(0.01)
    return [(loaders.claimed[image_id] - began) * 1e3 for image_id, began in sent.items()]


def show(name: str, waits: list[float]) -> None:
    """A line of the table."""
    cuts = statistics.quantiles(waits, n=100)
    print(f"{name:>28} {len(waits):>7} {cuts[49]:>9.1f} {cuts[98]:>9.1f} {max(waits):>9.1f}")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rate", type=float, default=400.0)
    parser.add_argument("--backfill", type=int, default=200_000)
    options = parser.parse_args()
    print(machine())
    print(f"{'':>28} {'images':>7} {'p50 ms':>9} {'p99 ms':>9} {'most ms':>9}")
    with server() as dsn, database(dsn, "latency") as made:
        with closing(Pool(made, size=1)) as pool:
            migrate(pool, Names(), SchemaOptions(dimension=3, index="none"))
        first = 10_000_000
        with daemon(made, rate=0.0, notify=True, sweep=False) as loaders:
            show("idle", pick_ups(made, loaders, options.images, first))
        with daemon(made, rate=0.0, notify=False, sweep=False) as loaders:
            show("idle, polling every 5 s", pick_ups(made, loaders, options.images, first + 1_000_000))
        execute(made, "ALTER TABLE ecai.tb_image DISABLE TRIGGER USER")
        execute(
            made, f"INSERT INTO ecai.tb_image (id, url) SELECT id, 'x' FROM generate_series(1, {options.backfill}) id"
        )
        execute(made, "ALTER TABLE ecai.tb_image ENABLE TRIGGER USER")
        with daemon(made, rate=options.rate, notify=True, sweep=True) as loaders:
            sleep(3)
            waits = pick_ups(made, loaders, options.images, first + 2_000_000)
            show(f"backfill at {options.rate:.0f} images/s", waits)
            print(f"{len(loaders.claimed) - len(waits):,} images of the backfill were claimed meanwhile")


if __name__ == "__main__":
    main()
