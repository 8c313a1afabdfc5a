"""What the metrics read of the database: right, bounded, and giving way."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.db import gauges
from daemon.db.gauges import LOOKS, QUERIES, Gauges
from daemon.db.names import Names, load_queries
from daemon.db.pool import Pool
from daemon.errors import DatabaseUnavailableError
from daemon.telemetry.lookout import STALE_SECONDS, Lookout
from tests.postgres import Database, MakeDatabase
from tests.proxy import Proxy

JOBS = 60_000
FILL = f"""
INSERT INTO vectord.job (image_id, priority, state, not_before, lease_token, lease_until, reason, failed_at)
SELECT n, n % 2, CASE WHEN n % 5 = 0 THEN 'dead' ELSE 'pending' END, now() + (n % 7 - 5) * interval '1 hour',
       CASE WHEN n % 11 = 0 THEN gen_random_uuid() END, CASE WHEN n % 11 = 0 THEN now() + interval '1 hour' END,
       CASE WHEN n % 5 = 0 THEN 'gone' END, CASE WHEN n % 5 = 0 THEN now() END
FROM generate_series(1, {JOBS}) n
"""


def test_an_empty_database_has_nothing_to_show(database: Database) -> None:
    seen = Gauges(database.pool, database.names).read()
    assert (seen.pending, seen.leased, seen.due, seen.dead) == (0, 0, 0, 0)
    assert (seen.oldest_pending, seen.oldest_due, seen.swept_at, seen.cycle_ended_at) == (None, None, None, None)
    assert (seen.source_rows, seen.target_rows, seen.reprocess_left) == (0, 0, 0)
    assert 0 <= seen.notification_queue < 1
    assert seen.job_table_bytes > 0


def test_jobs_are_counted_by_how_they_stand(database: Database) -> None:
    database.insert(range(1, 8))
    database.execute("UPDATE vectord.job SET state = 'dead', reason = 'gone', failed_at = now() WHERE image_id = 1")
    lease = "lease_token = gen_random_uuid(), lease_until = now() + %s::interval"
    database.execute(f"UPDATE vectord.job SET {lease} WHERE image_id = 2", ("1 minute",))
    database.execute(f"UPDATE vectord.job SET {lease} WHERE image_id = 3", ("-5 minutes",))
    database.execute("UPDATE vectord.job SET not_before = now() + interval '1 hour' WHERE image_id = 4")
    database.execute("UPDATE vectord.job SET enqueued_at = now() - interval '2 hours' WHERE image_id = 4")
    seen = Gauges(database.pool, database.names).read()
    # Due are 5, 6 and 7, and 3, whose lease ran out.
    assert (seen.pending, seen.leased, seen.due, seen.dead) == (6, 1, 4, 1)
    assert seen.oldest_pending is not None
    assert seen.oldest_due is not None
    now = datetime.now(UTC)
    assert now - seen.oldest_pending == pytest.approx(timedelta(hours=2), abs=timedelta(minutes=1))
    assert now - seen.oldest_due == pytest.approx(timedelta(minutes=5), abs=timedelta(minutes=1))


def test_rows_are_estimated_for_plain_and_partitioned_tables(make_database: MakeDatabase) -> None:
    parts = (
        "CREATE SCHEMA ecai; CREATE TABLE ecai.tb_image (id bigint PRIMARY KEY, url text) PARTITION BY RANGE (id);"
        "CREATE TABLE ecai.low PARTITION OF ecai.tb_image FOR VALUES FROM (0) TO (50);"
        "CREATE TABLE ecai.high PARTITION OF ecai.tb_image FOR VALUES FROM (50) TO (1000)"
    )
    for before in ("", parts):
        database = make_database(before=before, trigger=False)
        database.insert(range(1, 101))
        database.execute("ANALYZE ecai.tb_image")
        database.execute("SELECT pg_stat_clear_snapshot()")
        assert Gauges(database.pool, database.names).read().source_rows == 100


def test_a_reprocess_has_left_what_is_not_walked_and_what_is_queued(database: Database) -> None:
    database.insert(range(1, 101))
    database.execute("DELETE FROM vectord.job WHERE image_id > 10")
    database.execute("UPDATE vectord.job SET priority = 1")
    database.execute("ANALYZE ecai.tb_image")
    database.execute("UPDATE vectord.sweep SET cycle_looked = 30, cycle_found = 12, ticked_at = now()")
    begin = "INSERT INTO vectord.reprocess (generation, cause, forced) VALUES (1, 'test', true)"
    database.execute(begin)
    look = Gauges(database.pool, database.names).read
    seen = look()
    assert (seen.reprocessing, seen.cycle_looked, seen.cycle_found, seen.reprocess_left) == (True, 30, 12, 80)
    assert seen.swept_at is not None
    database.execute("UPDATE vectord.reprocess SET walked_at = now()")
    assert look().reprocess_left == 10
    database.execute("UPDATE vectord.reprocess SET ended_at = now()")
    seen = look()
    assert (seen.reprocessing, seen.reprocess_left) == (False, 0)


def test_another_sessions_open_transaction_shows(database: Database) -> None:
    with closing(database.connect()) as session, session.cursor() as cursor:
        cursor.execute("SELECT now()")
        ((began,),) = cursor.fetchall()
        assert Gauges(database.pool, database.names).read().oldest_transaction == began


def test_a_table_that_somebody_holds_is_not_waited_for(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "LOOK_SECONDS", 0.2)
    look = Gauges(database.pool, database.names).read
    with closing(database.connect()) as session, session.cursor() as cursor:
        cursor.execute("LOCK TABLE vectord.job IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseUnavailableError, match="57014"):
            look()
    assert look().pending == 0


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def shown(lookout: Lookout) -> tuple[float, bool]:
    """Whether the database is said to be up, and whether there are figures of it."""
    found = {reading.name: reading.value for reading in lookout.readings()}
    return found["database_up"], "pending_jobs" in found


def test_a_network_that_swallows_everything_holds_up_no_scrape(database: Database) -> None:
    clock = Hands()
    with Proxy(database.dsn) as proxy, closing(Pool(proxy.dsn, size=1)) as pool:
        lookout = Lookout(Gauges(pool, database.names).read, clock)
        lookout.look()
        proxy.hole()
        with database.in_thread(lookout.look) as looking:
            assert shown(lookout) == (1, True)
            clock.now += STALE_SECONDS
            assert shown(lookout) == (0, False)
            assert not looking.done()
            proxy.mend()
        assert looking.exception() is None
        assert shown(lookout) == (1, True)


def test_a_broken_connection_takes_the_figures_along_until_the_next_look(database: Database) -> None:
    with Proxy(database.dsn) as proxy, closing(Pool(proxy.dsn, size=1)) as pool:
        lookout = Lookout(Gauges(pool, database.names).read)
        lookout.look()
        assert shown(lookout) == (1, True)
        proxy.hole()
        with database.in_thread(lookout.look) as looking:
            proxy.cut()
            looking.result(60)
        assert shown(lookout) == (0, False)
        proxy.mend()
        lookout.look()
        assert shown(lookout) == (1, True)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


@pytest.mark.parametrize("analyzed", [True, False])
def test_no_look_reads_a_table_from_end_to_end(database: Database, *, analyzed: bool) -> None:
    database.execute("ALTER TABLE vectord.job SET (autovacuum_enabled = false)")
    database.execute(FILL)
    if analyzed:
        database.execute("ANALYZE vectord.job")
    names = Names()
    queries = load_queries(names, QUERIES)
    values = {"most": 100, "source": names.quoted["source"], "target": names.quoted["target"]}
    with database.pool.transaction() as cursor:
        cursor.execute(queries["begin"], {"milliseconds": "60000"})
        for look in LOOKS:
            sql = "\n".join(line for line in queries[look].splitlines() if not line.startswith("--"))
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", values)
            ((plan,),) = cursor.fetchall()
            root = plan[0]["Plan"]
            scans = {node["Relation Name"] for node in nodes(root) if node["Node Type"] == "Seq Scan"}
            assert "job" not in scans, look
            # A hundred jobs of each kind lie on a few hundred pages at most; the table has some thousand.
            assert root["Shared Hit Blocks"] + root["Shared Read Blocks"] < 600, look
