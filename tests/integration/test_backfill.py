"""`backfill` on clusters of this machine's: the whole way, hurt in the middle, stopped and resumed, beside a daemon."""

import os
import secrets
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import pytest

from daemon import wiring
from tests.clusters import (
    MARK,
    Nodes,
    backfill,
    end_of,
    holding,
    processes,
    wait_for_vectors,
    wait_until_gone,
    workers,
)
from tests.pictures import Web, picture
from tests.whole import Tables, call, daemon_process, settings, stop

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="requirements-ray.txt is not installed"),
    pytest.mark.timeout(900),
]

IMAGES, GONE = 320, 7
UNIT = 64
PATIENT = {
    "VECTORD_FETCH__READ_TIMEOUT": "60",
    "VECTORD_FETCH__TOTAL_TIMEOUT": "60",
    "VECTORD_FETCH__PER_HOST": "1000",
    "VECTORD_LOADER__THREADS": "128",
}
"""Sources may keep a loader waiting for as long as a test does, and a loader waits for two units' images at a time."""
UNANNOUNCED = {"VECTORD_QUEUE__LEASE_SECONDS": "4", "VECTORD_QUEUE__TRIGGER": "false"}
RAY = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
"""Clusters and drivers of a test know each other by a token, and leave none in anybody's home."""
CLUSTER = "cluster"
SAME = 1e-4
"""By which two engines' batches may differ in one component."""
AUDIT = """
CREATE TABLE written (
    image_id bigint, who text DEFAULT current_setting('application_name'), at timestamptz DEFAULT clock_timestamp()
);
CREATE FUNCTION tell_written() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN INSERT INTO written VALUES (NEW.image_id); RETURN NULL; END $$;
CREATE TRIGGER written AFTER INSERT OR UPDATE ON tb_hsx_img_value FOR EACH ROW EXECUTE FUNCTION tell_written();
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A cluster on loopback, of one node to begin with."""
    with closing(Nodes(os.environ | RAY | {MARK: CLUSTER})) as nodes:
        yield nodes


@pytest.fixture
def cluster(nodes: Nodes) -> Nodes:
    """Two nodes, each a raylet with a CPU and an object store of its own."""
    nodes.two()
    return nodes


@pytest.fixture
def given(small: dict[str, str]) -> dict[str, str]:
    """The environment of commands. Nobody announces images."""
    return small | PATIENT | UNANNOUNCED | RAY


@pytest.fixture
def tables(given: dict[str, str], empty_database: str, web: Web) -> Tables:
    """Images without jobs, one of which is not there. Each write of a vector is written down."""
    made = call(given, "init")
    assert made.returncode == 0, made.stderr
    tables = Tables(empty_database)
    tables.execute(AUDIT)
    rows = [(n, web.add(f"/{n}.jpg", picture(n))) for n in range(1, IMAGES + 1)]
    with closing(psycopg2.connect(empty_database)) as session, session, session.cursor() as cursor:
        cursor.executemany("INSERT INTO ecai.tb_image (id, url) VALUES (%s, %s)", rows)
    del web.files[f"/{GONE}.jpg"]
    return tables


@pytest.fixture
def judge(tables: Tables, small_weights: Path, compiled: Path, web: Web) -> Callable[[], None]:
    """Compares the tables row by row with what each image alone comes to."""

    def compare() -> None:
        wanted = {n for (n,) in tables.execute("SELECT id FROM ecai.tb_image")} - {GONE}
        assert {n: (state, reason) for n, (state, reason, _) in tables.jobs().items()} == {GONE: ("dead", "not_found")}
        assert sorted(n for (n,) in tables.execute("SELECT image_id FROM written")) == sorted(wanted)
        found = tables.vectors()
        assert found.keys() == wanted
        given = settings("unused", compiled, model={"alpha": 0.35, "input_size": 96, "weights": str(small_weights)})
        with wiring.open_embedder(given) as make:
            for n in wanted:
                right = make(web.base + f"/{n}.jpg", None)
                stored = np.fromstring(found[n].strip("[]"), np.float32, sep=",")
                np.testing.assert_allclose(stored, right, atol=SAME, err_msg=f"image {n}")

    return compare


def test_every_image_ends_with_a_vector_or_a_reason(
    given: dict[str, str], tables: Tables, judge: Callable[[], None]
) -> None:
    done = call(given | {MARK: "whole"}, "backfill", "--ray", "local", "--shard-images", "100", "--drop-index")

    assert done.returncode == 0, done.stderr + done.stdout
    judge()
    assert tables.execute("SELECT attempts FROM vectord.job") == [(1,)]
    assert tables.execute("SELECT count(*) FROM vectord.shard WHERE finished_at IS NOT NULL") == [(4,)]
    assert tables.execute("SELECT count(*) FROM vectord.backfill") == [(0,)]
    assert tables.execute("SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%hnsw%'") == [(1,)]
    assert not wait_until_gone(lambda: processes("whole"))

    lost = 8
    tables.execute(f"DELETE FROM tb_hsx_img_value WHERE image_id = {lost}")
    tables.execute(f"DELETE FROM written WHERE image_id = {lost}")
    again = call(given | {MARK: "again"}, "backfill", "--ray", "local")
    assert again.returncode == 0, again.stderr + again.stdout
    assert "1 vectors stored" in again.stdout
    judge()

    index = "SELECT c.oid FROM pg_class c JOIN pg_am a ON a.oid = relam WHERE relkind = 'i' AND amname = 'hnsw'"
    before = tables.execute(index)
    nothing = call(given | {MARK: "nothing"}, "backfill", "--ray", "local", "--drop-index")
    assert nothing.returncode == 0, nothing.stderr + nothing.stdout
    assert tables.execute(index) == before != []


def everything(tables: Tables) -> list[Any]:
    """That a dry run might change."""
    return [
        tables.execute(sql)
        for sql in (
            "SELECT oid FROM pg_class ORDER BY 1",
            "SELECT oid FROM pg_trigger ORDER BY 1",
            "SELECT key, value FROM vectord.setting ORDER BY 1",
            "SELECT count(*) FROM vectord.reprocess",
        )
    ]


def test_a_dry_run_tells_the_plan_and_writes_nothing(given: dict[str, str], tables: Tables) -> None:
    crew = ["--loaders", "1", "--embedders", "1"]
    before = everything(tables)
    done = call(given, "backfill", "--ray", "local", "--shard-images", "100", *crew, "--dry-run")

    assert done.returncode == 0, done.stderr + done.stdout
    assert "4 to do, of 4" in done.stdout
    assert f"{IMAGES:,} to do (estimated)" in done.stdout
    # 64 of each shard, and the last one has 20.
    assert "measured on 212 images, 1 of which failed" in done.stdout
    assert "1 loader," in done.stdout
    assert "1 engine," in done.stdout
    assert (tables.vectors(), tables.jobs()) == ({}, {})
    assert tables.execute("SELECT count(*) FROM vectord.shard") == [(0,)]
    assert everything(tables) == before


def test_a_dry_run_makes_no_schema(small: dict[str, str], empty_database: str) -> None:
    done = call(small, "backfill", "--ray", "local", "--dry-run")

    assert done.returncode == 1
    assert "run `python -m daemon init` first" in done.stderr
    with closing(psycopg2.connect(empty_database)) as session, session.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname IN ('vectord', 'ecai')")
        assert cursor.fetchone() == (0,)


@pytest.mark.slow
def test_workers_and_a_node_that_die_cost_nothing(
    given: dict[str, str], tables: Tables, web: Web, cluster: Nodes, judge: Callable[[], None]
) -> None:
    with backfill(given, cluster.address) as process:
        with holding(web, 2 * UNIT + 1, IMAGES):
            wait_for_vectors(tables, UNIT - 1)
            for stage in ("_Load", "_Embed", "LocalLedger"):
                os.kill(next(iter(workers(CLUSTER, stage))), signal.SIGKILL)
            cluster.kill_one()
        status, out = end_of(process)

    assert status == 0, out
    judge()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "where"),
    [
        (signal.SIGTERM, CLUSTER),
        # One that began a cluster of its own has to end that, too.
        (signal.SIGTERM, "local"),
        (signal.SIGINT, CLUSTER),
        (signal.SIGKILL, CLUSTER),
    ],
)
def test_stopped_and_resumed(
    given: dict[str, str],
    tables: Tables,
    web: Web,
    cluster: Nodes,
    judge: Callable[[], None],
    number: signal.Signals,
    where: str,
) -> None:
    """Ended after a unit, while its loaders wait for images, it leaves nothing running and nothing leased."""
    address, mark = ("local", "driver") if where == "local" else (cluster.address, CLUSTER)
    with backfill(given | {MARK: "driver"}, address) as process, holding(web, UNIT + 1, IMAGES):
        wait_for_vectors(tables, UNIT - 1)
        assert workers(mark)
        process.send_signal(number)
        status, out = end_of(process)
        assert status == (-signal.SIGKILL if number == signal.SIGKILL else 1), out
        assert not wait_until_gone(lambda: workers(mark) | processes("driver"))
    if number == signal.SIGKILL:
        # Nobody gave back what was leased: the leases have to run out.
        tables.execute("UPDATE vectord.job SET lease_until = now() WHERE lease_until IS NOT NULL")
    assert tables.execute("SELECT count(*) FROM vectord.job WHERE lease_until > now()") == [(0,)]
    assert len(tables.vectors()) < IMAGES - 1
    with backfill(given, cluster.address) as process:
        status, out = end_of(process)

    assert status == 0, out
    assert tables.execute("SELECT count(*) FROM vectord.shard WHERE finished_at IS NULL") == [(0,)]
    judge()


HANGS = """
import atexit, sys, time
def hang():
    time.sleep(3600)
if any("default_worker" in one for one in sys.orig_argv):
    # The first to be registered is the last to be called: Ray has taken its leave by then.
    atexit.register(hang)
"""


@pytest.mark.slow
def test_a_worker_that_hangs_in_its_end_goes_with_its_cluster(
    given: dict[str, str], tables: Tables, web: Web, tmp_path: Path
) -> None:
    """As the threads of native libraries may. Ray looks after nobody who has taken leave of it; which of the workers
    come that far before Ray kills them is chance.
    """
    (tmp_path / "sitecustomize.py").write_text(HANGS)
    with backfill(given | {MARK: "driver", "PYTHONPATH": str(tmp_path)}, "local") as process:
        with holding(web, UNIT + 1, IMAGES):
            wait_for_vectors(tables, UNIT - 1)
            process.send_signal(signal.SIGTERM)
            status, out = end_of(process)
        assert status == 1, out
        assert not wait_until_gone(lambda: workers("driver") | processes("driver"))


def owners(tables: Tables, images: Iterable[int]) -> list[str]:
    """Who has these images leased, lease by lease."""
    sql = """SELECT CASE WHEN worker LIKE 'backfill:%%' THEN 'backfill' ELSE 'daemon' END FROM vectord.job
    WHERE image_id = ANY(%s) AND lease_until > now()"""
    return [who for (who,) in tables.execute(sql, (list(images),))]


@pytest.mark.slow
def test_beside_a_daemon_whoever_comes_second_stores_nothing(
    given: dict[str, str], tables: Tables, web: Web, cluster: Nodes, judge: Callable[[], None]
) -> None:
    """A loader takes two units at a time: when the first is stored, the next two wait for their images."""
    expired, frozen, late = [193, 194], [257, 258], [*range(1001, 1017)]
    given |= {"VECTORD_SWEEP__INTERVAL_SECONDS": "1"}
    alone = ["--loaders", "1", "--embedders", "1", "--connections", "2"]

    def made(images: Sequence[int]) -> bool:
        return set(images) <= tables.vectors().keys()

    def expire(images: Sequence[int], whose: str) -> None:
        sql = "UPDATE vectord.job SET lease_until = now() WHERE image_id = ANY(%s) AND lease_until > now()"
        tables.execute(sql + " AND (worker LIKE 'backfill:%%') = %s", (list(images), whose == "backfill"))

    def taken_over(images: Sequence[int], whose: str, by: str) -> bool:
        """Once more each time: a beat of the heart may come between, and renew the lease."""
        expire(images, whose)
        return owners(tables, images) == [by] * len(images)

    with ExitStack() as running:
        with holding(web, 195, IMAGES), ExitStack() as fourth, ExitStack() as second:
            fourth.enter_context(holding(web, 193, 194))
            second.enter_context(holding(web, UNIT + 1, 192))
            process = running.enter_context(backfill(given, cluster.address, *alone))
            wait_for_vectors(tables, UNIT - 1)
            daemon = running.enter_context(daemon_process(given))

            # What lies beyond the leg's range is the daemon's; the sweep passes over the range. Once the last one is
            # found, it has been all the way around.
            for images in late[:-1], late[-1:]:
                tables.insert({n: web.add(f"/{n}.jpg", picture(n)) for n in images})
                tables.wait(partial(made, images), "the daemon made no new ones")
            assert owners(tables, range(193, IMAGES + 1)) == []

            # What the application has just written is a daemon's as much as anybody's. That one freezes, its leases run
            # out, and the backfill comes to its last unit and takes the images over.
            tables.execute("INSERT INTO vectord.job (image_id) SELECT unnest(%s)", (frozen,))
            tables.wait(lambda: owners(tables, frozen) == ["daemon"] * 2, "the daemon claimed none of them")
            daemon.send_signal(signal.SIGSTOP)
            expire(frozen, "daemon")
            second.close()
            tables.wait(lambda: owners(tables, frozen) == ["backfill"] * 2, "the backfill took over nothing")
            daemon.send_signal(signal.SIGCONT)

            # And the other way round.
            tables.wait(lambda: taken_over(expired, "backfill", by="daemon"), "the daemon took over nothing")
            fourth.close()
            tables.wait(partial(made, expired), "the daemon did not make what it took over")
        status, out = end_of(process)
        assert stop(daemon, signal.SIGTERM) == 0

    assert status == 0, out
    judge()
    ours = {n for (n,) in tables.execute("SELECT image_id FROM written WHERE who = 'vectord-backfill'")}
    assert ours == set(range(1, IMAGES + 1)) - {GONE} - set(expired)
