"""The database's part of a backfill: shards, jobs claimed by range, and what the sweep makes of it."""

from uuid import uuid4

import pytest

from daemon.backfill import indexing
from daemon.db.backfill import WORKER_PREFIX, Span, SpanJobs, Wanted
from daemon.db.jobs import JobQueue
from daemon.db.runs import Runs
from daemon.db.shards import Shards
from daemon.db.sweep import SweepOptions, SweepWindow
from daemon.service.signals import StopRequest
from daemon.signature import PREFIX
from tests.postgres import Database

SIGNATURE = f"{PREFIX}m:00000000:g0"
ALL = Span(after=None, upto=1000)


def jobs_of(database: Database, name: str = "one", **changes: float) -> SpanJobs:
    wanted = Wanted(signature=SIGNATURE)
    worker = WORKER_PREFIX + name
    given = {"lease_seconds": 60.0, "max_attempts": 5} | changes
    return SpanJobs(
        database.pool,
        database.names,
        wanted,
        worker=worker,
        lease_seconds=given["lease_seconds"],
        max_attempts=int(given["max_attempts"]),
    )


def sweep(database: Database) -> SweepWindow:
    return SweepWindow(database.pool, database.names, SweepOptions(high_water=3))


def ids(claims: list) -> list[int]:  # type: ignore[type-arg]
    return sorted(int(claim.image_id) for claim in claims)


def test_a_range_is_claimed_once(untriggered: Database) -> None:
    untriggered.insert(range(1, 6))

    first = jobs_of(untriggered, "one").claim_span(Span(after=1, upto=4), uuid4(), 10)
    second = jobs_of(untriggered, "two").claim_span(ALL, uuid4(), 10)

    assert (ids(first), ids(second)) == ([2, 3, 4], [1, 5])


def test_the_same_call_again_gives_the_same_and_charges_nothing(untriggered: Database) -> None:
    untriggered.insert(range(1, 4))
    jobs, token = jobs_of(untriggered), uuid4()

    first, again = (jobs.claim_span(ALL, token, 10) for _ in range(2))

    assert ids(first) == ids(again) == [1, 2, 3]
    assert [claim.attempt for claim in again] == [1, 1, 1]


def test_what_a_dead_worker_of_the_same_backfill_had_is_claimed_again_and_charged(untriggered: Database) -> None:
    untriggered.insert([1])
    jobs_of(untriggered).claim_span(ALL, uuid4(), 10)

    (claim,) = jobs_of(untriggered).claim_span(ALL, uuid4(), 10)

    assert claim.attempt == 2


def test_an_image_that_kills_every_worker_is_not_claimed_for_ever(untriggered: Database) -> None:
    untriggered.insert([1])
    jobs = jobs_of(untriggered, max_attempts=2)

    claimed = [len(jobs.claim_span(ALL, uuid4(), 10)) for _ in range(3)]

    assert claimed == [1, 1, 0]
    assert jobs.left(ALL, 10) == 0


def test_a_due_job_of_nobody_is_taken_and_a_waiting_one_is_not(untriggered: Database) -> None:
    untriggered.insert([1, 2])
    untriggered.execute(
        "INSERT INTO vectord.job (image_id, not_before) VALUES (1, now()), (2, now() + interval '1 hour')"
    )

    assert ids(jobs_of(untriggered).claim_span(ALL, uuid4(), 10)) == [1]


def test_daemons_leave_a_backfills_claims_alone_until_the_lease_ends(untriggered: Database) -> None:
    untriggered.insert([1, 2])
    jobs_of(untriggered).claim_span(ALL, uuid4(), 10)
    daemon = JobQueue(untriggered.pool, untriggered.names, worker="daemon", lease_seconds=60.0)

    assert daemon.claim(10) == []
    untriggered.execute("UPDATE vectord.job SET lease_until = now() WHERE image_id = 2")

    assert ids(daemon.claim(10)) == [2]


def test_given_back_is_due_for_everyone(untriggered: Database) -> None:
    untriggered.insert([1, 2])
    jobs = jobs_of(untriggered)
    jobs.claim_span(ALL, uuid4(), 10)

    assert jobs.give_back(charged=False) == 2
    assert untriggered.execute("SELECT attempts, lease_token, worker FROM vectord.job") == [(0, None, None)] * 2


def test_a_peek_leases_nothing(untriggered: Database) -> None:
    untriggered.insert([1, 2])

    assert ids(jobs_of(untriggered).peek(ALL, 1)) == [1]
    assert untriggered.execute("SELECT count(*) FROM vectord.job") == [(0,)]


def test_what_a_backfill_leased_does_not_fill_the_queue(untriggered: Database) -> None:
    untriggered.insert(range(1, 9))
    jobs_of(untriggered).claim_span(Span(after=None, upto=5), uuid4(), 10)

    swept = sweep(untriggered).step(SIGNATURE)

    assert (swept.full, swept.queued) == (False, 3)


def test_a_run_goes_on_while_a_backfill_holds_more_than_the_queue_may(untriggered: Database) -> None:
    untriggered.insert(range(1, 9))
    jobs_of(untriggered).claim_span(Span(after=None, upto=5), uuid4(), 10)
    runs = Runs(untriggered.pool, untriggered.names, SweepOptions(high_water=3))
    runs.ask(limit=None, skip_processed=True, forced=False)

    assert runs.step(SIGNATURE).queued == 3


def test_the_sweep_leaves_out_a_held_range_until_it_is_let_go(untriggered: Database) -> None:
    untriggered.insert(range(1, 6))
    shards = Shards(untriggered.pool, untriggered.names, SIGNATURE)
    shards.hold("backfill:one", Span(after=2, upto=5), 60)

    held = sweep(untriggered).step(SIGNATURE).queued
    shards.let_go("backfill:one")
    untriggered.execute("DELETE FROM vectord.job")

    assert held == 2
    assert sweep(untriggered).step(SIGNATURE).queued == 3


def test_a_hold_ends_by_itself(untriggered: Database) -> None:
    untriggered.insert([1])
    Shards(untriggered.pool, untriggered.names, SIGNATURE).hold("backfill:one", ALL, 0)

    assert sweep(untriggered).step(SIGNATURE).queued == 1


def test_a_reprocess_is_not_over_while_a_range_was_left_out(untriggered: Database) -> None:
    untriggered.insert([1])
    untriggered.execute("INSERT INTO vectord.reprocess (generation, cause, forced) VALUES (0, 'test', true)")
    shards = Shards(untriggered.pool, untriggered.names, SIGNATURE)
    shards.hold("backfill:one", ALL, 60)
    window = sweep(untriggered)

    assert window.step(SIGNATURE).cycle_ended
    assert shards.forced_since() is not None
    shards.let_go("backfill:one")
    window.step(SIGNATURE)

    assert shards.forced_since() is None


def test_a_reprocess_goes_over_what_a_backfill_kept_and_left_before_the_walk_was_over(untriggered: Database) -> None:
    untriggered.insert(range(1, 21))
    untriggered.execute(
        "INSERT INTO vectord.job (image_id, state, reason, failed_at) VALUES (3, 'dead', 'gone', '2020-1-1')"
    )
    untriggered.execute("INSERT INTO vectord.reprocess (generation, cause, forced) VALUES (0, 'test', true)")
    shards = Shards(untriggered.pool, untriggered.names, SIGNATURE)
    window = SweepWindow(untriggered.pool, untriggered.names, SweepOptions(window=10))
    shards.hold("backfill:one", Span(after=None, upto=10), 60)

    window.step(SIGNATURE)
    shards.let_go("backfill:one")
    while not window.step(SIGNATURE).cycle_ended:
        pass
    walked = shards.forced_since() is None
    while not window.step(SIGNATURE).cycle_ended:
        pass

    assert not walked
    assert untriggered.execute("SELECT count(*) FROM vectord.job WHERE state = 'pending'") == [(20,)]


def test_a_reprocess_does_not_wait_for_a_backfill_that_has_nothing_left_to_do(untriggered: Database) -> None:
    untriggered.insert([1])
    untriggered.execute(
        "INSERT INTO vectord.job (image_id, state, reason, failed_at) VALUES (1, 'dead', 'gone', now())"
    )
    untriggered.execute("INSERT INTO vectord.reprocess (generation, cause, forced) VALUES (0, 'test', true)")
    untriggered.execute("UPDATE vectord.job SET failed_at = now()")
    shards = Shards(untriggered.pool, untriggered.names, SIGNATURE)
    shards.hold("backfill:one", ALL, 60)

    assert sweep(untriggered).step(SIGNATURE).cycle_ended
    assert shards.forced_since() is None


def test_shards_cover_the_table_and_a_plan_goes_on_where_it_ended(untriggered: Database) -> None:
    untriggered.insert([3, 5, 8, 13, 21])
    shards = Shards(untriggered.pool, untriggered.names, SIGNATURE)

    planned = list(shards.plan(2))
    untriggered.insert([34])
    later = list(shards.plan(2))

    assert [(one.span.after, one.span.upto, one.images) for one in planned] == [(None, 5, 2), (5, 13, 2), (13, 21, 1)]
    assert [(one.number, one.span.after, one.span.upto) for one in later] == [(3, 21, 34)]
    assert shards.totals().open_images == 6
    shards.finish(1)
    assert [one.number for one in shards.open(10)] == [0, 2, 3]


def test_what_was_finished_once_is_planned_again(untriggered: Database) -> None:
    """Vectors may have gone since, or images come again, or the model changed and changed back."""
    untriggered.insert([3, 5, 8])
    shards = Shards(untriggered.pool, untriggered.names, SIGNATURE)
    first = list(shards.plan(2))
    for shard in first:
        shards.finish(shard.number)

    surveyed = list(shards.survey(2))
    assert shards.totals().open_shards == 0
    again = list(shards.plan(2))

    assert surveyed == again == first
    assert [one.number for one in shards.open(10)] == [0, 1]


def test_a_range_is_cut_into_parts(untriggered: Database) -> None:
    untriggered.insert(range(1, 8))

    parts = Shards(untriggered.pool, untriggered.names, SIGNATURE).parts(Span(after=1, upto=7), 4)

    assert parts == [Span(after=1, upto=5), Span(after=5, upto=7)]


def test_two_that_plan_at_once_leave_no_gap(untriggered: Database) -> None:
    untriggered.insert(range(1, 21))
    planning = [Shards(untriggered.pool, untriggered.names, SIGNATURE).plan(size) for size in (2, 5)]
    for plan in planning * 10:
        next(plan, None)
    planned = Shards(untriggered.pool, untriggered.names, SIGNATURE).open(20)
    assert [shard.span.after for shard in planned] == [None, *(shard.span.upto for shard in planned[:-1])]
    assert planned[-1].span.upto == 20
    assert [shard.images for shard in planned] == [2, 5, 2, 5, 2, 4]


def test_what_is_missing_in_any_open_shard_is_found(untriggered: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "PAGE", 2)
    untriggered.insert(range(1, 12))
    shards, jobs, stop = Shards(untriggered.pool, untriggered.names, SIGNATURE), jobs_of(untriggered), StopRequest()
    another = jobs_of(untriggered, "another")
    assert len(list(shards.plan(2))) == 6

    another.claim_span(Span(after=None, upto=10), uuid4(), 10)
    assert indexing.anything_missing(shards, jobs, stop)
    shards.finish(5)  # The last one.
    assert not indexing.anything_missing(shards, jobs, stop)

    another.give_back(charged=False)
    assert indexing.anything_missing(shards, jobs, stop)
    stop.ask()
    assert not indexing.anything_missing(shards, jobs, stop)
