"""Latency of a single insert, commit to commit, through the whole daemon: idle, and beside a saturating backfill.

    .venv-bench/bin/python -m benchmarks.single_insert [--images 300] [--backfill 20000] [--quick]

Time runs from the sending of the image's COMMIT to the moment another session is told that its vector is committed. The
daemon has its defaults, the table an HNSW index and 2,000 vectors; photographs are the standard mix, over HTTP. The
backfill is found by the sweep and never runs dry while it is measured.
"""

import argparse
import random
import select
import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any, Self

import psycopg2

from benchmarks.postgres import execute, machine
from benchmarks.scene import BASE, Scene, Tables, scene, vectord

FIRST = 10_000_000
CHANNEL = "benchmark_stored"
TELL = f"""
CREATE FUNCTION benchmark_tell() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN PERFORM pg_notify('{CHANNEL}', NEW.image_id::text); RETURN NULL; END $$;
CREATE TRIGGER benchmark_tell AFTER INSERT ON tb_hsx_img_value FOR EACH ROW
WHEN (NEW.image_id >= {FIRST}) EXECUTE FUNCTION benchmark_tell()
"""
IDLE_PAUSE, BUSY_PAUSE = (0.05, 0.15), (0.05, 0.15)
"""Seconds between two inserts: long enough that an idle daemon is done with one before the next."""
TARGETS = {"idle": (40.0, 120.0), "beside a backfill": (None, 1000.0)}
"""Milliseconds: p50 and p99."""


@dataclass
class Ear:
    """Hears of vectors as they are committed, on a thread of its own."""

    dsn: str
    stored: dict[int, float] = field(default_factory=dict)
    _listening: Event = field(default_factory=Event)
    _ended: Event = field(default_factory=Event)

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._listen)
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _listen(self) -> None:
        with closing(psycopg2.connect(self.dsn)) as session:
            session.autocommit = True
            with session.cursor() as cursor:
                cursor.execute(f"LISTEN {CHANNEL}")
            self._listening.set()
            while not self._ended.is_set():
                if select.select([session], [], [], 0.1)[0]:
                    session.poll()
                    now = time.perf_counter()
                    self.stored.update((int(one.payload), now) for one in session.notifies)
                    session.notifies.clear()


def latencies(tables: Tables, urls: Sequence[str], images: int, first: int, pause: tuple[float, float]) -> list[float]:
    """Milliseconds from each image's COMMIT to that of its vector."""
    sent = {}
    with Ear(tables.dsn) as ear, closing(psycopg2.connect(tables.dsn)) as session, session.cursor() as cursor:
        for image_id in range(first, first + images):
            url = urls[image_id % len(urls)]
            cursor.execute("INSERT INTO ecai.tb_image (id, url) VALUES (%s, %s)", (image_id, url))
            sent[image_id] = time.perf_counter()
            session.commit()
            time.sleep(random.uniform(*pause))
        deadline = time.perf_counter() + 60
        while len(ear.stored) < images and time.perf_counter() < deadline:
            time.sleep(0.05)
    return [(ear.stored.get(image_id, deadline) - began) * 1000 for image_id, began in sent.items()]


def backfill(tables: Tables, number: int) -> None:
    """Images that no trigger tells of."""
    execute(tables.dsn, "ALTER TABLE ecai.tb_image DISABLE TRIGGER USER")
    tables.insert(number)
    execute(tables.dsn, "ALTER TABLE ecai.tb_image ENABLE TRIGGER USER")


def measure(on: Scene, images: int, number: int) -> dict[str, list[float]]:
    with on.tables() as tables:
        execute(tables.dsn, TELL)
        with vectord(on, tables.dsn, SWEEP__INTERVAL_SECONDS="1"):
            latencies(tables, on.urls, 10, FIRST, IDLE_PAUSE)
            idle = latencies(tables, on.urls, images, FIRST + 1_000_000, IDLE_PAUSE)
            backfill(tables, number)
            tables.wait_for(tables.vectors() + 200)
            began, before = time.perf_counter(), tables.vectors()
            busy = latencies(tables, on.urls, images, FIRST + 2_000_000, BUSY_PAUSE)
            made, seconds = tables.vectors() - before - images, time.perf_counter() - began
            require_backlog(tables, number)
    print(f"Beside it, the backfill went on at {made / seconds:.0f} images/s.\n")
    return {"idle": idle, "beside a backfill": busy}


def require_backlog(tables: Tables, number: int) -> None:
    """A backfill that ended meanwhile saturated nothing."""
    if int(tables.query(f"SELECT count(*) FROM tb_hsx_img_value WHERE image_id < {FIRST}")) >= BASE + number:
        raise SystemExit("the backfill ended before the inserts did: give it more images")


def show(measured: dict[str, list[float]]) -> None:
    print(f"Milliseconds from commit to commit ({machine()})\n")
    print("| daemon | inserts | p50 | target | p99 | target | most |\n| --- | --- | --- | --- | --- | --- | --- |")
    for name, waits in measured.items():
        cuts = statistics.quantiles(waits, n=100)
        targets = [f"{target:.0f}" if target else "" for target in TARGETS[name]]
        row: list[Any] = [name, len(waits), f"{cuts[49]:.1f}", targets[0], f"{cuts[98]:.1f}", targets[1]]
        print("| " + " | ".join(map(str, [*row, f"{max(waits):.1f}"])) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--backfill", type=int, default=20_000)
    parser.add_argument("--quick", action="store_true", help="100 images, 5,000 in the backfill")
    arguments = parser.parse_args()
    images, number = (100, 5000) if arguments.quick else (arguments.images, arguments.backfill)
    with scene(600) as on:
        show(measure(on, images, number))


if __name__ == "__main__":
    main()
