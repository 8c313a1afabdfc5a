import pytest

from daemon.db.walk import WAITING_FACTOR, Found, Position, Swept, advance, reached, room_left
from daemon.reprocess import Standing
from daemon.wake.sweep import EASY_SHARE, SOON, is_quiet, next_pause

INTERVAL = 60.0


@pytest.mark.parametrize(
    ("pending", "workable", "expected"),
    [
        (0, 0, 100),
        (40, 40, 60),
        (100, 100, 0),
        (130, 130, 0),
        # Those that wait for a dead host leave room for the others ...
        (500, 0, 100),
        (500, 30, 70),
        # ... but not without end.
        (100 * WAITING_FACTOR - 5, 0, 5),
        (100 * WAITING_FACTOR, 0, 0),
    ],
)
def test_the_queue_has_room_up_to_high_water(pending: int, workable: int, expected: int) -> None:
    assert room_left(pending, workable, high_water=100) == expected


def test_a_full_queue_stops_the_walk_at_the_last_id_that_it_took() -> None:
    found = Found(looked=100, last=100, missing=(10, 20, 30))
    assert reached(found, room=3, before=0) == 30
    assert reached(found, room=4, before=0) == 100
    assert reached(Found(looked=0, last=None, missing=()), room=4, before=7) == 7


def test_a_window_in_the_middle_moves_the_cursor_and_counts() -> None:
    before = Position(cursor=100, highest=1000, cycle=2, looked=100, found=3)
    after = advance(before, Found(looked=10, last=110, missing=(105,)), room=5, window=10, queued=1)
    assert after == Position(cursor=110, highest=1000, cycle=2, looked=110, found=4)


def test_the_first_window_of_a_cycle_counts_from_zero() -> None:
    before = Position(cursor=None, highest=1000, cycle=3, looked=1000, found=40)
    after = advance(before, Found(looked=10, last=10, missing=()), room=5, window=10, queued=0)
    assert after == Position(cursor=10, highest=1000, cycle=3, looked=10, found=0)


def test_a_short_window_ends_the_cycle_and_says_anew_what_is_highest() -> None:
    before = Position(cursor=100, highest=1000, cycle=2, looked=100, found=3)
    after = advance(before, Found(looked=4, last=104, missing=(104,)), room=5, window=10, queued=1)
    assert after == Position(cursor=None, highest=104, cycle=3, looked=104, found=4)


def test_a_short_window_that_was_cut_short_does_not_end_the_cycle() -> None:
    after = advance(Position(cursor=0), Found(looked=4, last=4, missing=(1, 2)), room=2, window=10, queued=2)
    assert (after.cursor, after.cycle) == (2, 0)


def test_a_cycle_over_an_empty_table_ends_at_once() -> None:
    after = advance(Position(), Found(looked=0, last=None, missing=()), room=5, window=10, queued=0)
    assert after == Position(cycle=1)


@pytest.mark.parametrize(
    ("swept", "quiet", "expected"),
    [
        (Swept(queued=5, cycle_found=5), False, 0.0),
        (Swept(), False, 0.0),
        (Swept(), True, 0.1 / EASY_SHARE),
        (Swept(cycle_ended=True), True, INTERVAL),
        (Swept(cycle_ended=True, cycle_found=5), False, INTERVAL),
        (Swept(full=True), False, SOON),
        (Swept(cycle_ended=True, reprocessing=True), True, SOON),
        (Swept(leader=False), False, INTERVAL),
        (Swept(standing=Standing.SUPERSEDED), False, INTERVAL),
    ],
)
def test_when_the_next_tick_is(swept: Swept, quiet: bool, expected: float) -> None:  # noqa: FBT001 - a table
    assert next_pause(swept, quiet=quiet, seconds=0.1, interval=INTERVAL) == pytest.approx(expected)


def test_no_pause_is_longer_than_the_interval() -> None:
    assert next_pause(Swept(), quiet=True, seconds=30.0, interval=5.0) == 5.0
    assert next_pause(Swept(full=True), quiet=False, seconds=0.1, interval=0.5) == 0.5


def test_the_sweep_is_quiet_after_a_cycle_without_finds_and_until_the_next_find() -> None:
    assert not is_quiet(Swept(), before=False)
    assert is_quiet(Swept(cycle_ended=True), before=False)
    assert is_quiet(Swept(), before=True)
    assert not is_quiet(Swept(cycle_found=1), before=True)
    assert not is_quiet(Swept(cycle_found=1, cycle_ended=True), before=True)
