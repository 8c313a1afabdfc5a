"""Making the schema: what is missing is made, what is there is left alone, and what does not fit is said."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from daemon.db import schema
from daemon.db.encode import VectorColumn
from daemon.db.names import Names
from daemon.db.pool import Pool
from daemon.db.schema import SchemaOptions, migrate
from daemon.errors import DatabaseError, DatabaseUnavailableError
from tests.postgres import DIMENSION, Database, MakeDatabase

OPTIONS = SchemaOptions(dimension=DIMENSION)

COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s::regclass AND a.attnum > 0 ORDER BY a.attnum
"""
EVERYTHING = """
SELECT 'column', c.relname,
    a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || a.attnotnull || a.attstorage::text
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('ecai', 'public') AND c.relkind = 'r' AND a.attnum > 0
UNION ALL SELECT 'constraint', conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace IN ('ecai'::regnamespace, 'public'::regnamespace)
UNION ALL SELECT 'index', tablename, indexdef FROM pg_indexes WHERE schemaname IN ('ecai', 'public')
UNION ALL SELECT 'trigger', tgrelid::regclass::text, pg_get_triggerdef(oid) FROM pg_trigger
WHERE NOT tgisinternal AND tgname NOT LIKE 'vectord%'
UNION ALL SELECT 'relation', relname, concat(relacl, reloptions, relowner, relfilenode) FROM pg_class
WHERE relnamespace IN ('ecai'::regnamespace, 'public'::regnamespace) AND relkind IN ('r', 'i', 'S')
UNION ALL SELECT 'function', proname, prosrc FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
ORDER BY 1, 2, 3
"""
USERS_TABLES = """
CREATE EXTENSION IF NOT EXISTS vector;
CREATE SCHEMA ecai;
CREATE TABLE ecai.tb_image (
    id bigint PRIMARY KEY, url varchar(500), owner text NOT NULL DEFAULT 'x', size int CHECK (size > 0));
CREATE INDEX ON ecai.tb_image (owner);
CREATE TABLE tb_hsx_img_value (
    id bigserial PRIMARY KEY, image_id bigint UNIQUE REFERENCES ecai.tb_image ON DELETE CASCADE,
    feature_vector vector(4), vector_dimension integer, model_version varchar(50), remark text);
INSERT INTO ecai.tb_image (id, url, size) SELECT n, 'http://example.test/' || n, n FROM generate_series(1, 50) n;
INSERT INTO tb_hsx_img_value (image_id, feature_vector) SELECT n, '[1,2,3,4]' FROM generate_series(1, 20) n;
"""


def test_the_users_tables_are_made_as_designed(database: Database) -> None:
    assert database.execute(COLUMNS, ("ecai.tb_image",)) == [
        ("id", "bigint", True, None),
        ("url", "character varying(500)", False, None),
        ("file_type", "smallint", False, None),
        ("md5", "character varying(32)", False, None),
        ("create_time", "timestamp without time zone", False, "now()"),
    ]
    assert database.execute(COLUMNS, ("public.tb_hsx_img_value",)) == [
        ("id", "bigint", True, "nextval('tb_hsx_img_value_id_seq'::regclass)"),
        ("image_id", "bigint", True, None),
        ("feature_vector", f"vector({DIMENSION})", True, None),
        ("vector_dimension", "integer", True, str(DIMENSION)),
        ("model_version", "character varying(50)", False, None),
        ("create_time", "timestamp without time zone", False, "now()"),
        ("update_time", "timestamp without time zone", False, "now()"),
    ]
    indexes = {row[0] for row in database.execute("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'")}
    assert any("USING hnsw (feature_vector vector_cosine_ops)" in one for one in indexes)
    assert any("UNIQUE" in one and "(image_id)" in one for one in indexes)


def test_a_vector_goes_with_its_image_and_its_update_time_is_kept(database: Database) -> None:
    database.insert([1])
    database.execute("INSERT INTO tb_hsx_img_value (image_id, feature_vector) VALUES (1, '[1,2,3,4]')")
    database.execute("UPDATE tb_hsx_img_value SET update_time = 'yesterday', feature_vector = '[1,1,1,1]'")
    assert database.execute("SELECT update_time > now() - interval '1 minute' FROM tb_hsx_img_value") == [(True,)]
    database.execute("DELETE FROM ecai.tb_image")
    assert database.execute("SELECT count(*) FROM tb_hsx_img_value") == [(0,)]


def test_no_index_where_none_is_wanted(make_database: MakeDatabase) -> None:
    made = make_database(index="none")
    assert made.execute("SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%hnsw%'") == [(0,)]


def test_a_second_run_changes_nothing(database: Database) -> None:
    everything = "SELECT xmin, oid, relname, relfilenode FROM pg_class ORDER BY oid"
    triggers = "SELECT xmin, tgname FROM pg_trigger ORDER BY oid"
    before = database.execute(everything), database.execute(triggers)
    migrate(database.pool, database.names, OPTIONS)
    assert (database.execute(everything), database.execute(triggers)) == before


def test_many_daemons_may_start_at_once(empty_database: str) -> None:
    def start(number: int) -> schema.Layout:
        # Two instances, so that one makes what the other finds.
        with closing(Pool(empty_database, size=1)) as pool:
            return migrate(pool, Names(schema=f"vectord{number % 2}"), OPTIONS)

    with ThreadPoolExecutor(8) as threads:
        layouts = list(threads.map(start, range(8)))
    assert {layout.id_type for layout in layouts} == {"bigint"}
    with closing(Pool(empty_database, size=1)) as pool, pool.transaction() as cursor:
        cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'vectord%'")
        assert cursor.fetchone() == (8,)


def test_existing_tables_get_a_trigger_and_nothing_else(empty_database: str) -> None:
    with closing(Pool(empty_database, size=2)) as pool:
        database = Database(empty_database, Names(), pool)
        database.execute(USERS_TABLES)
        rows = "SELECT xmin, ctid, * FROM ecai.tb_image", "SELECT xmin, ctid, * FROM tb_hsx_img_value"
        before = [database.execute(EVERYTHING), *(database.execute(sql) for sql in rows)]
        layout = migrate(pool, Names(), OPTIONS)
        after = [database.execute(EVERYTHING), *(database.execute(sql) for sql in rows)]
        assert before == after
        assert layout.notes == ()
        assert database.execute("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'vectord%'") == [(4,)]


COLLATIONS = """
SELECT a.attrelid::regclass::text, a.attcollation::regcollation::text FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
WHERE c.relnamespace IN ('vectord'::regnamespace, 'public'::regnamespace)
  AND a.attname IN ('image_id', 'cursor_id', 'highest_id', 'after_id', 'upto_id')
GROUP BY 1, 2
"""
TEXT_IDS = """
CREATE SCHEMA ecai; CREATE TABLE ecai.tb_image (id varchar(40){collation} PRIMARY KEY, url text);
"""


def test_ids_are_kept_under_the_collation_of_the_images(make_database: MakeDatabase) -> None:
    made = make_database(before=TEXT_IDS.format(collation=' COLLATE "C"'))
    found = made.execute(COLLATIONS)
    assert {collation for _, collation in found} == {'"C"'}
    assert {table for table, _ in found} >= {"tb_hsx_img_value", "vectord.job", "vectord.run_image", "vectord.sweep"}
    assert migrate(made.pool, made.names, OPTIONS).notes == ()


@pytest.mark.parametrize(("before", "after"), [("", ' COLLATE "C"'), (' COLLATE "C"', ' COLLATE "default"')])
def test_ids_that_are_under_another_collation_are_told_with_the_remedy(
    make_database: MakeDatabase, before: str, after: str
) -> None:
    made = make_database(before=TEXT_IDS.format(collation=before))
    made.execute(f"ALTER TABLE ecai.tb_image ALTER COLUMN id TYPE varchar(40){after}")
    notes = migrate(made.pool, made.names, OPTIONS).notes
    assert [note.split(" has another collation")[0] for note in notes] == [
        '"vectord".job.image_id', '"vectord".run_image.image_id', '"public"."tb_hsx_img_value".image_id'
    ]  # fmt: skip
    for note in notes:
        made.execute(note.split("find them: ")[1].split(";")[0])
    assert migrate(made.pool, made.names, OPTIONS).notes == ()
    made.insert(["1"])
    assert made.execute("DELETE FROM ecai.tb_image RETURNING id") == [("1",)]


def test_ids_that_postgresql_cannot_compare_are_refused(make_database: MakeDatabase) -> None:
    made = make_database(before=TEXT_IDS.format(collation=' COLLATE "C"'))
    made.execute('ALTER TABLE tb_hsx_img_value ALTER COLUMN image_id TYPE text COLLATE "POSIX"')
    with pytest.raises(DatabaseError, match=r'image_id is of collation pg_catalog\."POSIX", but ecai\.tb_image\.id of'):
        migrate(made.pool, made.names, OPTIONS)


def test_dropping_the_schema_takes_vectord_off_the_table(empty_database: str) -> None:
    with closing(Pool(empty_database, size=1)) as pool:
        database = Database(empty_database, Names(), pool)
        database.execute(USERS_TABLES)
        before = database.execute(EVERYTHING)
        migrate(pool, Names(), OPTIONS)
        database.execute("DROP SCHEMA vectord CASCADE")
        assert database.execute(EVERYTHING) == before
        assert database.execute("SELECT tgname FROM pg_trigger WHERE tgname LIKE 'vectord%'") == []
        database.insert([100])
        assert database.execute("SELECT count(*) FROM tb_hsx_img_value") == [(20,)]


@pytest.mark.parametrize(
    ("column", "kind"), [("vector(4)", "vector"), ("halfvec(4)", "halfvec"), ("vector", "vector"), ("real[]", "real[]")]
)
def test_the_vector_column_is_what_it_is(make_database: MakeDatabase, column: str, kind: str) -> None:
    made = make_database(before=USERS_TABLES.replace("vector(4)", column).replace("'[1,2,3,4]'", "NULL"))
    layout = migrate(made.pool, made.names, OPTIONS)
    assert layout.vector_column == VectorColumn(kind=kind, dimension=4 if "(4)" in column else None)  # type: ignore[arg-type] # a parameter of the test


def test_a_bytea_location_is_found_out(make_database: MakeDatabase) -> None:
    made = make_database(before="CREATE SCHEMA ecai; CREATE TABLE ecai.tb_image (id bigint PRIMARY KEY, url bytea)")
    assert migrate(made.pool, made.names, OPTIONS).stored_bytes


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("id bigint PRIMARY KEY, url", "id bigint, url", "is not unique"),
        ("id bigint PRIMARY KEY, url", "id numeric PRIMARY KEY, url", "an id must be bigint, integer, uuid or text"),
        (
            "url varchar(500)",
            "address text",
            "has no column url; it has id, address, owner, size: set source.location_",
        ),
        ("url varchar(500)", "url json", "a location must be text or bytea"),
        ("vector(4)", "vector(3)", r"takes 3 dimensions, but the model makes 4"),
        ("vector(4)", "halfvec(3)", r"change the column to halfvec\(4\)"),
        ("vector(4)", "sparsevec(4)", "a vector must be vector, halfvec or real"),
        ("vector(4)", "double precision[]", "a vector must be vector, halfvec or real"),
        ("model_version varchar(50)", "model_version varchar(20)", r"make it varchar\(50\) or text"),
        ("vector_dimension integer,", "", "set target.dimension_column"),
        ("image_id bigint UNIQUE", "image_id bigint", "CREATE UNIQUE INDEX CONCURRENTLY"),
        ("image_id bigint UNIQUE REFERENCES ecai.tb_image ON DELETE CASCADE", "image_id text UNIQUE", "of one type"),
    ],
)
def test_what_does_not_fit_is_refused(empty_database: str, old: str, new: str, sentence: str) -> None:
    with closing(Pool(empty_database, size=1)) as pool:
        tables = USERS_TABLES.partition("INSERT INTO")[0]
        assert old in tables
        tables = tables.replace(old, new)
        if old.startswith("id bigint"):
            tables = tables.replace(" REFERENCES ecai.tb_image ON DELETE CASCADE", "")
        with pool.transaction() as cursor:
            cursor.execute(tables)
        with pytest.raises(DatabaseError, match=sentence):
            migrate(pool, Names(), OPTIONS)


def test_all_faults_are_told_at_once(empty_database: str) -> None:
    with closing(Pool(empty_database, size=1)) as pool:
        with pool.transaction() as cursor:
            cursor.execute("CREATE SCHEMA ecai; CREATE TABLE ecai.tb_image (nr int PRIMARY KEY, address text)")
            cursor.execute("CREATE TABLE tb_hsx_img_value (image_id int)")
        with pytest.raises(DatabaseError) as error:
            migrate(pool, Names(), OPTIONS)
    assert str(error.value).count("; ") >= 4


def test_a_view_is_no_table(empty_database: str) -> None:
    with closing(Pool(empty_database, size=1)) as pool:
        with pool.transaction() as cursor:
            cursor.execute(USERS_TABLES + "CREATE VIEW ecai.seen AS SELECT * FROM ecai.tb_image")
        with pytest.raises(DatabaseError, match=r"set source\.table to a table"):
            migrate(pool, Names(source_table="ecai.seen"), OPTIONS)


def test_pgvector_may_be_in_a_schema_of_its_own(make_database: MakeDatabase) -> None:
    made = make_database(before="CREATE SCHEMA elsewhere; CREATE EXTENSION vector SCHEMA elsewhere")
    assert migrate(made.pool, made.names, OPTIONS).vector_column.kind == "vector"
    assert made.execute("SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%hnsw%'") == [(1,)]


def test_a_newer_schema_is_refused(database: Database) -> None:
    database.execute("UPDATE vectord.setting SET value = '999' WHERE key = 'schema_version'")
    with pytest.raises(DatabaseError, match="newer vectord"):
        migrate(database.pool, database.names, OPTIONS)


def test_an_id_that_was_widened_is_noticed(make_database: MakeDatabase) -> None:
    made = make_database(before="CREATE SCHEMA ecai; CREATE TABLE ecai.tb_image (id integer PRIMARY KEY, url text)")
    made.execute("ALTER TABLE ecai.tb_image ALTER COLUMN id TYPE bigint")
    with pytest.raises(DatabaseError, match="is bigint, and vectord's own ids are"):
        migrate(made.pool, made.names, OPTIONS)


def test_a_busy_source_table_is_not_waited_for_long(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "LOCK_TIMEOUT", "100ms")
    with closing(database.connect()) as session:
        session.cursor().execute("INSERT INTO ecai.tb_image (id) VALUES (1)")
        with pytest.raises(
            DatabaseUnavailableError, match=r"cannot make the triggers on ecai\.tb_image just now: .*lock"
        ):
            migrate(database.pool, database.names, SchemaOptions(dimension=DIMENSION, notify=False))
