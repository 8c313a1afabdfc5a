"""The sweep reads its window by index, whatever the size of the tables and whatever the planner knows of them."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from daemon.db.names import load_queries
from daemon.db.reports import QUERIES as REPORTS
from daemon.db.sweep import QUERIES
from daemon.db.yielding import LOCK_TIMEOUT
from daemon.errors import Reason
from tests.plans import buffers, nodes
from tests.postgres import Database, MakeDatabase

SIGNATURE = "vectord:mobilenetv2_1.0_224:1a2b3c4d:g0"
WINDOW = 500
BUFFERS_PER_ID = 12
"""Three probes of an index of three levels each, and a page of each table: nothing near a table's number of pages."""

FIND = {
    "window": WINDOW,
    "room": 10_000,
    "signature": SIGNATURE,
    "ours": "vectord:",
    "replace_foreign": False,
    "forced_since": None,
}


def fill(database: Database, rows: int, *, missing_each: int) -> None:
    """Images, all but every so-manieth with a vector; nothing is analysed."""
    database.execute("ALTER TABLE ecai.tb_image SET (autovacuum_enabled = false)")
    database.execute("ALTER TABLE tb_hsx_img_value SET (autovacuum_enabled = false)")
    database.execute("INSERT INTO ecai.tb_image (id, url) SELECT id, 'x' FROM generate_series(1, %s) id", (rows,))
    database.execute(
        "INSERT INTO tb_hsx_img_value (image_id, feature_vector, model_version) "
        "SELECT id, '[1,0,0,0]', %s FROM generate_series(1, %s) id WHERE id %% %s <> 0",
        (SIGNATURE, rows, missing_each),
    )


WINDOWS_TABLES = {"tb_image", "tb_hsx_img_value", "job"}
HANDFUL = {"backfill"}
"""Tables of a row or two, which are read as a whole."""


def plan(database: Database, query: str, values: dict[str, object], *, path: Path = QUERIES) -> dict[str, Any]:
    """The plan as it ran, a sweep's inside a tick's transaction, which is then rolled back."""
    queries = load_queries(database.names, path)
    with closing(database.connect()) as session, session.cursor() as cursor:
        if path is QUERIES:
            cursor.execute(queries["begin"], {"lock": "test", "lock_timeout": LOCK_TIMEOUT})
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {queries[query]}", values)
        (row,) = cursor.fetchall()
        session.rollback()
    (top,) = row[0] if isinstance(row[0], list) else json.loads(row[0])
    found: dict[str, Any] = top["Plan"]
    return found


def scanned(node: dict[str, Any]) -> dict[str, set[str]]:
    """The kinds of scan, by table."""
    found: dict[str, set[str]] = {}
    for one in nodes(node):
        if "Relation Name" in one and "Scan" in one["Node Type"] and one["Relation Name"] not in HANDFUL:
            found.setdefault(one["Relation Name"], set()).add(one["Node Type"])
    return found


def check_read_by_index(node: dict[str, Any], tables: set[str]) -> None:
    """These tables are read, all by index, and no others."""
    found = scanned(node)
    assert found.keys() == tables
    assert all(kind.startswith("Index") for kinds in found.values() for kind in kinds), found


@pytest.fixture
def small(make_database: MakeDatabase) -> Database:
    made = make_database(trigger=False, index="none")
    fill(made, 5_000, missing_each=100)
    return made


@pytest.fixture
def large(make_database: MakeDatabase) -> Database:
    made = make_database(trigger=False, index="none")
    fill(made, 100_000, missing_each=100)
    return made


@pytest.mark.parametrize("after", [None, 90_000], ids=["from the beginning", "from the middle"])
@pytest.mark.parametrize("analysed", [False, True], ids=["never analysed", "analysed"])
def test_a_window_is_read_by_index(large: Database, after: int | None, analysed: bool) -> None:  # noqa: FBT001 - a table
    if analysed:
        large.execute("ANALYZE")
    found = plan(large, "find", FIND | {"after": after})
    check_read_by_index(found, WINDOWS_TABLES)
    assert buffers(found) < WINDOW * BUFFERS_PER_ID


@pytest.fixture
def collated(make_database: MakeDatabase) -> Database:
    """Ids that are text with a collation of their own. The table of vectors is vectord's."""
    source = 'CREATE SCHEMA ecai; CREATE TABLE ecai.tb_image (id text COLLATE "C" PRIMARY KEY, url text)'
    made = make_database(before=source, trigger=False, index="none")
    made.execute("INSERT INTO ecai.tb_image SELECT lpad(n::text, 8, '0'), 'x' FROM generate_series(1, 20000) n")
    made.execute(
        "INSERT INTO tb_hsx_img_value (image_id, feature_vector, model_version) "
        "SELECT id, '[1,0,0,0]', %s FROM ecai.tb_image WHERE id NOT LIKE '%%00'",
        (SIGNATURE,),
    )
    made.execute("INSERT INTO vectord.job (image_id) SELECT id FROM ecai.tb_image WHERE id LIKE '%00'")
    made.execute("INSERT INTO vectord.job (image_id) SELECT id || 'x' FROM ecai.tb_image WHERE id LIKE '%00'")
    return made


def test_a_window_of_ids_with_a_collation_is_read_by_index(collated: Database) -> None:
    """An index of another collation is of no use for an equality of two columns, and each probe read the table."""
    for query, values in (
        ("find", FIND | {"after": "00009000"}),
        ("forget", {"after": "00009000", "upto": "00011000", "window": WINDOW}),
    ):
        found = plan(collated, query, values)
        assert scanned(found).keys() >= {"tb_image", "job"}
        assert all(kind.startswith("Index") for kinds in scanned(found).values() for kind in kinds), scanned(found)
        assert buffers(found) < WINDOW * BUFFERS_PER_ID


def test_a_window_costs_the_same_in_a_large_table(small: Database, large: Database) -> None:
    one, other = (buffers(plan(database, "find", FIND | {"after": 4_000})) for database in (small, large))
    # A level more of each index is all that twenty times the rows may cost.
    assert other < one * 1.5


def test_the_same_with_all_of_them_missing_and_in_a_queue_of_jobs(large: Database) -> None:
    large.execute("DELETE FROM tb_hsx_img_value")
    large.execute("INSERT INTO vectord.job (image_id) SELECT id FROM ecai.tb_image WHERE id % 2 = 0 LIMIT 10000")
    found = plan(large, "find", FIND | {"after": 4_000})
    check_read_by_index(found, WINDOWS_TABLES)
    assert buffers(found) < WINDOW * BUFFERS_PER_ID


def test_what_is_new_is_looked_up_by_index(large: Database) -> None:
    found = plan(large, "highest", {})
    assert scanned(found) == {"tb_image": {"Index Only Scan"}}
    assert buffers(found) < 10
    assert buffers(plan(large, "find", FIND | {"after": 100_000})) < 10


def test_what_is_gone_is_looked_up_by_index(large: Database) -> None:
    large.execute("INSERT INTO vectord.job (image_id) SELECT id * 50 FROM generate_series(1, 4000) id")
    found = plan(large, "forget", {"after": 90_000, "upto": 110_000, "window": WINDOW})
    check_read_by_index(found, {"job", "tb_image"})
    assert buffers(found) < 400 * BUFFERS_PER_ID


def test_the_depth_of_the_queue_is_not_counted_to_the_end(large: Database) -> None:
    large.execute("INSERT INTO vectord.job (image_id) SELECT id FROM generate_series(1, 50000) id")
    assert buffers(plan(large, "depth", {"most": 100})) < 150


def test_whether_a_reprocess_is_over_is_seen_by_index(large: Database) -> None:
    large.execute(
        "INSERT INTO vectord.reprocess (generation, cause, forced, walked_at) VALUES (1, 'test', true, now())"
    )
    large.execute("INSERT INTO vectord.job (image_id, priority) SELECT id, 1 FROM generate_series(1, 50000) id")
    assert buffers(plan(large, "finish", {"backfill": 1})) < 50


def test_the_reports_read_jobs_by_index_however_many_there_are(large: Database) -> None:
    large.execute(
        "INSERT INTO vectord.job (image_id, state, reason, failed_at) SELECT id, 'dead', "
        "CASE WHEN id % 2 = 0 THEN 'not_found' ELSE 'truncated' END, now() - id * interval '1 second' "
        "FROM generate_series(1, 50000) id"
    )
    large.execute("INSERT INTO vectord.job (image_id, priority) SELECT id, 1 FROM generate_series(50001, 50100) id")
    large.execute("INSERT INTO vectord.reprocess (generation, cause, forced) VALUES (1, 'test', true)")
    large.execute("ANALYZE")
    labels = [reason.label for reason in Reason]
    found = plan(large, "failures", {"reasons": labels, "limit": 20}, path=REPORTS)
    check_read_by_index(found, {"job", "tb_image"})
    assert buffers(found) < 400
    assert buffers(plan(large, "dead", {"reasons": labels, "most": 100}, path=REPORTS)) < 700
    assert buffers(plan(large, "backlog", {"most": 10_000}, path=REPORTS)) < 150
    assert buffers(plan(large, "reprocess", {"most": 10_000}, path=REPORTS)) < 150
    values = {"reason": "truncated", "before": "now", "limit": 100}
    assert buffers(plan(large, "retry_some", values, path=REPORTS)) < 5_000
