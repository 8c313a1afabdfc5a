from collections.abc import Sequence
from contextlib import closing
from threading import Barrier, Thread
from time import sleep
from typing import Any
from uuid import UUID

import pytest

from daemon.db.generation import Generations, Instance
from daemon.db.names import Names
from daemon.db.sweep import SweepOptions, SweepWindow
from daemon.db.walk import Swept
from daemon.db.yielding import HURRIED_LOCK_TIMEOUT, LOCK_TIMEOUT, LOCKED_TRIES
from tests.postgres import Database, MakeDatabase, users_tables, wait_until_blocked

SIGNATURE = "vectord:mobilenetv2_1.0_224:1a2b3c4d:g0"
OLD = "vectord:mobilenetv2_0.5_224:99999999:g0"
MOST_TICKS = 1000


def window(database: Database, **options: Any) -> SweepWindow:
    return SweepWindow(database.pool, database.names, SweepOptions(**options))


def cycle(sweep: SweepWindow, signature: str = SIGNATURE) -> list[Swept]:
    """Ticks until a cycle ends."""
    ticks: list[Swept] = []
    while not (ticks and ticks[-1].cycle_ended):
        ticks.append(sweep.step(signature))
        assert ticks[-1].walked
        assert len(ticks) < MOST_TICKS
    return ticks


def jobs(database: Database, what: str = "image_id") -> list[Any]:
    return [row[0] for row in database.execute(f"SELECT {what} FROM {database.names.quoted['job']} ORDER BY image_id")]


def store(database: Database, ids: Sequence[Any], version: str | None = SIGNATURE) -> None:
    """Writes vectors as whoever did, and takes the jobs away."""
    q = database.names.quoted
    for one in ids:
        database.execute(
            f"INSERT INTO {q['target']} ({q['target_id']}, {q['target_vector']}, {q['target_version']}) "
            f"VALUES (%s, '[1,0,0,0]', %s) ON CONFLICT ({q['target_id']}) DO UPDATE SET {q['target_version']} = %s",
            (one, version, version),
        )
    database.execute(f"DELETE FROM {q['job']} WHERE image_id = ANY(%s)", (list(ids),))


@pytest.fixture
def untriggered(make_database: MakeDatabase) -> Database:
    return make_database(trigger=False)


def test_images_that_nobody_announced_are_found(untriggered: Database) -> None:
    untriggered.insert(range(1, 96))
    ticks = cycle(window(untriggered, window=10))
    assert jobs(untriggered) == list(range(1, 96))
    assert len(ticks) == 10
    assert sum(tick.queued for tick in ticks) == 95
    assert all(tick.looked <= 10 for tick in ticks)


def test_a_second_cycle_finds_nothing(untriggered: Database) -> None:
    untriggered.insert(range(1, 50))
    sweep = window(untriggered, window=10)
    cycle(sweep)
    assert sum(tick.queued for tick in cycle(sweep)) == 0


def test_images_with_a_present_vector_are_left_alone(untriggered: Database) -> None:
    untriggered.insert(range(1, 21))
    store(untriggered, range(1, 11))
    cycle(window(untriggered))
    assert jobs(untriggered) == list(range(11, 21))


def test_a_dropped_trigger_is_made_up_for(database: Database) -> None:
    database.insert(range(1, 6))
    q = database.names.quoted
    for name in database.names.triggers.values():
        database.execute(f'DROP TRIGGER "{name}" ON {q["source"]}')
    database.insert(range(6, 11))
    assert jobs(database) == [1, 2, 3, 4, 5]
    cycle(window(database))
    assert jobs(database) == list(range(1, 11))


def test_jobs_that_the_trigger_made_stay_as_they_are(database: Database) -> None:
    database.insert([1])
    database.execute("UPDATE vectord.job SET attempts = 3, priority = 0, reason = 'read_timeout'")
    cycle(window(database))
    assert database.execute("SELECT attempts, priority, reason FROM vectord.job") == [(3, 0, "read_timeout")]


@pytest.mark.parametrize(
    ("id_type", "ids"),
    [
        ("bigint", [-5, 0, 7, 1_000, 2**40, 2**62]),
        ("integer", [3, 2, 1, 2**31 - 1]),
        ("smallint", [3, 2, 1]),
        ("uuid", [UUID(int=number * 2**120 + number) for number in (200, 3, 77, 14, 5)]),
        ("text", ["b", "a", "10", "9", "Z", "é", "a'b%s", ""]),
        ('varchar(20) COLLATE "C"', ["b", "a", "10", "9", "Z", "é"]),
    ],
)  # fmt: skip
def test_ids_of_every_type_and_in_any_order(make_database: MakeDatabase, id_type: str, ids: list[Any]) -> None:
    names = Names(source_table="public.picture", target_table="public.vector_of")
    database = make_database(names, f"CREATE TABLE picture (id {id_type} PRIMARY KEY, url text)", trigger=False)
    database.insert(ids)
    sweep = window(database, window=2)
    cycle(sweep)
    assert sorted(jobs(database), key=str) == sorted(ids, key=str)
    database.execute("DELETE FROM picture")
    while left := len(jobs(database)):
        assert cycle(sweep)[-1].forgotten == min(2, left)


def test_ids_that_are_null_are_no_images(make_database: MakeDatabase) -> None:
    names = Names(source_table="public.picture", target_table="public.vector_of")
    made = make_database(
        names,
        "CREATE TABLE picture (id bigint UNIQUE, url text);"
        "CREATE TABLE vector_of (image_id bigint UNIQUE, feature_vector real[], vector_dimension int, "
        "model_version varchar(50))",
        trigger=False,
    )
    made.execute("INSERT INTO picture VALUES (NULL, 'x'), (1, 'x'), (NULL, 'x')")
    cycle(window(made, window=2))
    assert jobs(made) == [1]


def test_a_row_whose_id_is_null_is_its_writers_business(make_database: MakeDatabase) -> None:
    made = make_database(
        Names(source_table="public.picture"), "CREATE TABLE picture (id bigint UNIQUE, url text, note text)"
    )
    made.execute("INSERT INTO picture VALUES (NULL, 'x'), (1, 'x')")
    made.execute("UPDATE picture SET note = 'seen'")
    made.execute("UPDATE picture SET url = 'y' WHERE id IS NULL")
    assert jobs(made) == [1]
    made.execute("UPDATE picture SET id = 2 WHERE id IS NULL")
    assert jobs(made) == [1, 2]
    made.execute("UPDATE picture SET id = NULL WHERE id = 1")
    made.execute("DELETE FROM picture WHERE id IS NULL")
    assert jobs(made) == [2]


def test_a_low_id_that_was_committed_late_is_found_by_the_next_cycle(untriggered: Database) -> None:
    untriggered.insert([5, 15, 25])
    sweep = window(untriggered, window=1)
    with closing(untriggered.connect()) as late, late.cursor() as cursor:
        cursor.execute("INSERT INTO ecai.tb_image (id, url) VALUES (2, 'late')")
        cycle(sweep)
        assert jobs(untriggered) == [5, 15, 25]
        late.commit()
    cycle(sweep)
    assert jobs(untriggered) == [2, 5, 15, 25]


def test_new_images_come_before_backfill(untriggered: Database) -> None:
    untriggered.insert(range(1, 101))
    sweep = window(untriggered, window=10)
    sweep.step(SIGNATURE)
    untriggered.insert([1000, 1001])
    sweep.step(SIGNATURE)
    found = dict(untriggered.execute("SELECT image_id, priority FROM vectord.job"))
    assert found == {**dict.fromkeys(range(1, 21), 1), 1000: 0, 1001: 0}


def test_new_images_come_first_when_there_is_little_room(untriggered: Database) -> None:
    untriggered.insert(range(1, 101))
    sweep = window(untriggered, window=10, high_water=5)
    sweep.step(SIGNATURE)
    store(untriggered, range(1, 4))
    untriggered.insert(range(200, 210))
    swept = sweep.step(SIGNATURE)
    assert (swept.full, swept.queued) == (True, 3)
    assert jobs(untriggered) == [4, 5, 200, 201, 202]


def test_the_highest_id_seen_follows_when_the_table_begins_anew(untriggered: Database) -> None:
    untriggered.insert([10_000])
    sweep = window(untriggered, window=10)
    cycle(sweep)
    untriggered.execute("DELETE FROM ecai.tb_image")
    untriggered.insert(range(1, 31))
    cycle(sweep)
    untriggered.insert([31])
    sweep.step(SIGNATURE)
    assert untriggered.execute("SELECT priority FROM vectord.job WHERE image_id = 31") == [(0,)]


def test_the_queue_is_filled_up_to_high_water_and_no_further(untriggered: Database) -> None:
    untriggered.insert(range(1, 101))
    sweep = window(untriggered, window=30, high_water=20)
    assert sweep.step(SIGNATURE).queued == 20
    swept = sweep.step(SIGNATURE)
    assert (swept.full, swept.queued, swept.more) == (True, 0, False)
    store(untriggered, range(1, 11))
    assert sweep.step(SIGNATURE).queued == 10
    done: set[int] = set(range(1, 11))
    while waiting := jobs(untriggered):
        assert len(waiting) <= 20
        store(untriggered, waiting)
        done |= set(waiting)
        sweep.step(SIGNATURE)
    assert done == set(range(1, 101))


def test_jobs_that_wait_for_a_dead_host_do_not_starve_the_others(untriggered: Database) -> None:
    untriggered.insert(range(1, 41))
    sweep = window(untriggered, high_water=20)
    sweep.step(SIGNATURE)
    untriggered.execute("UPDATE vectord.job SET not_before = now() + interval '1 hour', reason = 'host_unavailable'")
    sweep.step(SIGNATURE)
    assert len(jobs(untriggered)) == 40


def test_what_counts_as_unprocessed(untriggered: Database) -> None:
    untriggered.insert(range(1, 7))
    for one, version in enumerate([SIGNATURE, OLD, SIGNATURE.replace(":g0", ":g1"), "MobileNetV2", None, ""], start=1):
        store(untriggered, [one], version)
    cycle(window(untriggered))
    assert jobs(untriggered) == [2, 3]
    cycle(window(untriggered, replace_foreign=True))
    assert jobs(untriggered) == [2, 3, 4, 5, 6]


def test_an_image_whose_vector_is_null_has_none(make_database: MakeDatabase) -> None:
    made = make_database(trigger=False)
    made.execute("ALTER TABLE tb_hsx_img_value ALTER feature_vector DROP NOT NULL")
    made.insert([1])
    made.execute("INSERT INTO tb_hsx_img_value (image_id, model_version) VALUES (1, %s)", (SIGNATURE,))
    cycle(window(made))
    assert jobs(made) == [1]


def test_the_old_vector_stays_while_the_image_is_queued(untriggered: Database) -> None:
    untriggered.insert([1])
    store(untriggered, [1], OLD)
    cycle(window(untriggered))
    assert untriggered.execute("SELECT model_version FROM tb_hsx_img_value") == [(OLD,)]


@pytest.mark.parametrize("location", ["text", "bytea"])
def test_an_image_that_got_its_location_later_is_taken_up(make_database: MakeDatabase, location: str) -> None:
    database = make_database(before=users_tables(location=location), trigger=False)
    database.execute("INSERT INTO ecai.tb_image (id, url) VALUES (1, NULL), (2, ''), (3, NULL)")
    cycle(window(database))
    database.execute("UPDATE vectord.job SET state = 'dead', reason = 'empty_location', failed_at = now()")
    cycle(window(database))
    assert set(jobs(database, "state")) == {"dead"}
    database.execute("UPDATE ecai.tb_image SET url = 'http://example.test/1.jpg' WHERE id = 1")
    cycle(window(database))
    assert database.execute("SELECT image_id FROM vectord.job WHERE state = 'pending'") == [(1,)]


def test_dead_jobs_are_not_queued_again_and_go_with_their_image(untriggered: Database) -> None:
    untriggered.insert(range(1, 11))
    sweep = window(untriggered, window=3)
    cycle(sweep)
    untriggered.execute("UPDATE vectord.job SET state = 'dead', reason = 'not_found', failed_at = now()")
    untriggered.execute("DELETE FROM ecai.tb_image WHERE id IN (1, 5, 10)")
    ticks = cycle(sweep)
    assert sum(tick.forgotten for tick in ticks) == 3
    assert sum(tick.queued for tick in ticks) == 0
    assert jobs(untriggered) == [2, 3, 4, 6, 7, 8, 9]
    assert set(jobs(untriggered, "state")) == {"dead"}


def test_a_job_in_someones_hands_is_not_forgotten_under_them(untriggered: Database) -> None:
    untriggered.insert([1, 2])
    sweep = window(untriggered)
    cycle(sweep)
    untriggered.execute("DELETE FROM ecai.tb_image")
    with closing(untriggered.connect()) as other, other.cursor() as cursor:
        cursor.execute("SELECT FROM vectord.job WHERE image_id = 1 FOR UPDATE")
        assert sum(tick.forgotten for tick in cycle(sweep)) == 1
    assert jobs(untriggered) == [1]


def test_a_job_that_an_open_transaction_holds_holds_nothing_else_up(database: Database) -> None:
    """Somebody's update in flight has made the job for one image, uncommitted: all the others are queued."""
    database.insert(range(1, 201))
    database.execute("DELETE FROM vectord.job")
    with closing(database.connect()) as other, other.cursor() as cursor:
        cursor.execute("UPDATE ecai.tb_image SET url = 'new' WHERE id = 77")
        swept = window(database).step(SIGNATURE)
        assert swept.queued == 199
        other.commit()
    assert jobs(database) == list(range(1, 201))


def test_a_users_transaction_is_no_victim_of_the_sweep(database: Database) -> None:
    """It holds a job that the sweep wants, and then wants one that the sweep has made."""
    database.insert(range(1, 1001))
    database.execute("DELETE FROM vectord.job")
    with closing(database.connect()) as user, user.cursor() as cursor:
        cursor.execute("UPDATE ecai.tb_image SET url = 'new' WHERE id = 900")
        with database.in_thread(lambda: window(database).step(SIGNATURE)) as sweeping:
            wait_until_blocked(database, by=user)
            sleep(0.25)  # By then the sweep has had its first wait, has made half of the jobs, and waits again.
            cursor.execute("UPDATE ecai.tb_image SET url = 'new' WHERE id = 1")
            assert sweeping.result(60).queued in {998, 999}
        user.commit()
    assert jobs(database) == list(range(1, 1001))


def test_a_tick_waits_for_others_for_less_than_a_deadlock_takes_to_be_seen(database: Database) -> None:
    first, others, limit = (
        database.execute("SELECT extract(epoch FROM %s::interval)", (text,))[0][0]
        for text in (LOCK_TIMEOUT, HURRIED_LOCK_TIMEOUT, database.execute("SHOW deadlock_timeout")[0][0])
    )
    assert first + others * (LOCKED_TRIES - 1) < float(limit) * 0.6


def test_a_reprocess_that_left_images_out_goes_through_the_table_again(database: Database) -> None:
    """Foreign vectors are found while it walks, and never again."""
    database.insert(range(1, 2001))
    database.execute(
        "INSERT INTO tb_hsx_img_value (image_id, feature_vector, model_version) "
        "SELECT n, '[1,2,3,4]', 'CLIP' FROM generate_series(1, 2000) n"
    )
    database.execute("DELETE FROM vectord.job")
    generations = Generations(database.pool, database.names)
    generations.on_start(Instance(name="a", boot_id="boot", signature=SIGNATURE))
    present = SIGNATURE.replace(":g0", f":g{generations.raise_now()}")
    sweep = window(database)
    with closing(database.connect()) as user, user.cursor() as cursor:
        cursor.execute("UPDATE ecai.tb_image SET url = 'new' WHERE id IN (100, 700, 1300, 1900)")
        (first, *_) = cycle(sweep, present)
        assert 0 < first.queued < 1996
        user.rollback()
    assert database.execute("SELECT walked_at IS NULL FROM vectord.reprocess WHERE forced") == [(True,)]
    cycle(sweep, present)
    assert jobs(database) == list(range(1, 2001))
    assert database.execute("SELECT walked_at IS NULL FROM vectord.reprocess WHERE forced") == [(False,)]


def test_one_sweeps_at_a_time(untriggered: Database) -> None:
    untriggered.insert([1])
    with closing(untriggered.connect()) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('vectord.vectord.sweep', 0))")
        swept = window(untriggered).step(SIGNATURE)
        assert (swept.leader, swept.walked, swept.more) == (False, False, False)
        assert jobs(untriggered) == []
        other.rollback()
    assert window(untriggered).step(SIGNATURE).queued == 1


def test_who_does_not_sweep_hears_how_it_stands_all_the_same(untriggered: Database) -> None:
    Generations(untriggered.pool, untriggered.names).on_start(Instance(name="a", boot_id="boot", signature=SIGNATURE))
    with closing(untriggered.connect()) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('vectord.vectord.sweep', 0))")
        swept = window(untriggered).step(OLD)
        assert (swept.leader, swept.standing, swept.present) == (False, "superseded", SIGNATURE)
        assert window(untriggered).step(SIGNATURE).standing == "present"


def test_two_sweepers_at_once_share_the_walk(untriggered: Database) -> None:
    untriggered.insert(range(1, 2001))
    barrier, queued = Barrier(2), [0, 0]

    def sweep(number: int) -> None:
        mine = window(untriggered, window=50)
        barrier.wait()
        while (swept := mine.step(SIGNATURE)).cycle == 0:
            queued[number] += swept.queued
        queued[number] += swept.queued

    threads = [Thread(target=sweep, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(queued) == 2000
    assert jobs(untriggered) == list(range(1, 2001))


def test_the_cursor_outlives_the_daemon(untriggered: Database) -> None:
    untriggered.insert(range(1, 41))
    window(untriggered, window=10).step(SIGNATURE)
    assert window(untriggered, window=10).step(SIGNATURE).cursor == 20


def test_a_tick_that_fails_leaves_nothing_behind(untriggered: Database) -> None:
    untriggered.insert(range(1, 11))
    untriggered.execute("ALTER TABLE vectord.sweep ADD CONSTRAINT broken CHECK (cycle < 1)")
    with pytest.raises(Exception, match="broken"):
        window(untriggered).step(SIGNATURE)
    assert jobs(untriggered) == []
    untriggered.execute("ALTER TABLE vectord.sweep DROP CONSTRAINT broken")
    assert window(untriggered).step(SIGNATURE).queued == 10


def test_others_are_told_of_what_was_queued(untriggered: Database) -> None:
    with closing(untriggered.connect()) as other, other.cursor() as cursor:
        other.autocommit = True
        cursor.execute("LISTEN vectord")
        window(untriggered).step(SIGNATURE)
        untriggered.insert([1])
        window(untriggered, notify=False).step(SIGNATURE)
        cursor.execute("SELECT 1")
        assert other.notifies == []
        untriggered.insert([2])
        window(untriggered).step(SIGNATURE)
        cursor.execute("SELECT 1")
        assert [one.payload for one in other.notifies] == [""]


def test_another_model_than_the_present_one_feeds_nothing(untriggered: Database) -> None:
    generations = Generations(untriggered.pool, untriggered.names)
    generations.on_start(Instance(name="a", boot_id="boot", signature=SIGNATURE))
    untriggered.insert([1])
    swept = window(untriggered).step(OLD)
    assert (swept.standing, swept.present, swept.walked) == ("superseded", SIGNATURE, False)
    generations.raise_now()
    swept = window(untriggered).step(SIGNATURE)
    assert (swept.standing, swept.present) == ("raised", SIGNATURE.replace(":g0", ":g1"))
    assert jobs(untriggered) == []


def test_two_instances_walk_side_by_side(make_database: MakeDatabase) -> None:
    from daemon.db.schema import SchemaOptions, migrate  # noqa: PLC0415 - this test only

    made = make_database(trigger=False)
    names = Names(schema="second", target_table="public.other_vectors")
    migrate(made.pool, names, SchemaOptions(trigger=False, dimension=4))
    second = Database(made.dsn, names, made.pool)
    made.insert(range(1, 11))
    cycle(window(made))
    store(made, range(1, 11))
    cycle(window(second))
    assert (jobs(made), jobs(second)) == ([], list(range(1, 11)))
