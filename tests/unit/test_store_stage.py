"""store: what is decided and written of each result, and what while the database is away."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from daemon.clock import Clock, SystemClock
from daemon.errors import DatabaseUnavailableError, Reason
from daemon.events import Hindered, Overtaken, Settled, Worked
from daemon.pipeline.channel import Channel
from daemon.pipeline.inflight import Inflight
from daemon.pipeline.store import MOST_AT_ONCE, StoreStage
from daemon.policy import Pause, RetryPolicy
from daemon.records import (
    Claim,
    Dead,
    Embedded,
    Failure,
    Outcome,
    Released,
    Result,
    Retry,
    Stored,
)
from tests.clock import HandClock
from tests.stages import (
    FakeWriter,
    FakeWritten,
    Heard,
    make_claim,
    running,
)


def store_all(
    writer: FakeWriter,
    results: Sequence[Result],
    inflight: Inflight,
    heard: Heard,
    *,
    room_changed: Callable[[], None] = lambda: None,
    clock: Clock | None = None,
) -> StoreStage:
    channel: Channel[Result] = Channel()
    inflight.add(result.claim for result in results)
    for result in results:
        channel.put(result)
    channel.close()
    policy = RetryPolicy(max_attempts=3, base_seconds=5)
    stage = StoreStage(
        writer, inflight, channel, policy, room_changed, lambda *_: None, clock=clock or SystemClock(), emit=heard
    )
    stage.run()
    return stage


def test_store_decides_and_writes_each_result_and_empties_the_flight() -> None:
    vector = np.ones(2, np.float32)
    made = datetime.now(UTC) - timedelta(seconds=3)
    results: list[Result] = [
        Embedded(claim=make_claim(1, enqueued_at=made), vector=vector),
        Failure(claim=make_claim(2), stage="load", reason=Reason.NOT_FOUND, detail="404"),
        Failure(claim=make_claim(3), stage="load", reason=Reason.READ_TIMEOUT),
        Failure(claim=make_claim(4, attempt=3), stage="load", reason=Reason.READ_TIMEOUT),
        Released(claim=make_claim(5)),
    ]
    writer, inflight, heard = FakeWriter(), Inflight(10), Heard()
    store_all(writer, results, inflight, heard)
    assert [type(outcome) for outcome in writer.written] == [Stored, Dead, Retry, Dead, Released]
    assert len(inflight) == 0
    ages = [event.seconds for event in heard.events if isinstance(event, Settled)]
    assert ages[0] == pytest.approx(3, abs=1)
    assert ages[1:] == [None] * 4


def test_store_keeps_what_it_has_while_the_database_is_away() -> None:
    writer, heard = FakeWriter(DatabaseUnavailableError("away"), DatabaseUnavailableError("away")), Heard()
    store_all(writer, [Embedded(claim=make_claim(1), vector=np.ones(2, np.float32))], Inflight(1), heard)
    assert len(writer.written) == 1
    assert [event.pause for event in heard.events if isinstance(event, Hindered)] == [0.2, 0.4]


def test_a_fault_after_a_write_pauses_as_shortly_as_the_first() -> None:
    class Flickering(FakeWriter):
        def write(self, outcomes: Sequence[Outcome]) -> FakeWritten:
            if len(heard.of(Hindered)) <= len(self.written) // MOST_AT_ONCE:
                raise DatabaseUnavailableError("away")
            return super().write(outcomes)

    heard = Heard()
    results: list[Result] = [Released(claim=make_claim(number)) for number in range(2 * MOST_AT_ONCE)]
    store_all(Flickering(), results, Inflight(len(results)), heard)
    assert [event.pause for event in heard.events if isinstance(event, Hindered)] == [Pause.SHORTEST] * 2


def test_room_is_told_of_once_the_claims_are_out_of_flight_and_the_write_is_over() -> None:
    clock, inflight, heard = HandClock(100.0), Inflight(5), Heard()
    held: list[int] = []

    class Slow(FakeWriter):
        def write(self, outcomes: Sequence[Outcome]) -> FakeWritten:
            held.append(len(inflight))
            clock.now += 2.0
            return super().write(outcomes)

    results: list[Result] = [Released(claim=make_claim(number)) for number in range(3)]
    store_all(Slow(), results, inflight, heard, room_changed=lambda: held.append(len(inflight)), clock=clock)
    assert held == [3, 0]
    assert heard.of(Worked) == [Worked(stage="store", items=3, seconds=2.0)]


def test_what_is_being_written_is_in_progress_and_nothing_afterwards() -> None:
    seen: list[int] = []

    class Looking(FakeWriter):
        def write(self, outcomes: Sequence[Outcome]) -> FakeWritten:
            seen.append(stage.in_progress)
            return super().write(outcomes)

    channel: Channel[Result] = Channel()
    channel.put(Released(claim=make_claim(1)))
    channel.put(Released(claim=make_claim(2)))
    channel.close()
    stage = StoreStage(
        Looking(), Inflight(2), channel, RetryPolicy(), lambda: None, lambda *_: None, clock=SystemClock(), emit=Heard()
    )
    assert stage.in_progress == 0
    stage.run()
    assert (seen, stage.in_progress) == ([2], 0)


def test_no_age_is_negative_though_the_servers_clock_is_ahead() -> None:
    heard = Heard()
    ahead = make_claim(1, enqueued_at=datetime.now(UTC) + timedelta(hours=1))
    store_all(FakeWriter(), [Released(claim=ahead)], Inflight(1), heard)
    assert [event.seconds for event in heard.events if isinstance(event, Settled)] == [0.0]


def test_an_overtaken_claim_is_counted_and_not_told_as_stored() -> None:
    first, second = make_claim(1), make_claim(2)
    heard = Heard()
    results = [Embedded(claim=claim, vector=np.ones(2, np.float32)) for claim in (first, second)]
    store_all(FakeWriter(overtaken=[1]), results, Inflight(5), heard)
    assert [event.outcome.claim for event in heard.events if isinstance(event, Settled)] == [second]
    assert heard.of(Overtaken) == [Overtaken(count=1)]


def test_of_two_claims_of_an_image_only_the_overtaken_one_is_lost() -> None:
    stale, fresh = make_claim(1), make_claim(1)

    class Fenced(FakeWriter):
        def write(self, outcomes: Sequence[Outcome]) -> FakeWritten:
            return FakeWritten(overtaken=[stale])

    heard = Heard()
    results = [Embedded(claim=claim, vector=np.ones(2, np.float32)) for claim in (stale, fresh)]
    store_all(Fenced(), results, Inflight(5), heard)
    assert [event.outcome.claim for event in heard.events if isinstance(event, Settled)] == [fresh]
    assert heard.of(Overtaken) == [Overtaken(count=1)]


def test_a_vector_that_the_table_refuses_is_told_as_a_death_and_not_as_stored() -> None:
    first = make_claim(1)
    second = Claim(image_id=2, revision=1, token=first.token, location="")  # Claimed together, they share a token.
    heard = Heard()
    results = [Embedded(claim=claim, vector=np.ones(2, np.float32)) for claim in (first, second)]
    dead = Dead(claim=second, stage="store", reason=Reason.VECTOR_REFUSED, detail="")
    store_all(FakeWriter(refused=[dead]), results, Inflight(5), heard)
    outcomes = [event.outcome for event in heard.events if isinstance(event, Settled)]
    assert [type(outcome) for outcome in outcomes] == [Stored, Dead]
    assert outcomes[1] == dead
    assert heard.of(Overtaken) == []


def test_a_store_that_gives_up_ends_though_the_database_is_away() -> None:
    channel: Channel[Result] = Channel()
    channel.put(Released(claim=make_claim(1)))
    writer = FakeWriter(*[DatabaseUnavailableError("away")] * 1000)
    stage = StoreStage(
        writer, Inflight(1), channel, RetryPolicy(), lambda: None, lambda *_: None, clock=SystemClock(), emit=Heard()
    )

    def stop() -> None:
        channel.close()
        stage.give_up()

    with running(stage.run, stop):
        pass
    assert writer.written == []
