"""Runs over all images, at the database: walked by windows, counted to the last image, and nobody's in particular."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import pytest

from daemon.db.runs import Fed, Run, Runs
from daemon.db.sweep import SweepOptions, SweepWindow
from daemon.errors import DatabaseUnavailableError
from daemon.reprocess import SWEEP_PAYLOAD, model_of
from tests.postgres import LAYOUTS, Database, MakeDatabase, users_tables

SIGNATURE = "vectord:mobilenetv2_1.0_224:1a2b3c4d:g0"
MOST_STEPS = 200


def runs_of(database: Database, **options: Any) -> Runs:
    return Runs(database.pool, database.names, SweepOptions(**options))


def ask(runs: Runs, limit: int | None = None, *, skip_processed: bool = True, forced: bool = False) -> UUID:
    return runs.ask(limit=limit, skip_processed=skip_processed, forced=forced)


def look(runs: Runs, run: UUID) -> Run:
    seen = runs.look(run)
    assert seen is not None
    return seen


def pending(database: Database) -> list[Any]:
    return [row[0] for row in database.execute("SELECT image_id FROM vectord.job WHERE state = 'pending' ORDER BY 1")]


def finish(database: Database, ids: Sequence[Any]) -> None:
    """Vectors for these, as a daemon would store them."""
    for one in ids:
        database.execute(
            "INSERT INTO tb_hsx_img_value (image_id, feature_vector, model_version) VALUES (%s, '[1,0,0,0]', %s) "
            "ON CONFLICT (image_id) DO UPDATE SET model_version = EXCLUDED.model_version",
            (one, SIGNATURE),
        )
    database.execute("DELETE FROM vectord.job WHERE image_id = ANY(%s)", (list(ids),))


def fail(database: Database, ids: Sequence[int]) -> None:
    database.execute(
        "UPDATE vectord.job SET state = 'dead', reason = 'gone', failed_at = now() WHERE image_id = ANY(%s)",
        (list(ids),),
    )


def work_off(database: Database, runs: Runs, run: UUID) -> list[list[Any]]:
    """Steps and does what was queued, until the run is over; what each step had queued."""
    queued: list[list[Any]] = []
    while not look(runs, run).over:
        runs.step(SIGNATURE)
        queued.append(pending(database))
        finish(database, queued[-1])
        assert len(queued) < MOST_STEPS
    return [ids for ids in queued if ids]


def counted(run: Run) -> tuple[int, int, int, int]:
    return run.total, run.success, run.failed, run.skipped


@pytest.mark.parametrize("id_type", LAYOUTS)
def test_a_run_comes_to_every_image_once(make_database: MakeDatabase, id_type: str) -> None:
    database = make_database(before=users_tables(id_type), trigger=False)
    ids = LAYOUTS[id_type]
    database.insert(ids)
    runs = runs_of(database, window=3)
    run = ask(runs)
    queued = work_off(database, runs, run)
    assert max(map(len, queued)) <= 3
    assert sorted(one for some in queued for one in some) == sorted(ids)
    assert counted(look(runs, run)) == (len(ids), len(ids), 0, 0)


def test_a_run_that_was_just_asked_for_calls_the_sweep(untriggered: Database) -> None:
    with closing(untriggered.connect()) as session:
        session.autocommit = True
        session.cursor().execute(f'LISTEN "{untriggered.names.channel}"')
        run = ask(runs_of(untriggered))
        session.cursor().execute("SELECT 1")
        session.poll()
        assert [one.payload for one in session.notifies] == [SWEEP_PAYLOAD]
    seen = look(runs_of(untriggered), run)
    assert (seen.over, seen.walked_at, counted(seen)) == (False, None, (0, 0, 0, 0))


def test_nothing_asked_for_is_nothing_done(untriggered: Database) -> None:
    untriggered.insert([1])
    runs = runs_of(untriggered)
    assert runs.step(SIGNATURE) == Fed()
    assert runs.look(uuid4()) is None
    assert pending(untriggered) == []


def test_an_empty_table_is_soon_done(untriggered: Database) -> None:
    runs = runs_of(untriggered)
    run = ask(runs)
    assert runs.step(SIGNATURE).open
    assert counted(look(runs, run)) == (0, 0, 0, 0)
    assert look(runs, run).over


def test_images_with_a_vector_are_passed_over_counted_or_made_anew(untriggered: Database) -> None:
    untriggered.insert(range(1, 11))
    finish(untriggered, range(1, 5))
    runs = runs_of(untriggered, window=3)
    passed = ask(runs)
    work_off(untriggered, runs, passed)
    assert counted(look(runs, passed)) == (6, 6, 0, 0)
    with_skipped = ask(runs, skip_processed=False)
    work_off(untriggered, runs, with_skipped)
    assert counted(look(runs, with_skipped)) == (10, 0, 0, 10)
    forced = ask(runs, forced=True)
    assert [one for some in work_off(untriggered, runs, forced) for one in some] == list(range(1, 11))
    assert counted(look(runs, forced)) == (10, 10, 0, 0)


@pytest.mark.parametrize(
    ("limit", "skip_processed", "expected"),
    [(1, True, (1, 1, 0, 0)), (4, True, (4, 4, 0, 0)), (99, True, (6, 6, 0, 0)), (7, False, (7, 3, 0, 4))],
)
def test_a_limit_is_kept_to_the_image(
    untriggered: Database, limit: int, *, skip_processed: bool, expected: tuple[int, int, int, int]
) -> None:
    untriggered.insert(range(1, 11))
    finish(untriggered, range(1, 5))
    runs = runs_of(untriggered, window=3)
    run = ask(runs, limit, skip_processed=skip_processed)
    work_off(untriggered, runs, run)
    assert counted(look(runs, run)) == expected


def test_the_queue_is_fed_as_far_as_there_is_room(untriggered: Database) -> None:
    untriggered.insert(range(1, 31))
    runs = runs_of(untriggered, high_water=8, window=100)
    run = ask(runs)
    assert runs.step(SIGNATURE) == Fed(open=True, queued=8, more=False)
    assert runs.step(SIGNATURE) == Fed(open=True)
    finish(untriggered, pending(untriggered)[:5])
    assert runs.step(SIGNATURE).queued == 5
    work_off(untriggered, runs, run)
    assert counted(look(runs, run)) == (30, 30, 0, 0)


def test_a_run_gets_on_beside_a_sweep_that_has_more_than_the_queue_takes(untriggered: Database) -> None:
    untriggered.execute("INSERT INTO vectord.setting VALUES ('model', %s)", (model_of(SIGNATURE),))
    untriggered.insert(range(1, 1001))
    finish(untriggered, range(501, 1001))
    options = SweepOptions(window=50, high_water=20)
    sweep = SweepWindow(untriggered.pool, untriggered.names, options)
    runs = Runs(untriggered.pool, untriggered.names, options)
    sweep.step(SIGNATURE)
    run, ticks = ask(runs, 30, forced=True), 0
    while not look(runs, run).over:
        finish(untriggered, pending(untriggered)[:10])
        assert sweep.step(SIGNATURE).queued
        runs.step(SIGNATURE)
        assert len(pending(untriggered)) <= 20
        ticks += 1
        assert ticks < MOST_STEPS
    assert counted(look(runs, run)) == (30, 30, 0, 0)
    # All the room is the sweep's again.
    finish(untriggered, pending(untriggered))
    assert sweep.step(SIGNATURE).queued == 20


def test_a_failure_and_an_image_that_goes_are_counted_as_what_they_are(untriggered: Database) -> None:
    untriggered.insert(range(1, 6))
    runs = runs_of(untriggered)
    run = ask(runs)
    runs.step(SIGNATURE)
    fail(untriggered, [2])
    untriggered.execute(
        "UPDATE vectord.job SET reason = 'read_timeout', not_before = now() + interval '1 hour' WHERE image_id = 3"
    )
    untriggered.execute("DELETE FROM ecai.tb_image WHERE id = 4")
    untriggered.execute("DELETE FROM vectord.job WHERE image_id = 4")
    finish(untriggered, [1])
    runs.step(SIGNATURE)
    seen = look(runs, run)
    assert (counted(seen), seen.failed_ids, seen.over) == ((5, 1, 2, 1), ("2", "3"), False)
    finish(untriggered, [5])
    runs.step(SIGNATURE)
    assert counted(look(runs, run)) == (5, 2, 2, 1)
    assert look(runs, run).over


def test_what_is_dead_gets_another_chance_and_what_is_in_work_is_left_alone(database: Database) -> None:
    database.insert([1, 2])
    fail(database, [1])
    database.execute(
        "UPDATE vectord.job SET attempts = 3, worker = 'other', lease_token = gen_random_uuid(),"
        " lease_until = now() + interval '1 hour' WHERE image_id = 2"
    )
    runs = runs_of(database)
    run = ask(runs)
    assert runs.step(SIGNATURE).queued == 2
    states = "SELECT image_id, state, attempts, worker, reason FROM vectord.job ORDER BY 1"
    assert database.execute(states) == [(1, "pending", 0, None, None), (2, "pending", 3, "other", None)]
    finish(database, [1, 2])
    runs.step(SIGNATURE)
    assert counted(look(runs, run)) == (2, 2, 0, 0)


def test_a_step_waits_for_no_job_that_is_in_work(database: Database) -> None:
    database.insert([1, 2])
    database.execute(
        "UPDATE vectord.job SET lease_token = gen_random_uuid(), lease_until = 'tomorrow' WHERE image_id = 1"
    )
    runs = runs_of(database)
    ask(runs)
    with closing(database.connect()) as daemon, daemon.cursor() as cursor:
        cursor.execute("SELECT FROM vectord.job WHERE image_id = 1 FOR UPDATE")
        assert runs.step(SIGNATURE).queued == 2


@pytest.mark.parametrize("queued_before", [True, False])
def test_a_step_leaves_out_what_an_open_transaction_holds(database: Database, *, queued_before: bool) -> None:
    """The job of an image that a user has just written is locked, or not yet to be seen."""
    database.insert(range(1, 21))
    if not queued_before:
        finish(database, range(1, 21))
    runs = runs_of(database)
    run = ask(runs, skip_processed=False, forced=True)
    with closing(database.connect()) as session:
        session.cursor().execute("UPDATE ecai.tb_image SET url = url || '?2' WHERE id = 7")
        assert runs.step(SIGNATURE).queued == 20
        assert pending(database) == [image for image in range(1, 21) if queued_before or image != 7]
        session.commit()
    assert pending(database) == list(range(1, 21))
    finish(database, range(1, 21))
    runs.step(SIGNATURE)
    assert counted(look(runs, run)) == (20, 20, 0, 0)


def test_another_daemon_goes_on_where_one_ended(untriggered: Database) -> None:
    """All that is known of a run stands in the database: a new daemon is a new `Runs`."""
    untriggered.insert(range(1, 11))
    run = ask(runs_of(untriggered))
    seen: list[int] = []
    for _ in range(MOST_STEPS):
        daemon = runs_of(untriggered, window=2)
        daemon.step(SIGNATURE)
        seen += pending(untriggered)
        finish(untriggered, pending(untriggered))
        if look(daemon, run).over:
            break
    assert seen == list(range(1, 11))
    assert counted(look(runs_of(untriggered), run)) == (10, 10, 0, 0)


def test_a_step_that_breaks_off_leaves_the_run_where_it_was(untriggered: Database) -> None:
    untriggered.insert(range(1, 5))
    runs = runs_of(untriggered)
    run = ask(runs)
    untriggered.execute(
        "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;"
        "CREATE TRIGGER cut BEFORE INSERT ON vectord.run_image FOR EACH ROW EXECUTE FUNCTION cut()"
    )
    with pytest.raises(DatabaseUnavailableError):
        runs.step(SIGNATURE)
    assert pending(untriggered) == []
    untriggered.execute("DROP TRIGGER cut ON vectord.run_image")
    work_off(untriggered, runs, run)
    assert counted(look(runs, run)) == (4, 4, 0, 0)


def test_two_daemons_that_step_at_once_queue_and_count_nothing_twice(untriggered: Database) -> None:
    untriggered.insert(range(1, 61))
    run = ask(runs_of(untriggered))
    start = Barrier(2)

    def daemon(_: int) -> int:
        runs, queued = runs_of(untriggered, window=4), 0
        start.wait(60)
        # Whoever finds the run locked by the other does nothing.
        while look(runs, run).walked_at is None:
            queued += runs.step(SIGNATURE).queued
        return queued

    with ThreadPoolExecutor(2) as threads:
        queued = list(threads.map(daemon, range(2)))
    assert sum(queued) == 60
    assert pending(untriggered) == list(range(1, 61))
    finish(untriggered, pending(untriggered))
    runs = runs_of(untriggered)
    runs.step(SIGNATURE)
    assert counted(look(runs, run)) == (60, 60, 0, 0)
    assert look(runs, run).over


def test_runs_are_done_one_after_the_other(untriggered: Database) -> None:
    untriggered.insert(range(1, 4))
    runs = runs_of(untriggered)
    first, second = ask(runs, forced=True), ask(runs, forced=True)
    runs.step(SIGNATURE)
    assert [look(runs, run).total for run in (first, second)] == [3, 0]
    work_off(untriggered, runs, first)
    work_off(untriggered, runs, second)
    assert [counted(look(runs, run)) for run in (first, second)] == [(3, 3, 0, 0)] * 2
