"""The triggers on the source table: what makes a job, what does not, and who is told."""

import random
import select
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import UUID

import psycopg2.extensions
import pytest

from daemon.db.jobs import LOOK_AGAIN_SECONDS, JobQueue
from daemon.db.names import Names
from daemon.db.schema import SchemaOptions, migrate
from tests.postgres import DIMENSION, Database, MakeDatabase

JOBS = "SELECT image_id, revision, state, priority, attempts FROM vectord.job ORDER BY image_id"
IDS: dict[str, Sequence[Any]] = {
    "bigint": [2**40, 2**40 + 1, -5],
    "integer": [1, 2, 3],
    "smallint": [1, 2, 3],
    "uuid": [UUID(int=1), UUID(int=2**127), UUID(int=77)],
    "text": ["a", "it's", "名"],
    "varchar(20)": ["a", "b", "c"],
}


def jobs(database: Database) -> dict[Any, int]:
    """Revisions by image."""
    return {row[0]: row[1] for row in database.execute(JOBS)}


@pytest.mark.parametrize("id_type", IDS)
def test_every_kind_of_id_makes_jobs_and_loses_them(make_database: MakeDatabase, id_type: str) -> None:
    ids = IDS[id_type]
    source = f"CREATE SCHEMA ecai; CREATE TABLE ecai.tb_image (id {id_type} PRIMARY KEY, url text, note text)"
    database = make_database(before=source)
    database.insert(ids)
    assert jobs(database) == dict.fromkeys(ids, 1)
    database.execute("UPDATE ecai.tb_image SET url = url || '?2' WHERE id = %s", (ids[0],))
    database.execute("UPDATE ecai.tb_image SET note = 'seen', url = url")
    assert jobs(database) == {ids[0]: 2, ids[1]: 1, ids[2]: 1}
    database.execute("DELETE FROM ecai.tb_image WHERE id = %s", (ids[1],))
    assert set(jobs(database)) == {ids[0], ids[2]}
    database.execute("TRUNCATE ecai.tb_image CASCADE")
    assert jobs(database) == {}


def test_a_changed_location_makes_the_job_as_good_as_new(database: Database) -> None:
    database.insert([1, 2])
    database.execute(
        "UPDATE vectord.job SET state = 'dead', attempts = 5, priority = 1, reason = 'gone', last_error = 'x', "
        "suspect = true, failed_at = now(), lease_token = gen_random_uuid(), lease_until = now() + '1h', worker = 'w', "
        "not_before = now() + '1h', enqueued_at = '2000-01-01'"
    )
    database.execute("UPDATE ecai.tb_image SET url = 'http://example.test/new' WHERE id = 1")
    assert database.execute(JOBS) == [(1, 2, "pending", 0, 0), (2, 1, "dead", 1, 5)]
    others = (
        "num_nonnulls(reason, last_error, failed_at, lease_token, lease_until, worker), suspect, not_before <= now()"
    )
    assert database.execute(f"SELECT {others}, enqueued_at > '2020-01-01' FROM vectord.job WHERE image_id = 1") == [
        (0, False, True, True)
    ]


def test_a_location_that_comes_or_goes_counts_as_changed(database: Database) -> None:
    database.insert([1])
    for number, location in enumerate([None, None, "http://example.test/1", "http://example.test/1"]):
        database.execute("UPDATE ecai.tb_image SET url = %s", (location,))
        assert jobs(database)[1] == [2, 2, 3, 3][number]


def test_a_changed_id_is_one_image_gone_and_another_come(database: Database) -> None:
    database.insert([1, 2, 3])
    # 3 becomes 4; 1 and 2 change places in one statement, so that both ids stay and both locations change.
    database.execute("UPDATE ecai.tb_image SET id = 4 WHERE id = 3")
    assert jobs(database) == {1: 1, 2: 1, 4: 1}


def test_an_upsert_and_a_copy_are_seen_too(database: Database) -> None:
    database.insert([1])
    database.execute(
        "INSERT INTO ecai.tb_image (id, url) VALUES (1, 'http://example.test/else'), (2, 'b') "
        "ON CONFLICT (id) DO UPDATE SET url = EXCLUDED.url"
    )
    assert jobs(database) == {1: 2, 2: 1}
    database.execute(
        "MERGE INTO ecai.tb_image i USING (VALUES (2, 'c'), (3, 'd')) n (id, url) ON i.id = n.id "
        "WHEN MATCHED THEN UPDATE SET url = n.url WHEN NOT MATCHED THEN INSERT (id, url) VALUES (n.id, n.url)"
    )
    assert jobs(database) == {1: 2, 2: 2, 3: 1}


def test_a_bulk_write_after_single_ones_is_no_slower_for_it(database: Database) -> None:
    """A session keeps its plans. Those for one row went through 20,000 of them one by one: 22 s instead of 0.1."""
    database.insert(range(20_000))
    with closing(database.connect()) as session, session.cursor() as cursor:
        session.autocommit = True
        cursor.execute("SET statement_timeout = '8s'")
        for image in range(3):
            cursor.execute("UPDATE ecai.tb_image SET create_time = now() WHERE id = %s", (image,))
            cursor.execute("UPDATE ecai.tb_image SET url = url || '?2' WHERE id = %s", (image,))
            cursor.execute("DELETE FROM ecai.tb_image WHERE id = %s", (image,))
        cursor.execute("UPDATE ecai.tb_image SET create_time = now()")
        cursor.execute("UPDATE ecai.tb_image SET url = url || '?3' WHERE id >= 10")
        cursor.execute("UPDATE ecai.tb_image SET id = id + 100000")
        assert set(jobs(database)) == set(range(100_003, 120_000))
        cursor.execute("DELETE FROM ecai.tb_image")
    assert jobs(database) == {}


def test_a_rolled_back_insert_leaves_nothing(database: Database) -> None:
    with closing(database.connect()) as session:
        session.cursor().execute("INSERT INTO ecai.tb_image (id) VALUES (1)")
        session.rollback()
    assert jobs(database) == {}


def notifications(database: Database, act: Callable[[], None]) -> int:
    """How many arrive while this is done."""
    with closing(database.connect()) as session, session.cursor() as cursor:
        session.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_AUTOCOMMIT)
        cursor.execute(f'LISTEN "{database.names.channel}"')
        act()
        # Whatever was committed before this statement is delivered with its answer.
        cursor.execute("SELECT 1")
        session.poll()
        return len(session.notifies)


def test_one_notification_for_a_transaction_however_much_it_does(database: Database) -> None:
    def work() -> None:
        with closing(database.connect()) as session, session, session.cursor() as cursor:
            for number in range(1, 6):
                cursor.execute("INSERT INTO ecai.tb_image (id, url) VALUES (%s, 'x'), (%s, 'y')", (number, number + 10))
            cursor.execute("UPDATE ecai.tb_image SET url = 'z'")

    assert notifications(database, work) == 1


def test_nobody_is_told_of_what_makes_no_job(database: Database) -> None:
    database.insert([1])
    assert notifications(database, lambda: _run(database, "UPDATE ecai.tb_image SET md5 = 'x'")) == 0
    assert notifications(database, lambda: _run(database, "DELETE FROM ecai.tb_image")) == 0
    assert notifications(database, lambda: _run(database, "INSERT INTO ecai.tb_image SELECT WHERE false")) == 0


def _run(database: Database, sql: str) -> None:
    database.execute(sql)


def test_notify_and_trigger_can_be_turned_off_and_on(database: Database) -> None:
    def turn(**options: Any) -> None:
        migrate(database.pool, database.names, SchemaOptions(dimension=DIMENSION, **options))

    turn(notify=False)
    assert notifications(database, lambda: database.insert([1])) == 0
    assert jobs(database) == {1: 1}
    turn(trigger=False)
    database.insert([2])
    assert jobs(database) == {1: 1}
    turn()
    assert notifications(database, lambda: database.insert([3])) == 1
    assert jobs(database) == {1: 1, 3: 1}


def test_columns_are_renamed_while_the_triggers_are_off(database: Database) -> None:
    """As the manual says."""
    database.insert([1])
    migrate(database.pool, database.names, SchemaOptions(dimension=DIMENSION, trigger=False))
    database.execute("ALTER TABLE ecai.tb_image RENAME url TO place; ALTER TABLE ecai.tb_image RENAME id TO number")
    renamed = Names(source_id="number", source_location="place")
    migrate(database.pool, renamed, SchemaOptions(dimension=DIMENSION))
    database.execute("INSERT INTO ecai.tb_image (number, place) VALUES (2, 'http://example.test/2')")
    database.execute("UPDATE ecai.tb_image SET place = 'http://example.test/new'")
    assert jobs(database) == {1: 2, 2: 2}


def test_a_trigger_that_someone_dropped_comes_back(database: Database) -> None:
    database.execute("DROP TRIGGER vectord_vectord_insert ON ecai.tb_image")
    database.execute("ALTER TABLE ecai.tb_image DISABLE TRIGGER vectord_vectord_update")
    migrate(database.pool, database.names, SchemaOptions(dimension=DIMENSION))
    database.insert([1])
    database.execute("UPDATE ecai.tb_image SET url = 'new'")
    assert jobs(database) == {1: 2}


def test_two_instances_live_on_one_table(database: Database) -> None:
    other = Names(schema="other", target_table="public.other_vectors")
    migrate(database.pool, other, SchemaOptions(dimension=8))
    database.insert([1, 2])
    database.execute("DELETE FROM vectord.job WHERE image_id = 1")
    assert database.execute("SELECT image_id FROM other.job ORDER BY 1") == [(1,), (2,)]
    assert database.execute("SELECT image_id FROM vectord.job") == [(2,)]
    migrate(database.pool, other, SchemaOptions(dimension=8, trigger=False))
    database.insert([3])
    assert database.execute("SELECT count(*) FROM other.job") == [(2,)]
    assert jobs(database) == {2: 1, 3: 1}


def test_names_of_any_kind_work(make_database: MakeDatabase) -> None:
    names = Names(
        schema="odd",
        source_table='My Schema.Image"s',
        source_id="Id Nr",
        source_location="select",
        target_table="My Schema.Vec'tors",
        target_id="Image Id",
        target_vector="order",
        target_dimension="",
        target_version="user",
    )
    database = make_database(names)
    database.insert([1, 2])
    assert database.execute("SELECT image_id FROM odd.job ORDER BY 1") == [(1,), (2,)]


def test_the_application_needs_no_right_on_vectords_schema(database: Database) -> None:
    database.execute("CREATE ROLE application_of_test LOGIN")
    try:
        database.execute("GRANT USAGE ON SCHEMA ecai TO application_of_test")
        database.execute("GRANT ALL ON ecai.tb_image TO application_of_test")
        with closing(database.connect()) as session, session, session.cursor() as cursor:
            cursor.execute("SET ROLE application_of_test")
            cursor.execute("INSERT INTO ecai.tb_image (id, url) VALUES (1, 'x')")
            cursor.execute("UPDATE ecai.tb_image SET url = 'y'")
        assert jobs(database) == {1: 2}
    finally:
        database.execute("DROP OWNED BY application_of_test; DROP ROLE application_of_test")


def insert_one(database: Database, image: int) -> Callable[[], None]:
    return lambda: database.insert([image])


def test_a_daemon_that_sleeps_is_called_by_every_transaction(database: Database) -> None:
    queue = JobQueue(database.pool, database.names, worker="w", lease_seconds=60)
    assert queue.seconds_until_due() is None
    assert [notifications(database, insert_one(database, number)) for number in range(5)] == [1] * 5


def test_a_daemon_that_is_busy_is_called_once_a_second_at_most(database: Database) -> None:
    queue = JobQueue(database.pool, database.names, worker="w", lease_seconds=60)
    queue.seconds_until_due()
    database.insert(range(100, 110))
    assert len(queue.claim(10)) == 10
    calls = sum(notifications(database, insert_one(database, number)) for number in range(5))
    assert calls <= 2
    # Dry again, it goes to sleep, and is called again.
    assert len(queue.claim(10)) == 5
    assert queue.seconds_until_due() > 1  # type: ignore[operator] # their leases
    assert notifications(database, insert_one(database, 7)) == 1


def test_the_bell_of_a_dead_daemon_comes_off_by_itself(database: Database) -> None:
    queue = JobQueue(database.pool, database.names, worker="w", lease_seconds=60, poll_seconds=-100)
    queue.seconds_until_due()
    calls = sum(notifications(database, insert_one(database, number)) for number in range(5))
    assert 1 <= calls <= 2


def test_a_daemon_does_not_sleep_over_who_found_no_bell(database: Database) -> None:
    """The transaction saw the bell off before the daemon put it up, and commits after the daemon looked."""
    queue = JobQueue(database.pool, database.names, worker="w", lease_seconds=60)
    with closing(database.connect()) as session:
        session.cursor().execute("INSERT INTO ecai.tb_image (id, url) VALUES (1, 'x')")
        assert queue.claim(10) == []
        assert queue.seconds_until_due() == LOOK_AGAIN_SECONDS
        session.commit()
    assert len(queue.claim(10)) == 1


def test_no_call_is_ever_missed(database: Database) -> None:
    """A daemon that wakes only when called, or when it said so itself, sleeps over nobody."""
    queue = JobQueue(database.pool, database.names, worker="w", lease_seconds=600, poll_seconds=1000)
    images, limit = 400, 3
    rounds = iter(range(images))

    def write(seed: int) -> None:
        dice = random.Random(seed)
        with closing(database.connect()) as session, session.cursor() as cursor:
            for number in rounds:
                cursor.execute("INSERT INTO ecai.tb_image (id, url) VALUES (%s, 'x')", (number,))
                cursor.execute("SELECT pg_sleep(%s)", (dice.choice([0, 0, 0.001, 0.01]),))
                session.commit()
                if dice.random() < 0.05:
                    # Long enough for the daemon to run dry and go to sleep.
                    cursor.execute("SELECT pg_sleep(0.1)")
                    session.commit()

    found = 0
    with closing(database.connect()) as session, ThreadPoolExecutor(4) as threads:
        session.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_AUTOCOMMIT)
        session.cursor().execute(f'LISTEN "{database.names.channel}"')
        writing = [threads.submit(write, seed) for seed in range(4)]
        while found < images:
            claims = queue.claim(limit)
            found += len(claims)
            if len(claims) == limit or found == images:
                continue
            seconds = queue.seconds_until_due()
            # Nothing but leases of ten minutes: a call that was missed would leave the test waiting for as long.
            seconds = 20.0 if seconds is None or seconds > 60 else seconds
            called, _, _ = select.select([session], [], [], seconds)
            assert called or seconds < 20, f"asleep with {images - found} images to come"
            session.poll()
            session.notifies.clear()
        assert all(one.result() is None for one in writing)


EVIL = """
CREATE SCHEMA evil;
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil now'; END $$;
CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil clock'; END $$;
CREATE FUNCTION evil.setval(regclass, bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil setval'; END $$;
CREATE FUNCTION evil.date_part(text, timestamptz) RETURNS double precision LANGUAGE plpgsql
    AS $$ BEGIN RAISE 'evil date_part'; END $$;
CREATE FUNCTION evil.pg_sequence_last_value(regclass) RETURNS bigint LANGUAGE plpgsql
    AS $$ BEGIN RAISE 'evil last value'; END $$;
CREATE FUNCTION evil.two(bigint, integer) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil plus'; END $$;
CREATE FUNCTION evil.two(integer, bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil minus'; END $$;
CREATE FUNCTION evil.ask(bigint, integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil more'; END $$;
CREATE FUNCTION evil.ask(bigint, double precision) RETURNS boolean LANGUAGE plpgsql
    AS $$ BEGIN RAISE 'evil comparison'; END $$;
CREATE FUNCTION evil.ask(double precision, bigint) RETURNS boolean LANGUAGE plpgsql
    AS $$ BEGIN RAISE 'evil comparison'; END $$;
CREATE FUNCTION evil.ask(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'evil equality'; END $$;
CREATE OPERATOR evil.+ (FUNCTION = evil.two, LEFTARG = bigint, RIGHTARG = integer);
CREATE OPERATOR evil.- (FUNCTION = evil.two, LEFTARG = integer, RIGHTARG = bigint);
CREATE OPERATOR evil.> (FUNCTION = evil.ask, LEFTARG = bigint, RIGHTARG = integer);
CREATE OPERATOR evil.<= (FUNCTION = evil.ask, LEFTARG = bigint, RIGHTARG = double precision);
CREATE OPERATOR evil.>= (FUNCTION = evil.ask, LEFTARG = double precision, RIGHTARG = bigint);
CREATE OPERATOR evil.= (FUNCTION = evil.ask, LEFTARG = text, RIGHTARG = text);
"""


def test_the_callers_search_path_has_no_say(database: Database) -> None:
    """The triggers run with their owner's rights, so what they call must not be the caller's."""
    with closing(database.connect()) as session, session.cursor() as cursor:
        session.autocommit = True
        cursor.execute(EVIL)
        cursor.execute("SET search_path = evil, pg_catalog, public")
        with pytest.raises(psycopg2.errors.RaiseException, match="evil plus"):
            cursor.execute("SELECT 1::bigint + 1")
        for bell in (0, 1, 2**40):
            cursor.execute("SELECT pg_catalog.setval('vectord.bell', %s)", (bell,))
            cursor.execute("INSERT INTO ecai.tb_image (id, url) VALUES (%s, 'x')", (bell,))
        cursor.execute("DELETE FROM tb_hsx_img_value")
        cursor.execute("INSERT INTO ecai.tb_image (id, url) VALUES (0, 'y') ON CONFLICT (id) DO UPDATE SET url = 'y'")
        cursor.execute("UPDATE ecai.tb_image SET url = 'z'")
        # A job that is there although its image is new: the trigger's own ON CONFLICT.
        cursor.execute("INSERT INTO vectord.job (image_id) VALUES (77)")
        cursor.execute("INSERT INTO ecai.tb_image (id, url) VALUES (77, 'x')")
    assert jobs(database) == {0: 3, 1: 2, 2**40: 2, 77: 2}


def test_a_partitioned_table_of_images(make_database: MakeDatabase) -> None:
    database = make_database(
        before="CREATE SCHEMA ecai; "
        "CREATE TABLE ecai.tb_image (id bigint PRIMARY KEY, url text) PARTITION BY RANGE (id); "
        "CREATE TABLE ecai.low PARTITION OF ecai.tb_image FOR VALUES FROM (0) TO (10); "
        "CREATE TABLE ecai.high PARTITION OF ecai.tb_image FOR VALUES FROM (10) TO (20)"
    )
    database.insert([1, 2, 11])
    database.execute("UPDATE ecai.tb_image SET id = 12 WHERE id = 2")
    database.execute("UPDATE ecai.tb_image SET url = url || '?2' WHERE id = 11")
    database.execute("DELETE FROM ecai.tb_image WHERE id = 1")
    assert jobs(database) == {11: 2, 12: 1}
