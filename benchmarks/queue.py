"""Jobs per second of one daemon's queue, beside procrastinate and pgqueuer on the same server.

    .venv/bin/pip install -r requirements-bench.txt
    .venv/bin/python -m benchmarks.queue [--jobs 20000] [--rounds 5]

Each drains jobs that do nothing, in a database of its own, the three taking turns. vectord claims and finishes as the
daemon does: claims of `CLAIMED` jobs with their locations, and outcomes written with `OutcomeWriter`,
each with a vector of three dimensions into a table without an index, so that it does more than nothing. pgqueuer runs
its QueueManager in drain mode with its largest sensible batch, procrastinate its worker with `wait=False`; of several
settings of each, the best counts.
"""

import argparse
import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import closing
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.postgres import database, execute, server, show
from daemon.db.encode import VectorColumn
from daemon.db.jobs import JobQueue
from daemon.db.names import Names
from daemon.db.outcomes import OutcomeWriter
from daemon.db.pool import Pool
from daemon.db.schema import SchemaOptions, migrate
from daemon.records import Stored

CLAIMED = 256
PGQUEUER_BATCHES = (64, 256, 1024)
PROCRASTINATE_CONCURRENCY = (1, 10, 50)
IMAGES = "INSERT INTO ecai.tb_image (id, url) SELECT n, 'http://example.test/' || n FROM generate_series(1, {jobs}) n"


def main() -> None:
    """Measures and prints."""
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    ways: dict[str, Callable[[str, int], float]] = {
        "vectord": vectord,
        **{f"pgqueuer, batches of {size}": pgqueuer(size) for size in PGQUEUER_BATCHES},
        **{f"procrastinate, {count} at a time": procrastinate(count) for count in PROCRASTINATE_CONCURRENCY},
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with server() as dsn:
        for _ in range(options.rounds):
            for name, drain in ways.items():
                with database(dsn, "bench") as made:
                    # procrastinate is slower by an order of magnitude: fewer jobs, so that the rounds stay comparable.
                    jobs = options.jobs // 10 if name.startswith("procrastinate") else options.jobs
                    rates[name].append(jobs / drain(made, jobs))
    show("Jobs claimed and finished by one daemon", rates, "jobs/s", "vectord")


def vectord(dsn: str, jobs: int) -> float:
    """Seconds to drain."""
    vector = np.ones(3, dtype=np.float32)
    with closing(Pool(dsn, size=2)) as pool:
        migrate(pool, Names(), SchemaOptions(dimension=3, index="none"))
        execute(dsn, IMAGES.format(jobs=jobs))
        queue = JobQueue(pool, Names(), worker="bench", lease_seconds=60)
        column = VectorColumn(dimension=3)
        writer = OutcomeWriter(pool, Names(), vector_column=column, signature="bench")
        done, began = 0, time.perf_counter()
        while claims := queue.claim(CLAIMED):
            done += writer.write([Stored(claim=claim, vector=vector) for claim in claims]).stored
        seconds = time.perf_counter() - began
    require(done == jobs)
    return seconds


def pgqueuer(batch: int) -> Callable[[str, int], float]:
    """A drain with batches of this size."""

    async def drain(dsn: str, jobs: int) -> float:
        asyncpg: Any = import_module("asyncpg")
        library: Any = import_module("pgqueuer")
        types: Any = import_module("pgqueuer.types")
        connection = await asyncpg.connect(**_arguments(dsn))
        manager = library.QueueManager(library.Queries(library.AsyncpgDriver(connection)))
        await manager.queries.install()
        done = 0

        @manager.entrypoint("noop")  # type: ignore[untyped-decorator] # Imported by name, so untyped.
        async def noop(_: Any) -> None:
            nonlocal done
            done += 1

        for start in range(0, jobs, 5000):
            count = min(5000, jobs - start)
            await manager.queries.enqueue(["noop"] * count, [None] * count, [0] * count)
        began = time.perf_counter()
        await manager.run(batch_size=batch, mode=types.QueueExecutionMode.drain)
        seconds = time.perf_counter() - began
        await connection.close()
        require(done == jobs)
        return seconds

    return lambda dsn, jobs: asyncio.run(drain(dsn, jobs))


def procrastinate(concurrency: int) -> Callable[[str, int], float]:
    """A drain with so many jobs at a time."""

    async def drain(dsn: str, jobs: int) -> float:
        library: Any = import_module("procrastinate")
        app = library.App(connector=library.PsycopgConnector(conninfo=dsn, min_size=4, max_size=20))
        done = 0

        @app.task(name="noop")  # type: ignore[untyped-decorator] # Imported by name, so untyped.
        async def noop() -> None:
            nonlocal done
            done += 1

        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            await noop.batch_defer_async(*[{} for _ in range(jobs)])
            began = time.perf_counter()
            await app.run_worker_async(
                wait=False, concurrency=concurrency, delete_jobs="successful", install_signal_handlers=False
            )
            seconds = time.perf_counter() - began
        require(done == jobs)
        return seconds

    return lambda dsn, jobs: asyncio.run(drain(dsn, jobs))


def _arguments(dsn: str) -> dict[str, str]:
    """A libpq string as asyncpg's arguments."""
    parts = dict(part.split("=", 1) for part in dsn.split())
    return {"user": parts["user"], "database": parts["dbname"], "host": parts["host"]}


def require(finished: bool) -> None:  # noqa: FBT001 - an assertion that python -O keeps
    """A drain that left jobs behind is no measurement."""
    if not finished:
        raise SystemExit("not all jobs were done")


if __name__ == "__main__":
    main()
