"""Outcomes whose jobs somebody had locked when they were written: kept, tried again, and told once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Thread
from uuid import uuid4

import pytest

from daemon.clock import SystemClock
from daemon.events import Event, Locked, Overtaken, Settled, Worked
from daemon.pipeline.again import LONGEST_PAUSE, Again
from daemon.pipeline.channel import Channel
from daemon.pipeline.inflight import Inflight
from daemon.pipeline.store import StoreStage
from daemon.policy import RetryPolicy
from daemon.records import Claim, ImageId, Outcome, Released, Result
from tests.clock import HandClock
from tests.stages import FakeWritten

DEADLINE = 60.0


@dataclass
class LockedWriter:
    """Finds each image's job locked so many times before it is written, and then overtaken where that is said."""

    locks: dict[ImageId, int]
    overtaken: frozenset[ImageId] = frozenset()
    tries: list[list[ImageId]] = field(default_factory=list)
    written: list[ImageId] = field(default_factory=list)

    def write(self, outcomes: Sequence[Outcome]) -> FakeWritten:
        images = [outcome.claim.image_id for outcome in outcomes]
        self.tries.append(images)
        locked = [outcome.claim for outcome in outcomes if self.locks.get(outcome.claim.image_id, 0) > 0]
        for claim in locked:
            self.locks[claim.image_id] -= 1
        free = [outcome.claim for outcome in outcomes if outcome.claim not in locked]
        self.written += [claim.image_id for claim in free if claim.image_id not in self.overtaken]
        return FakeWritten(overtaken=[claim for claim in free if claim.image_id in self.overtaken], locked=locked)


class Store:
    """A store stage on `writer`, and all that it tells."""

    def __init__(self, writer: LockedWriter, claims: Sequence[Claim], limit: int = 10) -> None:
        self.inflight = Inflight(limit)
        self.inflight.add(claims)
        self.results: Channel[Result] = Channel()
        for claim in claims:
            self.results.put(Released(claim=claim))
        self.told: list[tuple[ImageId, bool]] = []
        self.events: list[Event] = []
        self.stage = StoreStage(
            writer,
            self.inflight,
            self.results,
            RetryPolicy(),
            lambda: None,
            lambda outcome, took_effect: self.told.append((outcome.claim.image_id, took_effect)),
            clock=SystemClock(),
            emit=self.events.append,
        )

    def run(self) -> None:
        self.results.close()
        self.stage.run()

    def settled(self) -> list[ImageId]:
        return [event.outcome.claim.image_id for event in self.events if isinstance(event, Settled)]


def make_claim(number: int) -> Claim:
    return Claim(image_id=number, revision=1, token=uuid4(), location="")


def make_outcome(number: int) -> Outcome:
    return Released(claim=make_claim(number))


def test_what_was_locked_is_written_again_and_told_once() -> None:
    writer = LockedWriter({2: 2})
    store = Store(writer, [make_claim(1), make_claim(2)])
    store.run()
    assert writer.tries == [[1, 2], [2], [2]]
    assert writer.written == store.settled() == [1, 2]
    assert store.told == [(1, True), (2, True)]
    assert [event for event in store.events if isinstance(event, Locked)] == [Locked(count=1)]
    assert [event.items for event in store.events if isinstance(event, Worked)] == [1, 0, 1]
    assert store.inflight.claims() == []


def test_what_is_overtaken_by_the_second_try_is_told_as_that() -> None:
    store = Store(LockedWriter({2: 1}, frozenset([2])), [make_claim(1), make_claim(2)])
    store.run()
    assert store.told == [(1, True), (2, False)]
    assert [event for event in store.events if isinstance(event, Overtaken)] == [Overtaken(count=1)]


def test_it_is_renewed_meanwhile_and_takes_up_no_room() -> None:
    claims = [make_claim(1), make_claim(2)]
    inflight = Inflight(2)
    inflight.add(claims)
    assert inflight.park(claims[:1]) == 1
    assert inflight.park(claims[:1]) == 0
    assert (len(inflight), inflight.room) == (1, 1)
    assert {claim.image_id for claim in inflight.claims()} == {1, 2}
    inflight.remove(claims)
    assert inflight.claims() == []


def test_the_work_goes_on_around_a_lock_that_does_not_end() -> None:
    writer = LockedWriter({1: 10**6})
    store = Store(writer, [make_claim(1)], limit=1)
    thread = Thread(target=store.stage.run)
    thread.start()
    for number in range(2, 6):
        store.inflight.add([claim := make_claim(number)])
        store.results.put(Released(claim=claim))
    while len(store.settled()) < 4:
        thread.join(0.01)
        assert thread.is_alive()
    store.stage.give_up()
    store.results.close()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert [claim.image_id for claim in store.inflight.claims()] == [1]


def test_no_more_are_kept_than_may_be_in_flight() -> None:
    """What is beyond is left to its lease, and whoever waits for it hears so."""
    store = Store(LockedWriter({1: 1, 2: 1, 3: 1}), [make_claim(number) for number in (1, 2, 3)], limit=2)
    store.run()
    assert sorted(store.settled(), key=str) == [1, 2]
    assert (3, False) in store.told
    assert store.inflight.claims() == []


def test_a_stop_does_not_wait_for_a_lock_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.pipeline.store.LAST_TRIES_SECONDS", 0.5)
    writer = LockedWriter({1: 10**6})
    store = Store(writer, [make_claim(1)])
    store.run()
    assert len(writer.tries) > 1
    assert len(store.inflight.claims()) == 1


def test_the_pause_grows_while_something_is_locked_and_begins_anew() -> None:
    clock = HandClock()
    again = Again(10, clock)
    assert again.wait is None
    pauses: list[float | None] = []
    again.put([make_outcome(1)])
    for _ in range(5):
        pauses.append(again.wait)
        assert again.take([]) == []
        clock.now += again.wait or 0.0
        again.put(again.take([]))
    assert pauses == pytest.approx([0.2, 0.4, 0.8, LONGEST_PAUSE, LONGEST_PAUSE])
    clock.now += again.wait or 0.0
    assert len(again.take([])) == 1
    again.put([])
    again.put([make_outcome(2)])
    assert again.wait == pytest.approx(0.2)


def test_two_outcomes_of_one_image_are_not_written_together() -> None:
    clock = HandClock()
    again = Again(10, clock)
    again.put([make_outcome(1), make_outcome(2)])
    clock.now += 1.0
    assert [outcome.claim.image_id for outcome in again.take([make_outcome(1)])] == [2]
    again.put([])
    clock.now += 1.0
    assert [outcome.claim.image_id for outcome in again.take([])] == [1]


def test_what_is_written_meanwhile_does_not_put_the_next_try_off() -> None:
    clock = HandClock()
    again = Again(10, clock)
    again.put([make_outcome(1)])
    clock.now += 0.15
    again.put([make_outcome(2)])
    assert again.wait == pytest.approx(0.05)


def test_over_several_writes_too_no_more_are_kept_than_there_is_room_for() -> None:
    again = Again(3, HandClock())
    assert [claim.image_id for claim in again.put([make_outcome(1), make_outcome(2)])] == [1, 2]
    assert [claim.image_id for claim in again.put([make_outcome(3), make_outcome(4)])] == [3]
    assert again.put([make_outcome(5)]) == []
    assert len(again) == 3
