"""A run walks its window and settles its images by index: it costs the same on a hundred million rows."""

import json
from contextlib import closing
from typing import Any

import pytest

from daemon.db.names import load_queries
from daemon.db.runs import MOST_FAILED_IDS, QUERIES, Runs
from daemon.db.sweep import SweepOptions
from daemon.db.yielding import LOCK_TIMEOUT
from tests.plans import buffers, nodes
from tests.postgres import Database, MakeDatabase

SIGNATURE = "vectord:mobilenetv2_1.0_224:1a2b3c4d:g0"
WINDOW = 500
BUFFERS_PER_ID = 16
"""Some probes of indexes of three levels each, a page of each table, and the row that is written or deleted."""


def filled(make_database: MakeDatabase, rows: int) -> Database:
    """Images, all but each hundredth with a vector; nothing is analysed."""
    database = make_database(trigger=False, index="none")
    for table in ("ecai.tb_image", "tb_hsx_img_value", "vectord.run_image"):
        database.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
    database.execute("INSERT INTO ecai.tb_image (id, url) SELECT id, 'x' FROM generate_series(1, %s) id", (rows,))
    database.execute(
        "INSERT INTO tb_hsx_img_value (image_id, feature_vector, model_version) "
        "SELECT id, '[1,0,0,0]', %s FROM generate_series(1, %s) id WHERE id %% 100 <> 0",
        (SIGNATURE, rows),
    )
    return database


@pytest.fixture
def small(make_database: MakeDatabase) -> Database:
    return filled(make_database, 5_000)


@pytest.fixture
def large(make_database: MakeDatabase) -> Database:
    return filled(make_database, 100_000)


def plan(database: Database, query: str, values: dict[str, Any]) -> dict[str, Any]:
    """The plan as it ran inside a step's transaction, which is then rolled back."""
    queries = load_queries(database.names, QUERIES)
    with closing(database.connect()) as session, session.cursor() as cursor:
        cursor.execute(queries["begin"], {"lock_timeout": LOCK_TIMEOUT})
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {queries[query]}", values)
        (row,) = cursor.fetchall()
        session.rollback()
    (top,) = row[0] if isinstance(row[0], list) else json.loads(row[0])
    found: dict[str, Any] = top["Plan"]
    return found


def take(database: Database, *, forced: bool = False, after: int | None = 4_000) -> dict[str, Any]:
    values: dict[str, Any] = {
        "after": after,
        "window": WINDOW,
        "room": 10_000,
        "forced": forced,
        "signature": SIGNATURE,
    }
    return plan(database, "take", values | {"ours": "vectord:", "replace_foreign": False})


def settle(database: Database) -> dict[str, Any]:
    """With as many images remembered as a full queue has."""
    runs = Runs(database.pool, database.names, SweepOptions(window=WINDOW))
    run = runs.ask(limit=None, skip_processed=True, forced=True)
    assert runs.step(SIGNATURE).queued == WINDOW
    return plan(database, "settle", {"run": str(run), "most_ids": MOST_FAILED_IDS})


def scans(node: dict[str, Any]) -> set[tuple[str, bool]]:
    """The tables that are read, and whether by index."""
    found = (one for one in nodes(node) if "Relation Name" in one and "Scan" in one["Node Type"])
    return {(one["Relation Name"], one["Node Type"].startswith("Index")) for one in found}


@pytest.mark.parametrize("after", [None, 90_000], ids=["from the beginning", "from the middle"])
@pytest.mark.parametrize("forced", [False, True], ids=["as needed", "forced"])
@pytest.mark.parametrize("analysed", [False, True], ids=["never analysed", "analysed"])
def test_a_window_is_read_by_index(large: Database, after: int | None, *, forced: bool, analysed: bool) -> None:
    if analysed:
        large.execute("ANALYZE")
    found = take(large, forced=forced, after=after)
    assert scans(found) == {("tb_image", True), ("tb_hsx_img_value", True)}
    assert buffers(found) < WINDOW * BUFFERS_PER_ID


def test_a_step_costs_the_same_in_a_large_table(small: Database, large: Database) -> None:
    for step in (take, settle):
        one, other = (buffers(step(database)) for database in (small, large))
        # A level more of each index is all that twenty times the rows may cost.
        assert other < one * 1.5


def test_what_became_of_its_images_is_looked_up_by_index(large: Database) -> None:
    found = settle(large)
    assert {table for table, by_index in scans(found) if not by_index} <= {"run_image", "run"}
    assert buffers(found) < WINDOW * BUFFERS_PER_ID
