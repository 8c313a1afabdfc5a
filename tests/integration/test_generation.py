import json
from collections.abc import Sequence
from threading import Barrier, Thread
from typing import Any

import pytest

from daemon.db.generation import Generations, Instance, Started
from daemon.db.sweep import SweepOptions, SweepWindow
from daemon.db.walk import Swept
from daemon.reprocess import Standing
from tests.postgres import Database

MODEL = "vectord:mobilenetv2_1.0_224:1a2b3c4d"
OTHER = "vectord:mobilenetv2_0.5_224:99999999"


def instance(name: str = "one", *, model: str = MODEL, mode: str = "never", boot_id: str = "boot") -> Instance:
    return Instance(name=name, boot_id=boot_id, signature=f"{model}:g0", mode=mode)


@pytest.fixture
def generations(database: Database) -> Generations:
    return Generations(database.pool, database.names)


def sweep_up(database: Database, signature: str, **options: Any) -> list[Swept]:
    """Ticks until a cycle ends, or the queue is full."""
    sweep = SweepWindow(database.pool, database.names, SweepOptions(**options))
    ticks = [sweep.step(signature)]
    while ticks[-1].more:
        ticks.append(sweep.step(signature))
    return ticks


def work(database: Database, signature: str, ids: Sequence[int] | None = None) -> list[int]:
    """What the pipeline does: a vector for every pending job, or for those of these images. Gives their ids."""
    done = database.execute(
        "DELETE FROM vectord.job WHERE state = 'pending' AND (%s IS NULL OR image_id = ANY(%s)) RETURNING image_id",
        (ids, ids),
    )
    database.execute(
        "INSERT INTO tb_hsx_img_value (image_id, feature_vector, model_version) "
        "SELECT id, '[1,0,0,0]', %s FROM unnest(%s::bigint[]) id "
        "ON CONFLICT (image_id) DO UPDATE SET model_version = EXCLUDED.model_version",
        (signature, [row[0] for row in done]),
    )
    return sorted(row[0] for row in done)


def versions(database: Database) -> dict[int, str]:
    return dict(database.execute("SELECT image_id, model_version FROM tb_hsx_img_value ORDER BY image_id"))


def last_reprocess(database: Database) -> tuple[Any, ...]:
    (row,) = database.execute(
        "SELECT generation, cause, forced, walked_at IS NOT NULL, ended_at IS NOT NULL "
        "FROM vectord.reprocess ORDER BY id DESC LIMIT 1"
    )
    return row


def test_the_first_start_tells_the_model_and_raises_nothing(database: Database, generations: Generations) -> None:
    assert generations.signature() is None
    assert generations.present(f"{OTHER}:g5")
    started = generations.on_start(instance(mode="always"))
    assert started == Started(signature=f"{MODEL}:g0", standing=Standing.PRESENT, raised=False, replaced_model=None)
    assert generations.signature() == f"{MODEL}:g0"
    assert last_reprocess(database) == (0, "first start", False, False, False)


def test_raising_by_hand(generations: Generations) -> None:
    generations.on_start(instance())
    assert generations.raise_now() == 1
    assert generations.raise_now("again") == 2
    assert generations.standing(f"{MODEL}:g0") is Standing.RAISED
    assert generations.present(f"{MODEL}:g2")
    assert generations.on_start(instance()).signature == f"{MODEL}:g2"


def end_reprocess(database: Database) -> None:
    database.execute("UPDATE vectord.reprocess SET walked_at = now(), ended_at = now() WHERE ended_at IS NULL")


def test_always_raises_on_an_operators_restart_only(database: Database, generations: Generations) -> None:
    always = instance(mode="always")
    generations.on_start(always)
    end_reprocess(database)
    assert not generations.on_start(always).raised  # A crash: no clean stop came before.
    generations.stopping(always)
    assert not generations.on_start(instance(mode="always", boot_id="next boot")).raised  # A reboot.
    generations.stopping(instance(mode="always", boot_id="next boot"))
    started = generations.on_start(instance(mode="always", boot_id="next boot"))
    assert (started.raised, started.signature) == (True, f"{MODEL}:g1")
    generations.stopping(instance(mode="always", boot_id="next boot"))
    again = generations.on_start(instance(mode="always", boot_id="next boot"))
    assert (again.raised, again.signature) == (False, f"{MODEL}:g1")  # The last one still runs.


def test_a_tag_raises_once(database: Database, generations: Generations) -> None:
    assert generations.on_start(instance(mode="2026-11-23")).signature == f"{MODEL}:g1"
    end_reprocess(database)
    assert not generations.on_start(instance(mode="2026-11-23")).raised
    assert not generations.on_start(instance("two", mode="2026-11-23")).raised
    assert generations.on_start(instance("two", mode="2026-11-24")).signature == f"{MODEL}:g2"
    assert not generations.on_start(instance(mode="2026-11-23")).raised


@pytest.mark.parametrize("mode", ["always", "2026-11-23"])
def test_many_daemons_that_start_at_once_raise_it_once(database: Database, mode: str) -> None:
    generations = Generations(database.pool, database.names)
    names = [str(number) for number in range(6)]
    for name in names:
        generations.on_start(instance(name))
        generations.stopping(instance(name))
    end_reprocess(database)
    barrier, started = Barrier(len(names)), list[Started]()

    def start(name: str) -> None:
        barrier.wait()
        started.append(generations.on_start(instance(name, mode=mode)))

    threads = [Thread(target=start, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.raised for one in started) == 1
    assert generations.present(f"{MODEL}:g1")


def test_the_newer_configuration_wins_and_keeps_winning(database: Database, generations: Generations) -> None:
    generations.on_start(instance("a"))
    second = generations.on_start(instance("b", model=OTHER))
    assert (second.standing, second.replaced_model) == (Standing.PRESENT, MODEL)
    assert generations.standing(f"{MODEL}:g0") is Standing.SUPERSEDED
    alive(database, "b", OTHER)
    restarted = generations.on_start(instance("a"))
    assert (restarted.standing, restarted.signature) == (Standing.SUPERSEDED, f"{OTHER}:g0")
    # Someone gives `a` the new model and then takes that back: now its configuration is the newer one.
    assert generations.on_start(instance("a", model=OTHER)).standing is Standing.PRESENT
    assert generations.on_start(instance("a")).standing is Standing.PRESENT
    assert generations.standing(f"{OTHER}:g0") is Standing.SUPERSEDED


def test_a_daemon_takes_over_from_one_that_is_gone(database: Database, generations: Generations) -> None:
    generations.on_start(instance("a"))
    generations.on_start(instance("b", model=OTHER))
    alive(database, "b", OTHER, "now() - interval '1 hour'")
    assert generations.on_start(instance("a")).replaced_model == OTHER


def test_a_daemon_that_ended_a_moment_ago_is_not_gone_yet(database: Database, generations: Generations) -> None:
    """Its machine may be rebooting, and the other one with the old model was only quicker."""
    generations.on_start(instance("a"))
    generations.on_start(instance("b", model=OTHER))
    alive(database, "b", OTHER)
    database.execute("UPDATE vectord.worker SET ended_at = now()")
    assert generations.on_start(instance("a")).standing is Standing.SUPERSEDED


def test_daemons_gone_for_a_month_are_forgotten(database: Database, generations: Generations) -> None:
    for worker, when in (("old", "now() - interval '31 days'"), ("new", "now() - interval '29 days'")):
        alive(database, worker, MODEL, when)
    generations.on_start(instance())
    assert database.execute("SELECT worker FROM vectord.worker") == [("new",)]


def alive(database: Database, worker: str, model: str, when: str = "now()") -> None:
    database.execute(
        f"INSERT INTO vectord.worker (worker, host, pid, signature, seen_at) VALUES (%s, 'host', 1, %s, {when})",
        (worker, f"{model}:g0"),
    )


def test_a_changed_model_reprocesses_by_itself_and_keeps_the_old_vectors_meanwhile(
    database: Database, generations: Generations
) -> None:
    signature = generations.on_start(instance()).signature
    database.insert(range(1, 21))
    assert work(database, signature) == list(range(1, 21))
    changed = generations.on_start(instance(model=OTHER)).signature
    assert last_reprocess(database)[:3] == (0, f"model was {MODEL}", False)
    sweep_up(database, changed, window=7)
    assert set(versions(database).values()) == {signature}
    assert work(database, changed) == list(range(1, 21))
    assert set(versions(database).values()) == {changed}
    ticks = sweep_up(database, changed, window=7)
    assert sum(tick.queued for tick in ticks) == 0
    assert last_reprocess(database)[3:] == (True, True)


def test_a_forced_reprocess_takes_foreign_vectors_and_dead_jobs_too_a_changed_model_does_not(
    database: Database, generations: Generations
) -> None:
    signature = generations.on_start(instance()).signature
    database.insert([1, 2, 3])
    work(database, signature, [1])
    database.execute(
        "UPDATE vectord.job SET state = 'dead', reason = 'not_found', failed_at = now() WHERE image_id = 2"
    )
    work(database, "MobileNetV2", [3])
    changed = generations.on_start(instance(model=OTHER)).signature
    sweep_up(database, changed)
    assert work(database, changed) == [1]
    generations.raise_now()
    raised = generations.signature()
    assert raised == f"{OTHER}:g1"
    sweep_up(database, raised)
    assert work(database, raised) == [1, 2, 3]


def test_what_came_since_the_last_tick_belongs_to_a_reprocess_too(database: Database, generations: Generations) -> None:
    """Taken for new, it would be no work of the reprocess's, which would count as over before it is."""
    signature = generations.on_start(instance()).signature
    database.insert([1])
    sweep_up(database, signature)
    database.insert([2, 3])
    assert work(database, signature) == [1, 2, 3]
    generations.raise_now()
    sweep_up(database, f"{MODEL}:g1")
    assert work(database, f"{MODEL}:g1", [1, 3]) == [1, 3]
    sweep_up(database, f"{MODEL}:g1")
    assert last_reprocess(database)[3:] == (True, False)
    assert work(database, f"{MODEL}:g1") == [2]
    sweep_up(database, f"{MODEL}:g1")
    assert last_reprocess(database)[3:] == (True, True)


def test_an_image_that_dies_during_a_forced_reprocess_stays_dead(database: Database, generations: Generations) -> None:
    generations.on_start(instance())
    database.insert([1])
    generations.raise_now()
    database.execute("UPDATE vectord.job SET state = 'dead', reason = 'not_found', failed_at = now()")
    sweep_up(database, f"{MODEL}:g1")
    assert work(database, f"{MODEL}:g1") == []


def test_a_forced_reprocess_does_not_overfill_the_queue(database: Database, generations: Generations) -> None:
    generations.on_start(instance())
    database.insert(range(1, 31))
    database.execute("UPDATE vectord.job SET state = 'dead', reason = 'not_found', failed_at = now()")
    generations.raise_now()
    done: list[int] = []
    while not done or done[-1] < 30:
        sweep_up(database, f"{MODEL}:g1", window=10, high_water=4)
        now = work(database, f"{MODEL}:g1")
        assert 0 < len(now) <= 4
        done += now
    assert done == list(range(1, 31))


def test_an_interrupted_reprocess_goes_on_where_it_was(database: Database, generations: Generations) -> None:
    signature = generations.on_start(instance(mode="always")).signature
    database.insert(range(1, 31))
    work(database, signature)
    sweep_up(database, signature)
    generations.stopping(instance(mode="always"))
    raised = generations.on_start(instance(mode="always")).signature
    assert raised == f"{MODEL}:g1"
    sweep = SweepWindow(database.pool, database.names, SweepOptions(window=10))
    sweep.step(raised)
    assert work(database, raised, list(range(1, 6))) == [1, 2, 3, 4, 5]
    # The daemon dies here, and starts again.
    started = generations.on_start(instance(mode="always"))
    assert (started.raised, started.signature) == (False, raised)
    ticks = sweep_up(database, raised, window=10)
    assert ticks[0].cursor == 20
    assert work(database, raised) == list(range(6, 31))
    assert set(versions(database).values()) == {raised}


def test_new_images_overtake_a_reprocess(database: Database, generations: Generations) -> None:
    signature = generations.on_start(instance()).signature
    database.insert(range(1, 11))
    work(database, signature)
    generations.raise_now()
    sweep_up(database, f"{MODEL}:g1")
    database.insert([11])
    assert database.execute("SELECT image_id FROM vectord.job ORDER BY priority, image_id LIMIT 1") == [(11,)]


def test_a_reprocess_is_over_when_nothing_that_it_queued_can_be_worked_on(
    database: Database, generations: Generations
) -> None:
    signature = generations.on_start(instance()).signature
    database.insert([1, 2])
    work(database, signature)
    generations.raise_now()
    raised = f"{MODEL}:g1"
    assert sweep_up(database, raised)[-1].reprocessing
    assert last_reprocess(database)[3:] == (True, False)
    work(database, raised, [1])
    assert sweep_up(database, raised)[-1].reprocessing
    database.execute("UPDATE vectord.job SET not_before = now() + interval '1 hour', reason = 'host_unavailable'")
    assert not sweep_up(database, raised)[-1].reprocessing
    assert last_reprocess(database)[3:] == (True, True)


def test_a_second_raise_walks_from_the_beginning(database: Database, generations: Generations) -> None:
    generations.on_start(instance())
    database.insert(range(1, 21))
    work(database, f"{MODEL}:g0")
    generations.raise_now()
    SweepWindow(database.pool, database.names, SweepOptions(window=10)).step(f"{MODEL}:g1")
    work(database, f"{MODEL}:g1")
    generations.raise_now()
    sweep_up(database, f"{MODEL}:g2", window=10)
    assert work(database, f"{MODEL}:g2") == list(range(1, 21))
    assert [row[0] for row in database.execute("SELECT ended_at IS NULL FROM vectord.reprocess ORDER BY id")] == [
        False,
        False,
        True,
    ]


def test_a_mark_that_somebody_spoilt_is_no_mark(database: Database, generations: Generations) -> None:
    generations.on_start(instance())
    database.execute("UPDATE vectord.setting SET value = '{not json' WHERE key = 'instance one'")
    assert not generations.on_start(instance(mode="always")).raised
    (mark,) = database.execute("SELECT value FROM vectord.setting WHERE key = 'instance one'")
    assert json.loads(mark[0]) == {"model": MODEL, "boot_id": "boot", "stopped": False}
