"""What the statements of the queue cost does not grow with the queue: indexes are used, and few pages are read.

The statements are those that run, caught on their way, and explained with the parameters that they ran with.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from daemon.db.driver import Cursor
from daemon.db.encode import VectorColumn
from daemon.db.jobs import JobQueue
from daemon.db.outcomes import OutcomeWriter
from daemon.db.pool import Pool
from daemon.errors import Reason
from daemon.records import Claim, Dead, Released, Stored
from tests.plans import buffers, nodes
from tests.postgres import DIMENSION, Database

JOBS = 60_000
BATCH = 64
PAGES = 6 * BATCH
"""Read or written for a batch at most: a few for each job. The table of jobs alone has some thousand."""
FILL = f"""
DROP INDEX tb_hsx_img_value_feature_vector_hnsw;
ALTER TABLE ecai.tb_image DISABLE TRIGGER USER;
INSERT INTO ecai.tb_image (id, url) SELECT n, 'x' FROM generate_series(1, {JOBS}) n;
INSERT INTO vectord.job (image_id, priority, state, not_before, lease_token, lease_until, reason, failed_at)
SELECT n, n % 2, CASE WHEN n % 5 = 0 THEN 'dead' ELSE 'pending' END, now() + (n % 7 - 5) * interval '1 hour',
       CASE WHEN n % 11 = 0 THEN gen_random_uuid() END, CASE WHEN n % 11 = 0 THEN now() + interval '1 hour' END,
       CASE WHEN n % 5 = 0 THEN 'gone' END, CASE WHEN n % 5 = 0 THEN now() END
FROM generate_series(1, {JOBS}) n;
INSERT INTO tb_hsx_img_value (image_id, feature_vector, model_version)
SELECT n, ARRAY[n, 1, 1, 1]::real[]::vector, 'old' FROM generate_series(1, {JOBS}, 2) n;
ALTER TABLE ecai.tb_image ENABLE TRIGGER USER;
"""


class Explaining(Pool):
    """A pool that explains every statement of a table scan or a write after the fact, in the same transaction."""

    plans: list[tuple[str, dict[str, Any]]]

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        with super().transaction() as cursor:
            yield _Spy(cursor, self.plans)  # type: ignore[misc] # it quacks like one


class _Spy:
    def __init__(self, cursor: Cursor, plans: list[tuple[str, dict[str, Any]]]) -> None:
        self._cursor = cursor
        self._plans = plans

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, sql: str, parameters: Any = None) -> None:
        sql = "\n".join(line for line in sql.splitlines() if not line.startswith("--"))
        setting, _, rest = sql.partition(";\n")
        if setting.startswith("SET LOCAL"):
            self._cursor.execute(setting)
            sql = rest
        if ";" in sql:
            self._cursor.execute(sql, parameters)
            return
        self._cursor.execute("SAVEPOINT before")
        self._cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", parameters)
        ((answer,),) = self._cursor.fetchall()
        self._plans.append((sql, answer[0]["Plan"]))
        self._cursor.execute("ROLLBACK TO SAVEPOINT before")
        self._cursor.execute(sql, parameters)


@pytest.fixture(params=[True, False], ids=["analyzed", "not analyzed"])
def pool(request: pytest.FixtureRequest, database: Database) -> Iterator[Explaining]:
    """Over a queue of many jobs, with and without statistics: both happen, and neither may matter."""
    database.execute("ALTER TABLE vectord.job SET (autovacuum_enabled = false)")
    database.execute(FILL)
    if request.param:
        for table in ("vectord.job", "ecai.tb_image", "tb_hsx_img_value"):
            database.execute(f"ANALYZE {table}")
    made = Explaining(database.dsn, size=1)
    made.plans = []
    yield made
    made.close()


def check(plans: list[tuple[str, dict[str, Any]]]) -> None:
    """No scan of a whole table, and few pages."""
    for sql, plan in plans:
        scanned = {
            node["Relation Name"]
            for node in nodes(plan)
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] in {"job", "tb_image", "tb_hsx_img_value"}
        }
        assert not scanned, f"{scanned} scanned whole: {sql}"
        pages = buffers(plan)
        assert pages <= PAGES * 4, f"{pages} pages: {sql}"
    plans.clear()


def test_nothing_costs_more_in_a_long_queue(database: Database, pool: Explaining) -> None:
    queue = JobQueue(pool, database.names, worker="w", lease_seconds=60)
    column = VectorColumn(dimension=DIMENSION)
    writer = OutcomeWriter(pool, database.names, vector_column=column, signature="s")
    claims = queue.claim(BATCH)
    assert len(claims) == BATCH
    assert any(node.get("Index Name") == "job_due" for _, plan in pool.plans for node in nodes(plan))
    check(pool.plans)
    assert queue.renew(claims) == BATCH
    check(pool.plans)
    assert queue.seconds_until_due() == 0
    check(pool.plans)
    assert writer.write(stored(claims[:-4])).stored == BATCH - 4
    check(pool.plans)
    dead = [Dead(claim=claim, stage="load", reason=Reason.GONE, detail="") for claim in claims[-4:-2]]
    assert writer.write([*dead, Released(claim=claims[-2])]).dead == 2
    check(pool.plans)
    assert queue.release(claims[-1:]) == 1
    check(pool.plans)


def stored(claims: list[Claim]) -> list[Stored]:
    return [Stored(claim=claim, vector=np.ones(DIMENSION, dtype=np.float32)) for claim in claims]
