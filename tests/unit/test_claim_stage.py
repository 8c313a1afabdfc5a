"""claim: how much is taken, and when it looks again."""

from threading import Condition

import pytest

from daemon.clock import Clock, SystemClock
from daemon.errors import DatabaseUnavailableError
from daemon.events import Hindered, Worked
from daemon.pipeline.claim import SOON, ClaimStage
from daemon.pipeline.inflight import Inflight
from daemon.policy import Pause
from daemon.records import (
    Claim,
)
from tests.clock import HandClock
from tests.stages import (
    DEADLINE,
    FakeQueue,
    Heard,
    make_claim,
    running,
)


class Submitted:
    """Where claims go, and lets a test wait for a number of them."""

    def __init__(self, free: int = 1000) -> None:
        self.claims: list[Claim] = []
        self.places = free
        self._changed = Condition()

    def free(self) -> int:
        return self.places

    def submit(self, claim: Claim) -> None:
        with self._changed:
            self.claims.append(claim)
            self._changed.notify_all()

    def wait(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.claims) >= count, DEADLINE), len(self.claims)


POLL = 60 * DEADLINE
"""No test waits for a stage to look by itself."""


def claim_stage(
    queue: FakeQueue,
    inflight: Inflight,
    submit: Submitted,
    heard: Heard,
    poll: float = POLL,
    clock: Clock | None = None,
) -> ClaimStage:
    return ClaimStage(queue, inflight, submit, poll_seconds=poll, clock=clock or SystemClock(), emit=heard)


def test_claims_no_more_than_there_is_room_for_and_goes_on_when_there_is() -> None:
    queue, inflight, submitted = FakeQueue([make_claim(n) for n in range(10)]), Inflight(4), Submitted()
    stage = claim_stage(queue, inflight, submitted, Heard())
    with running(stage.run, stage.stop):
        submitted.wait(4)
        assert len(inflight) == 4
        inflight.remove(submitted.claims[:4])
        stage.room_changed()
        submitted.wait(8)
        inflight.remove(submitted.claims)
        stage.room_changed()
        submitted.wait(10)
    assert [claim.image_id for claim in submitted.claims] == list(range(10))
    assert max(queue.asked) == 4


def test_nothing_is_claimed_while_no_loader_can_take_it() -> None:
    queue, submitted = FakeQueue([make_claim(1)]), Submitted(free=0)
    stage = claim_stage(queue, Inflight(4), submitted, Heard(), poll=0.01)
    with running(stage.run, stage.stop):
        assert queue.asked == []
        submitted.places = 1
        # Nobody tells the stage that loaders live again: it looks by itself.
        submitted.wait(1)
    assert queue.asked[0] == 1


def test_a_wake_makes_it_look_at_once() -> None:
    queue, submitted, heard = FakeQueue(), Submitted(), Heard()
    stage = claim_stage(queue, Inflight(4), submitted, heard)
    with running(stage.run, stage.stop):
        heard.wait(lambda events: len(events) == 1)
        queue.due.append(make_claim(1))
        stage.wake()
        submitted.wait(1)


def test_it_looks_again_when_the_next_job_comes_due_without_being_woken() -> None:
    queue, submitted, heard = FakeQueue(next_due=0.02), Submitted(), Heard()
    stage = claim_stage(queue, Inflight(4), submitted, heard)
    with running(stage.run, stage.stop):
        heard.wait(lambda events: len(events) >= 3)


def test_little_room_is_used_when_the_last_claim_was_a_while_ago() -> None:
    """A quarter is four here, and three images never end: what comes next must not wait for a fourth to do so."""
    queue, inflight, submitted = FakeQueue([make_claim(n) for n in range(16)]), Inflight(16), Submitted()
    stage = claim_stage(queue, inflight, submitted, Heard())
    with running(stage.run, stage.stop):
        submitted.wait(16)
        queue.due.append(make_claim(100))
        inflight.remove(submitted.claims[:1])
        stage.room_changed()
        submitted.wait(17)
    assert submitted.claims[-1].image_id == 100


def test_room_for_others_is_no_reason_to_ask_a_queue_that_ran_dry() -> None:
    queue, inflight, submitted = FakeQueue([make_claim(1)]), Inflight(4), Submitted()
    stage = claim_stage(queue, inflight, submitted, Heard())
    assert stage._wait()
    stage._claim()
    assert queue.asked == [4]
    inflight.remove(submitted.claims)
    stage.room_changed()
    assert stage._seconds_left(SystemClock().monotonic()) > DEADLINE


def test_nothing_is_claimed_while_another_model_counts_and_all_of_it_afterwards() -> None:
    queue, submitted = FakeQueue([make_claim(1)]), Submitted()
    stage = claim_stage(queue, Inflight(4), submitted, Heard())
    stage.suspend(suspended=True)
    stage.wake()
    assert stage._seconds_left(SystemClock().monotonic()) > DEADLINE
    with running(stage.run, stage.stop):
        assert queue.asked == []
        stage.suspend(suspended=False)
        submitted.wait(1)


def test_how_often_it_looks_may_change_while_it_waits() -> None:
    queue, submitted, heard = FakeQueue(), Submitted(), Heard()
    stage = claim_stage(queue, Inflight(4), submitted, heard)
    with running(stage.run, stage.stop):
        heard.wait(lambda events: len(events) == 1)
        stage.poll_every(0.01)
        heard.wait(lambda events: len(events) >= 4)


def test_a_database_that_is_away_makes_it_pause_and_try_again() -> None:
    gone = DatabaseUnavailableError("away")
    queue, submitted, heard = FakeQueue([make_claim(1)], errors=[gone]), Submitted(), Heard()
    stage = claim_stage(queue, Inflight(4), submitted, heard)
    with running(stage.run, stage.stop):
        submitted.wait(1)
    assert heard.of(Hindered) == [Hindered(stage="claim", error=gone, pause=Pause.SHORTEST)]


def test_after_a_fault_it_looks_by_itself_and_the_next_fault_pauses_as_shortly() -> None:
    gone = DatabaseUnavailableError("away")
    queue, submitted, heard = FakeQueue(), Submitted(), Heard()
    stage = claim_stage(queue, Inflight(4), submitted, heard)
    with running(stage.run, stage.stop):
        heard.wait(lambda events: len(events) == 1)
        for number in (1, 2):
            queue.errors.append(gone)
            queue.due.append(make_claim(number))
            stage.wake()
            submitted.wait(number)
    assert heard.of(Hindered) == [Hindered(stage="claim", error=gone, pause=Pause.SHORTEST)] * 2


def test_a_wake_during_a_fault_does_not_shorten_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pause, "SHORTEST", POLL)
    queue, heard = FakeQueue(errors=[DatabaseUnavailableError("away")]), Heard()
    stage = claim_stage(queue, Inflight(4), Submitted(), heard)
    with running(stage.run, stage.stop) as thread:
        heard.wait(lambda events: len(events) == 1)
        stage.wake()
        thread.join(0.05)
    assert queue.asked == [4]


def test_a_full_claim_is_followed_by_one_for_a_quarter_of_the_room_or_for_less_a_little_later() -> None:
    clock, inflight, submitted = HandClock(100.0), Inflight(16), Submitted()
    stage = claim_stage(FakeQueue([make_claim(n) for n in range(32)]), inflight, submitted, Heard(), clock=clock)
    assert stage._wait()
    stage._claim()
    assert stage._seconds_left(clock.now) == POLL
    inflight.remove(submitted.claims[:3])
    assert stage._seconds_left(clock.now) == SOON
    assert stage._seconds_left(clock.now + 1.0) == 0.0
    inflight.remove(submitted.claims[3:4])
    assert stage._seconds_left(clock.now) == 0.0


def test_a_queue_that_ran_dry_is_asked_again_when_a_job_is_due_if_there_is_room_then() -> None:
    clock, submitted, heard = HandClock(100.0), Submitted(), Heard()
    stage = claim_stage(FakeQueue(next_due=7.0), Inflight(16), submitted, heard, clock=clock)
    assert stage._wait()
    stage._claim()
    assert stage._seconds_left(104.0) == 3.0
    assert stage._seconds_left(107.0) == 0.0
    submitted.places = 0
    assert stage._seconds_left(108.0) == POLL
    assert heard.of(Worked) == [Worked(stage="claim", items=0, seconds=0.0)]


def test_more_is_asked_for_after_a_full_claim_though_the_queue_had_run_dry_before() -> None:
    clock, queue, submitted = HandClock(100.0), FakeQueue(), Submitted()
    stage = claim_stage(queue, Inflight(16), submitted, Heard(), clock=clock)
    assert stage._wait()
    stage._claim()
    queue.due = [make_claim(n) for n in range(32)]
    stage.wake()
    assert stage._wait()
    stage._claim()
    stage._inflight.remove(submitted.claims)
    assert stage._seconds_left(clock.now) == 0.0
