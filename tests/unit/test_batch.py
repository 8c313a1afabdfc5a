"""batch: size or age, urgent first; with a made-up clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.fairness import FAIR_EVERY
from daemon.pipeline.batch import LONGEST_WAIT, Batcher

LIMIT = 32
FEW = 3
"""Others on their way, too few to fill the batch."""


def batcher(wait: float = 5.0, portion: int = 0) -> Batcher[int]:
    return Batcher(limit=LIMIT, wait_seconds=wait, portion=portion)


def test_nothing_waits_at_first() -> None:
    assert batcher().seconds_left(0.0, FEW) is None
    assert batcher().take() == []


def test_an_image_waits_for_a_few_others_as_long_as_it_may_and_no_longer() -> None:
    one = batcher(wait=5.0)
    one.add(7, now=100.0)
    assert one.seconds_left(101.0, FEW) == 4.0
    assert one.seconds_left(101.0, 1) == 4.0
    assert one.seconds_left(105.0, FEW) == 0.0
    assert one.seconds_left(200.0, FEW) == 0.0
    assert one.take() == [7]


def test_an_image_with_nobody_on_the_way_does_not_wait() -> None:
    one = batcher(wait=5.0)
    one.add(7, now=100.0)
    assert one.seconds_left(100.0, 0) == 0.0


def test_where_the_rest_of_a_batch_is_on_its_way_it_is_waited_for_but_not_for_long() -> None:
    one = batcher(wait=0.005)
    one.add(7, now=100.0)
    assert one.seconds_left(100.0, LIMIT - 2) == pytest.approx(0.005)
    assert one.seconds_left(100.0, LIMIT - 1) == pytest.approx(LONGEST_WAIT)
    assert one.seconds_left(100.0 + LONGEST_WAIT, LIMIT) == 0.0


def test_a_longer_wait_that_was_asked_for_holds_for_full_batches_too() -> None:
    one = batcher(wait=5.0)
    one.add(7, now=100.0)
    assert one.seconds_left(101.0, LIMIT) == 4.0


def test_an_urgent_image_waits_for_no_company() -> None:
    one = batcher(wait=5.0)
    one.add(7, now=100.0, urgent=True)
    assert one.seconds_left(100.0, LIMIT) == 0.0


def test_a_full_batch_waits_for_nobody() -> None:
    full = batcher(wait=5.0)
    for number in range(32):
        full.add(number, now=0.0)
    assert full.seconds_left(0.0, FEW) == 0.0
    assert full.room == 0
    assert full.take() == list(range(32))


def test_urgent_images_go_first_and_keep_their_order() -> None:
    mixed = batcher()
    for number in range(32):
        mixed.add(number, now=0.0)
    mixed.add(100, now=1.0, urgent=True)
    mixed.add(101, now=1.0, urgent=True)
    assert mixed.take() == [100, 101]
    assert mixed.take() == list(range(32))


def test_a_new_image_goes_before_those_of_a_backfill_in_the_next_portion() -> None:
    mixed = batcher(wait=50.0, portion=8)
    for number in range(32):
        mixed.add(number, now=0.0, backfill=True)
    assert mixed.take() == list(range(8))
    mixed.add(100, now=1.0)
    assert mixed.take() == [100, *range(8, 15)]


@given(st.lists(st.sampled_from(["urgent", "fresh", "backfill"]), max_size=80), st.integers(0, 40))
def test_whatever_was_added_is_taken_once(kinds: list[str], portion: int) -> None:
    mixed = batcher(portion=portion)
    for number, kind in enumerate(kinds):
        mixed.add(number, now=float(number), urgent=kind == "urgent", backfill=kind == "backfill")
    taken: list[int] = []
    while mixed.seconds_left(1e9, LIMIT) == 0.0:
        taken += mixed.take()
    assert sorted(taken) == list(range(len(kinds)))
    assert len(mixed) == 0


def test_the_oldest_of_all_says_how_long_is_waited() -> None:
    mixed = batcher(wait=5.0)
    mixed.add(1, now=100.0, backfill=True)
    mixed.add(2, now=103.0)
    assert mixed.seconds_left(104.0, FEW) == 1.0


def test_an_ordinary_image_goes_with_every_so_many_urgent_ones() -> None:
    mixed = batcher(portion=8)
    for number in range(3):
        mixed.add(number, now=0.0)
    taken: list[int] = []
    for number in range(100, 100 + 2 * FAIR_EVERY):
        mixed.add(number, now=1.0, urgent=True)
        taken += mixed.take()
    assert [place for place, number in enumerate(taken) if number < 100] == [FAIR_EVERY, 2 * FAIR_EVERY + 1]


def test_urgent_images_go_on_where_nothing_else_waits_and_owe_the_next_ordinary_one_its_place() -> None:
    lonely = batcher(portion=8)
    for number in range(100, 100 + 3 * FAIR_EVERY):
        lonely.add(number, now=0.0, urgent=True)
        assert lonely.take() == [number]
    lonely.add(1, now=1.0)
    lonely.add(200, now=1.0, urgent=True)
    assert lonely.take() == [200, 1]


def test_urgent_images_go_between_the_portions_of_a_batch() -> None:
    mixed = batcher(wait=50.0, portion=8)
    for number in range(40):
        mixed.add(number, now=0.0)
    assert mixed.take() == list(range(8))
    assert mixed.left == 24
    mixed.add(100, now=1.0, urgent=True)
    assert mixed.take() == [100]
    assert [mixed.take() for _ in range(3)] == [list(range(8, 16)), list(range(16, 24)), list(range(24, 32))]
    assert mixed.left == 0
    assert mixed.seconds_left(1.0, LIMIT) == 49.0


def test_the_rest_of_a_batch_waits_for_nobody() -> None:
    begun = batcher(wait=50.0, portion=8)
    for number in range(32):
        begun.add(number, now=0.0)
    begun.take()
    assert begun.seconds_left(0.0, LIMIT) == 0.0


def test_a_limit_below_the_portion_holds() -> None:
    small = batcher(portion=8)
    small.limit = 2
    for number in range(3):
        small.add(number, now=0.0)
    assert [small.take(), small.take()] == [[0, 1], [2]]


def test_what_is_left_behind_keeps_its_age() -> None:
    waiting = batcher(wait=50.0)
    for number in range(33):
        waiting.add(number, now=float(number))
    assert waiting.take() == list(range(32))
    assert waiting.seconds_left(33.0, FEW) == 49.0


def test_a_limit_that_shrinks_holds_at_once() -> None:
    shrinking = batcher(wait=50.0)
    for number in range(20):
        shrinking.add(number, now=0.0)
    assert shrinking.seconds_left(0.0, FEW) == 50.0
    shrinking.limit = 8
    assert shrinking.seconds_left(0.0, FEW) == 0.0
    assert shrinking.room == 0
    assert [len(shrinking.take()) for _ in range(3)] == [8, 8, 4]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3)), max_size=120), st.sampled_from([0, 1, 8]))
def test_every_item_comes_out_exactly_once_and_none_waits_past_its_time(
    arrivals: list[tuple[bool, float]], portion: int
) -> None:
    held = batcher(wait=2.0, portion=portion)
    arrived: dict[int, float] = {}
    urgent: set[int] = set()
    out: list[int] = []
    now = 0.0

    def take_what_is_due() -> None:
        while held.seconds_left(now, FEW) == 0.0:
            batch = held.take()
            assert batch
            out.extend(batch)

    for number, (is_urgent, later) in enumerate(arrivals):
        due = held.seconds_left(now, FEW)
        # Time does not pass a batch that is due without its being taken, as in the stage.
        if due is not None and later >= due:
            now += due
            take_what_is_due()
            now += later - due
        else:
            now += later
        take_what_is_due()
        held.add(number, now, urgent=is_urgent)
        arrived[number] = now
        urgent |= {number} if is_urgent else set()
        take_what_is_due()
    now += 2.0
    take_what_is_due()
    assert sorted(out) == list(range(len(arrivals)))
    for kind in (urgent, set(arrived) - urgent):
        same = [number for number in out if number in kind]
        assert same == sorted(same)
