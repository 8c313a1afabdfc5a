"""batch: size or age, urgent first; with a made-up clock."""

from hypothesis import given
from hypothesis import strategies as st

from daemon.pipeline.batch import Batcher

LIMIT = 32


def batcher(wait: float = 5.0) -> Batcher[int]:
    return Batcher(limit=LIMIT, wait_seconds=wait)


def test_nothing_waits_at_first() -> None:
    assert batcher().seconds_left(0.0) is None
    assert batcher().take() == []


def test_a_lone_image_waits_as_long_as_it_may_and_no_longer() -> None:
    one = batcher(wait=5.0)
    one.add(7, now=100.0)
    assert one.seconds_left(101.0) == 4.0
    assert one.seconds_left(105.0) == 0.0
    assert one.seconds_left(200.0) == 0.0
    assert one.take() == [7]


def test_a_full_batch_waits_for_nobody() -> None:
    full = batcher(wait=5.0)
    for number in range(32):
        full.add(number, now=0.0)
    assert full.seconds_left(0.0) == 0.0
    assert full.room == 0
    assert full.take() == list(range(32))


def test_urgent_images_go_first_and_keep_their_order() -> None:
    mixed = batcher()
    for number in range(32):
        mixed.add(number, now=0.0)
    mixed.add(100, now=1.0, urgent=True)
    mixed.add(101, now=1.0, urgent=True)
    assert mixed.take() == [100, 101, *range(30)]
    assert mixed.take() == [30, 31]


def test_what_is_left_behind_keeps_its_age() -> None:
    waiting = batcher(wait=50.0)
    for number in range(33):
        waiting.add(number, now=float(number))
    assert waiting.take() == list(range(32))
    assert waiting.seconds_left(33.0) == 49.0


def test_a_limit_that_shrinks_holds_at_once() -> None:
    shrinking = batcher(wait=50.0)
    for number in range(20):
        shrinking.add(number, now=0.0)
    assert shrinking.seconds_left(0.0) == 50.0
    shrinking.limit = 8
    assert shrinking.seconds_left(0.0) == 0.0
    assert shrinking.room == 0
    assert [len(shrinking.take()) for _ in range(3)] == [8, 8, 4]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3)), max_size=120))
def test_every_item_comes_out_exactly_once_and_none_waits_past_its_time(arrivals: list[tuple[bool, float]]) -> None:
    held = batcher(wait=2.0)
    arrived: dict[int, float] = {}
    urgent: set[int] = set()
    out: list[int] = []
    now = 0.0

    def take_what_is_due() -> None:
        while held.seconds_left(now) == 0.0:
            batch = held.take()
            assert batch
            out.extend(batch)

    for number, (is_urgent, later) in enumerate(arrivals):
        due = held.seconds_left(now)
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
