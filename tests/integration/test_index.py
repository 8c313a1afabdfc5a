"""The index over the vectors: built, dropped and rebuilt while others work, and cleared away where a build failed."""

from contextlib import closing

import pytest

from daemon.db.index import Progress, VectorIndex
from daemon.db.names import Names
from daemon.db.pool import Pool
from daemon.errors import DatabaseError, DatabaseUnavailableError
from tests.postgres import Database, MakeDatabase, users_tables, wait_until_blocked

INDEXES = """
SELECT indexdef, indisvalid
FROM pg_indexes JOIN pg_index ON indexrelid = format('%I.%I', schemaname, indexname)::regclass
WHERE indexdef LIKE '%hnsw%'
"""
ROWS = """
INSERT INTO ecai.tb_image (id) SELECT generate_series(1, 200);
INSERT INTO tb_hsx_img_value (image_id, feature_vector)
SELECT id, ARRAY[id, 1, 2, 3]::{} FROM ecai.tb_image
"""


@pytest.mark.parametrize("kind", ["vector", "halfvec"])
def test_it_is_dropped_and_built_again(make_database: MakeDatabase, kind: str) -> None:
    database = make_database(before=users_tables(vector=f"{kind}(4)"))
    database.execute(ROWS.format(f"real[]::{kind}(4)"))
    index = VectorIndex(database.pool, database.names, memory_mb=64, look_seconds=0.01)
    assert all(isinstance(one, Progress) for one in index.build())
    ((definition, valid),) = database.execute(INDEXES)
    assert valid
    assert f"{kind}_cosine_ops" in definition
    # A second time there is nothing to do.
    assert list(index.build()) == []
    list(index.rebuild())
    assert [row[1] for row in database.execute(INDEXES)] == [True]
    assert index.there()
    assert index.drop() == ["public.tb_hsx_img_value_feature_vector_hnsw"]
    assert not index.there()
    assert database.execute(INDEXES) == []
    list(index.rebuild())
    assert [row[1] for row in database.execute(INDEXES)] == [True]


def test_progress_is_told_while_it_waits_for_others(database: Database) -> None:
    database.execute(ROWS.format("real[]::vector(4)"))
    index = VectorIndex(database.pool, database.names, look_seconds=0.01)
    index.drop()
    with closing(database.connect()) as session:
        session.cursor().execute("UPDATE tb_hsx_img_value SET model_version = 'x' WHERE image_id = 1")
        building = index.build()
        assert next(building).phase.startswith("waiting for writers")
        session.commit()
    list(building)
    assert [row[1] for row in database.execute(INDEXES)] == [True]


def test_a_build_that_is_broken_off_leaves_nothing(database: Database) -> None:
    database.execute(ROWS.format("real[]::vector(4)"))
    index = VectorIndex(database.pool, database.names, look_seconds=0.01)
    index.drop()
    with closing(database.connect()) as session:
        session.cursor().execute("UPDATE tb_hsx_img_value SET model_version = 'x' WHERE image_id = 1")
        building = index.build()
        next(building)
        assert [row[1] for row in database.execute(INDEXES)] == [False]
        with database.in_thread(building.close) as closing_down:
            wait_until_blocked(database, by=session)
            session.commit()
            closing_down.result(60)
    assert database.execute(INDEXES) == []


def test_a_build_that_still_runs_is_left_alone(database: Database) -> None:
    """Its client may be gone: PostgreSQL goes on."""
    database.execute(ROWS.format("real[]::vector(4)"))
    index = VectorIndex(database.pool, database.names, look_seconds=0.01)
    index.drop()
    with closing(database.connect()) as session:
        session.cursor().execute("UPDATE tb_hsx_img_value SET model_version = 'x' WHERE image_id = 1")
        building = index.build()
        next(building)
        other = VectorIndex(database.pool, database.names)
        for again in (other.build, other.rebuild):
            with pytest.raises(DatabaseError, match=r"process \d+ .* is building an index .*pg_cancel_backend"):
                list(again())
        session.commit()
    list(building)
    assert [row[1] for row in database.execute(INDEXES)] == [True]


def test_what_an_earlier_build_left_is_cleared_away(database: Database) -> None:
    database.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'tb_hsx_img_value_feature_vector_hnsw'::regclass"
    )
    index = VectorIndex(database.pool, database.names)
    assert [row[1] for row in database.execute(INDEXES)] == [False]
    list(index.build())
    assert [row[1] for row in database.execute(INDEXES)] == [True]


def test_a_build_that_fails_says_why_and_leaves_nothing(make_database: MakeDatabase) -> None:
    database = make_database(before=users_tables(vector="vector"), dimension=4)
    database.execute(ROWS.format("real[]::vector(4)"))
    with pytest.raises(DatabaseError, match="dimensions"):
        list(VectorIndex(database.pool, database.names).build())
    assert database.execute(INDEXES) == []


def test_a_cancelled_build_is_told_as_such(database: Database) -> None:
    index = VectorIndex(database.pool, database.names, look_seconds=0.01)
    index.drop()
    with closing(database.connect()) as session:
        session.cursor().execute("INSERT INTO ecai.tb_image (id) VALUES (1); LOCK TABLE tb_hsx_img_value IN SHARE MODE")
        with database.in_thread(lambda: list(index.build())) as building:
            wait_until_blocked(database, by=session)
            database.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%'")
            session.rollback()
            with pytest.raises(DatabaseUnavailableError, match="cancel"):
                building.result(60)
    assert database.execute(INDEXES) == []


def test_timeouts_set_for_others_end_no_build(database: Database) -> None:
    database.execute(ROWS.format("real[]::vector(4)"))
    name = database.execute("SELECT quote_ident(current_database())")[0][0]
    with closing(database.connect()) as session, closing(Pool(database.dsn, size=2)) as pool:
        index = VectorIndex(pool, database.names, look_seconds=0.01)
        index.drop()
        for timeout in ("statement_timeout", "lock_timeout"):
            database.execute(f"ALTER DATABASE {name} SET {timeout} = '200ms'")
        session.cursor().execute("UPDATE tb_hsx_img_value SET model_version = 'x' WHERE image_id = 1")
        building = index.build()
        assert next(building).phase.startswith("waiting for writers")
        session.cursor().execute("SELECT pg_sleep(0.5)")
        session.commit()
        list(building)
    assert [row[1] for row in database.execute(INDEXES)] == [True]


@pytest.mark.parametrize("names", [Names(target_vector="nothing"), Names(target_table="public.nothing")])
def test_nothing_to_index(database: Database, names: Names) -> None:
    with pytest.raises(DatabaseError, match="to index"):
        VectorIndex(database.pool, names).drop()


def test_an_array_cannot_be_indexed(make_database: MakeDatabase) -> None:
    database = make_database(before=users_tables(vector="real[]"))
    with pytest.raises(DatabaseError, match="only vector and halfvec"):
        list(VectorIndex(database.pool, database.names).build())
