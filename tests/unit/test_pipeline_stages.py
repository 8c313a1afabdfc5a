"""claim, embed, store, heartbeat and runner, each with the parts around it played by a few lines."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Condition, Event, Thread
from time import monotonic
from uuid import uuid4

import numpy as np
import pytest

from daemon.clock import SystemClock
from daemon.errors import DatabaseUnavailableError, EngineError, EngineMemoryError, NotServingError, Reason
from daemon.events import Event as Happening
from daemon.events import Hindered, Overtaken, Settled, Worked
from daemon.pipeline.batch import Batcher
from daemon.pipeline.callers import Answers, Callers
from daemon.pipeline.channel import Channel
from daemon.pipeline.claim import ClaimStage
from daemon.pipeline.embed import EmbedStage
from daemon.pipeline.heartbeat import Heartbeat
from daemon.pipeline.inflight import Inflight
from daemon.pipeline.load import LoadStage
from daemon.pipeline.runner import Runner, Stages
from daemon.pipeline.store import StoreStage
from daemon.policy import Pause, RetryPolicy
from daemon.records import (
    Claim,
    Dead,
    Embedded,
    Failure,
    ImageId,
    Loaded,
    Outcome,
    Pixels,
    Released,
    Result,
    Retry,
    Stored,
    Vectors,
)

DEADLINE = 60.0


def make_claim(number: int = 1, **changes: object) -> Claim:
    return Claim(image_id=number, revision=1, token=uuid4(), location=f"http://x/{number}", **changes)  # type: ignore[arg-type]


def make_loaded(number: int) -> Loaded:
    return Loaded(claim=make_claim(number), pixels=np.full((2, 2, 3), number, np.uint8), slot=number)


class Heard:
    """Collects what is emitted, and lets a test wait for it."""

    def __init__(self) -> None:
        self.events: list[Happening] = []
        self._changed = Condition()

    def __call__(self, event: Happening) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait(self, enough: Callable[[list[Happening]], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self.events), DEADLINE), self.events

    def of(self, kind: type[Happening]) -> list[Happening]:
        return [event for event in self.events if isinstance(event, kind)]


@contextmanager
def running(target: Callable[[], None], stop: Callable[[], None]) -> Iterator[Thread]:
    thread = Thread(target=target, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop()
        thread.join(DEADLINE)
        assert not thread.is_alive()


@dataclass
class FakeQueue:
    """Jobs that are due, and when more will be."""

    due: list[Claim] = field(default_factory=list)
    next_due: float | None = None
    errors: list[Exception] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    def claim(self, limit: int) -> list[Claim]:
        self.asked.append(limit)
        if self.errors:
            raise self.errors.pop(0)
        taken, self.due = self.due[:limit], self.due[limit:]
        return taken

    def seconds_until_due(self) -> float | None:
        return self.next_due


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


def claim_stage(
    queue: FakeQueue, inflight: Inflight, submit: Submitted, heard: Heard, poll: float = 60 * DEADLINE
) -> ClaimStage:
    """One that no test waits for to look by itself."""
    return ClaimStage(queue, inflight, submit, poll_seconds=poll, clock=SystemClock(), emit=heard)


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


def test_a_database_that_is_away_makes_it_pause_and_try_again() -> None:
    gone = DatabaseUnavailableError("away")
    queue, submitted, heard = FakeQueue([make_claim(1)], errors=[gone]), Submitted(), Heard()
    stage = claim_stage(queue, Inflight(4), submitted, heard)
    with running(stage.run, stage.stop):
        submitted.wait(1)
    assert heard.of(Hindered) == [Hindered(stage="claim", error=gone, pause=Pause.SHORTEST)]


class FakeEngine:
    """The mean of each picture as a vector of two; or the errors it is given, first."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.sizes: list[int] = []
        self.batch_limit = 4

    def describe(self) -> "FakeEngine":
        return self

    def embed(self, pixels: Pixels) -> Vectors:
        self.sizes.append(len(pixels))
        if self.errors:
            raise self.errors.pop(0)
        means = pixels.mean(axis=(1, 2, 3)).astype(np.float32)
        return np.stack([means, np.where(means == 13, np.nan, means)], axis=1).astype(np.float32)


class Slots:
    """Loaders that have nothing more to bring, as far as embed sees them."""

    def __init__(self, released: list[int] | None = None) -> None:
        self._released = [] if released is None else released

    def in_hand(self) -> int:
        return 0

    def release(self, slot: int) -> None:
        self._released.append(slot)


def embed_all(engine: FakeEngine, items: Sequence[Loaded], heard: Heard) -> tuple[list[Result], list[int]]:
    loaded: Channel[Loaded] = Channel()
    results: Channel[Result] = Channel()
    released: list[int] = []
    batcher: Batcher[Loaded] = Batcher(limit=4, wait_seconds=0.0)
    stage = EmbedStage(engine, batcher, loaded, results, Slots(released), clock=SystemClock(), emit=heard)
    for item in items:
        loaded.put(item)
    loaded.close()
    stage.hurry()
    stage.run()
    return results.take(100, 0), released


def test_embed_gives_each_claim_its_own_vector_and_each_slot_back() -> None:
    engine, items = FakeEngine(), [make_loaded(n) for n in range(7)]
    results, released = embed_all(engine, items, Heard())
    assert [(r.claim, r.vector[0]) for r in results if isinstance(r, Embedded)] == [(i.claim, i.slot) for i in items]
    assert released == [item.slot for item in items]
    assert engine.sizes == [4, 3]


def test_a_batch_is_embedded_by_portions_and_passed_on_as_a_whole() -> None:
    engine, loaded, results, heard = FakeEngine(), Channel[Loaded](), Channel[Result](), Heard()
    batcher: Batcher[Loaded] = Batcher(limit=4, wait_seconds=0.0, portion=2)
    for number in range(4):
        loaded.put(make_loaded(number))
    loaded.close()
    EmbedStage(engine, batcher, loaded, results, Slots(), clock=SystemClock(), emit=heard).run()
    assert engine.sizes == [2, 2]
    assert [event.items for event in heard.events if isinstance(event, Worked)] == [4]
    assert len(results) == 4


def test_a_new_picture_among_those_of_a_backfill_is_passed_on_with_its_portion() -> None:
    loaded: Channel[Loaded] = Channel()
    results: Channel[Result] = Channel()
    batcher: Batcher[Loaded] = Batcher(limit=6, wait_seconds=0.0, portion=2)
    passed_on: list[int] = []

    class Watched(FakeEngine):
        def embed(self, pixels: Pixels) -> Vectors:
            passed_on.append(len(results))
            return super().embed(pixels)

    for number in range(5):
        loaded.put(replace(make_loaded(number), claim=make_claim(number, backfill=True)))
    loaded.put(make_loaded(9))
    loaded.close()
    EmbedStage(Watched(), batcher, loaded, results, Slots(), clock=SystemClock(), emit=Heard()).run()
    assert passed_on == [0, 2, 2]
    assert [result.claim.image_id for result in results.take(100, 0)] == [9, 0, 1, 2, 3, 4]


def test_urgent_pictures_go_between_the_portions_and_hold_up_no_result() -> None:
    loaded: Channel[Loaded] = Channel()
    results: Channel[Result] = Channel()
    batcher: Batcher[Loaded] = Batcher(limit=4, wait_seconds=0.0, portion=2)
    waiting: list[int] = []

    class Watched(FakeEngine):
        """Somebody comes to wait while the first portion is in the model."""

        def embed(self, pixels: Pixels) -> Vectors:
            waiting.append(len(results))
            if len(waiting) == 1:
                loaded.put(replace(make_loaded(9), claim=make_claim(9, request="r")))
                loaded.close()
            return super().embed(pixels)

    engine = Watched()
    stage = EmbedStage(engine, batcher, loaded, results, Slots(), clock=SystemClock(), emit=Heard())
    for number in range(4):
        loaded.put(make_loaded(number))
    stage.run()
    assert engine.sizes == [2, 1, 2]
    assert waiting == [0, 0, 3]
    assert [result.claim.image_id for result in results.take(100, 0)] == [9, 0, 1, 2, 3]


def test_what_was_made_does_not_wait_while_the_engine_has_a_pause() -> None:
    loaded: Channel[Loaded] = Channel()
    results: Channel[Result] = Channel()
    batcher: Batcher[Loaded] = Batcher(limit=6, wait_seconds=0.0, portion=2)
    passed_on: list[int] = []

    class Failing(FakeEngine):
        """Loses its device with the second portion."""

        def embed(self, pixels: Pixels) -> Vectors:
            self.errors = [EngineError("device lost")] if len(self.sizes) == 1 else []
            return super().embed(pixels)

    def emit(event: object) -> None:
        if isinstance(event, Hindered):
            passed_on.append(len(results))

    for number in range(6):
        loaded.put(make_loaded(number))
    loaded.close()
    stage = EmbedStage(Failing(), batcher, loaded, results, Slots(), clock=SystemClock(), emit=emit)
    stage.hurry()
    stage.run()
    assert passed_on == [4]
    assert [type(result) for result in results.take(100, 0)] == [Embedded] * 2 + [Failure] * 2 + [Embedded] * 2


def test_an_engine_that_ran_out_of_memory_is_given_smaller_batches() -> None:
    engine = FakeEngine()
    engine.batch_limit = 2
    embed_all(engine, [make_loaded(n) for n in range(8)], Heard())
    assert engine.sizes == [4, 2, 2]


def test_a_vector_that_is_not_finite_fails_alone() -> None:
    results, _ = embed_all(FakeEngine(), [make_loaded(n) for n in (12, 13, 14)], Heard())
    failures = [result for result in results if isinstance(result, Failure)]
    assert [(one.claim.image_id, one.reason) for one in failures] == [(13, Reason.VECTOR_NOT_FINITE)]
    assert len(results) == 3


def test_an_engine_that_fails_charges_nobody_and_is_tried_again() -> None:
    heard = Heard()
    results, released = embed_all(FakeEngine(EngineError("device lost")), [make_loaded(n) for n in range(5)], heard)
    failed = [result for result in results if isinstance(result, Failure)]
    assert {one.reason for one in failed} == {Reason.ENGINE_FAILED}
    assert len(failed) == 4
    assert sum(isinstance(result, Embedded) for result in results) == 1
    assert sorted(released) == list(range(5))
    assert len(heard.of(Hindered)) == 1


def test_an_engine_without_memory_for_one_image_ends_the_stage_with_nothing_lost() -> None:
    heard = Heard()
    with pytest.raises(EngineMemoryError):
        embed_all(FakeEngine(EngineMemoryError("full")), [make_loaded(1)], heard)


class Leaping:
    """A clock in which four minutes pass between two looks at it."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        self._now += 240.0
        return self._now


@pytest.mark.parametrize(("errors", "lost"), [(1, False), (2, True)])
def test_an_engine_that_makes_nothing_for_five_minutes_ends_the_stage(errors: int, *, lost: bool) -> None:
    loaded: Channel[Loaded] = Channel()
    results: Channel[Result] = Channel()
    batcher: Batcher[Loaded] = Batcher(limit=1, wait_seconds=0.0)
    engine = FakeEngine(*[EngineError("device lost")] * errors)
    stage = EmbedStage(engine, batcher, loaded, results, Slots(), clock=Leaping(), emit=Heard())
    for number in range(3):
        loaded.put(make_loaded(number))
    loaded.close()
    stage.hurry()
    with pytest.raises(EngineError) if lost else nullcontext():
        stage.run()
    failed = [result for result in results.take(100, 0) if isinstance(result, Failure)]
    assert len(failed) == errors
    assert {one.reason for one in failed} == {Reason.ENGINE_FAILED}


@dataclass
class FakeWritten:
    overtaken: Sequence[ImageId] = ()
    locked: Sequence[Claim] = ()
    refused: Sequence[Dead] = ()


class FakeWriter:
    """Remembers what was written; fails first with the errors it is given."""

    def __init__(self, *errors: Exception, overtaken: Sequence[ImageId] = (), refused: Sequence[Dead] = ()) -> None:
        self.errors = list(errors)
        self.overtaken = overtaken
        self.refused = refused
        self.written: list[Outcome] = []

    def write(self, outcomes: Sequence[Outcome]) -> FakeWritten:
        if self.errors:
            raise self.errors.pop(0)
        self.written.extend(outcomes)
        return FakeWritten(self.overtaken, refused=self.refused)


def store_all(writer: FakeWriter, results: Sequence[Result], inflight: Inflight, heard: Heard) -> StoreStage:
    channel: Channel[Result] = Channel()
    inflight.add(result.claim for result in results)
    for result in results:
        channel.put(result)
    channel.close()
    policy = RetryPolicy(max_attempts=3, base_seconds=5)
    stage = StoreStage(
        writer, inflight, channel, policy, lambda: None, lambda *_: None, clock=SystemClock(), emit=heard
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


def test_an_overtaken_claim_is_counted_and_not_told_as_stored() -> None:
    first, second = make_claim(1), make_claim(2)
    heard = Heard()
    results = [Embedded(claim=claim, vector=np.ones(2, np.float32)) for claim in (first, second)]
    store_all(FakeWriter(overtaken=[1]), results, Inflight(5), heard)
    assert [event.outcome.claim for event in heard.events if isinstance(event, Settled)] == [second]
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


def test_the_heartbeat_renews_what_is_in_flight_three_times_a_lease() -> None:
    renewed: list[list[Claim]] = []
    twice = Event()

    class Leases:
        def renew(self, claims: Sequence[Claim]) -> int:
            renewed.append(list(claims))
            if len(renewed) == 1:
                raise DatabaseUnavailableError("away")
            twice.set()
            return len(claims)

    inflight, heard, claim = Inflight(4), Heard(), make_claim(1)
    inflight.add([claim])
    beat = Heartbeat(Leases(), inflight, lease_seconds=0.03, emit=heard)
    with running(beat.run, beat.stop):
        assert twice.wait(DEADLINE)
    assert renewed[0] == [claim]
    assert len(heard.of(Hindered)) == 1


class FakeLoaders:
    """Loads at once whatever it is handed, until it is told to keep it. What is kept then is given up at the end: at
    once, or, when `stubborn`, as late as may be."""

    def free(self, *, urgent: bool = False) -> int:
        return self.places

    def __init__(self, load: LoadStage) -> None:
        self.load = load
        self.keep = False
        self.stubborn = False
        self.places = 1000
        self.kept: list[Claim] = []
        self.closed = False
        self.dead = False
        self.hurried = Event()

    def start(self) -> None:
        """Nothing to start."""

    def alive(self) -> bool:
        return not self.dead

    def withdraw(self, claim: Claim) -> None:
        if claim in self.kept:
            self.kept.remove(claim)
            self.load.deliver(Released(claim=claim))

    def submit(self, claim: Claim, *, data: bytes | None = None, thumbnail: bool = False) -> None:
        if self.keep:
            self.kept.append(claim)
        elif isinstance(claim.image_id, int) and claim.image_id % 5 == 4:
            self.load.deliver(Failure(claim=claim, stage="load", reason=Reason.NOT_FOUND))
        else:
            self.load.deliver(Loaded(claim=claim, pixels=np.zeros((2, 2, 3), np.uint8), slot=0))

    def drain(self, timeout: float) -> list[Claim]:
        if self.stubborn:
            self.hurried.wait(timeout)
        return self.kept

    def hurry(self) -> None:
        self.hurried.set()

    def close(self) -> None:
        self.closed = True


class Leases:
    def renew(self, claims: Sequence[Claim]) -> int:
        return len(claims)


@dataclass
class Pipeline:
    queue: FakeQueue
    writer: FakeWriter
    loaders: FakeLoaders
    runner: Runner
    heard: Heard
    failures: list[BaseException]
    inflight: Inflight
    callers: Callers


@pytest.fixture
def pipeline() -> Pipeline:
    heard, clock, inflight = Heard(), SystemClock(), Inflight(8)
    loaded: Channel[Loaded] = Channel()
    results: Channel[Result] = Channel()
    answers = Answers(results, heard)
    loaders = FakeLoaders(LoadStage(loaded, answers))
    queue, writer, engine, failures = FakeQueue(), FakeWriter(), FakeEngine(), list[BaseException]()
    claim = ClaimStage(queue, inflight, loaders, poll_seconds=0.02, clock=clock, emit=heard)
    batcher: Batcher[Loaded] = Batcher(limit=4, wait_seconds=0.001)
    stages = Stages(
        claim=claim,
        loaders=loaders,
        embed=EmbedStage(engine, batcher, loaded, answers, Slots(), clock=clock, emit=heard),
        store=StoreStage(
            writer, inflight, results, RetryPolicy(), claim.room_changed, answers.tell, clock=clock, emit=heard
        ),
        heartbeat=Heartbeat(Leases(), inflight, lease_seconds=60, emit=heard),
        inflight=inflight,
        loaded=loaded,
        results=results,
        callers=Callers(loaders, inflight, answers),
    )
    runner = Runner(stages, clock=clock, on_failure=failures.append)
    return Pipeline(queue, writer, loaders, runner, heard, failures, inflight, stages.callers)


def settled(count: int) -> Callable[[list[Happening]], bool]:
    return lambda events: sum(isinstance(event, Settled) for event in events) >= count


def test_the_whole_line_settles_every_claim_once(pipeline: Pipeline) -> None:
    pipeline.queue.due = [make_claim(n) for n in range(50)]
    pipeline.runner.start()
    pipeline.heard.wait(settled(50))
    assert pipeline.runner.alive()
    assert pipeline.runner.stop(DEADLINE)
    assert sorted(str(outcome.claim.image_id) for outcome in pipeline.writer.written) == sorted(map(str, range(50)))
    assert sum(isinstance(outcome, Dead) for outcome in pipeline.writer.written) == 10
    assert pipeline.loaders.closed
    assert pipeline.failures == []
    assert (
        sum(event.items for event in pipeline.heard.events if isinstance(event, Worked) and event.stage == "store")
        == 50
    )


def test_stopping_releases_what_the_loaders_could_not_finish(pipeline: Pipeline) -> None:
    pipeline.loaders.keep = True
    pipeline.queue.due = [make_claim(n) for n in range(3)]
    pipeline.runner.start()
    pipeline.heard.wait(lambda events: any(isinstance(e, Worked) and e.items == 3 for e in events))
    assert pipeline.runner.stop(DEADLINE)
    assert [type(outcome) for outcome in pipeline.writer.written] == [Released] * 3
    assert len(pipeline.inflight) == 0


def test_stopping_ends_in_time_though_the_database_is_away(pipeline: Pipeline) -> None:
    pipeline.writer.errors = [DatabaseUnavailableError("away")] * 10_000
    pipeline.queue.due = [make_claim(n) for n in range(3)]
    pipeline.runner.start()
    pipeline.heard.wait(lambda events: any(isinstance(e, Hindered) and e.stage == "store" for e in events))
    assert not pipeline.runner.stop(0.5)
    assert pipeline.writer.written == []


def test_a_defect_in_a_stage_is_heard_of(pipeline: Pipeline) -> None:
    pipeline.queue.errors = [ZeroDivisionError("a defect")]
    pipeline.runner.start()
    pipeline.runner._threads["claim"].join(DEADLINE)
    pipeline.runner.stop(DEADLINE)
    assert [type(error) for error in pipeline.failures] == [ZeroDivisionError]
    assert not pipeline.runner.alive()


def test_loaders_whose_thread_has_ended_are_noticed(pipeline: Pipeline) -> None:
    pipeline.runner.start()
    assert pipeline.runner.alive()
    pipeline.loaders.dead = True
    assert not pipeline.runner.alive()
    pipeline.runner.stop(DEADLINE)


def test_what_waited_for_a_model_that_broke_goes_back(pipeline: Pipeline) -> None:
    engine = pipeline.runner._stages.embed._engine
    assert isinstance(engine, FakeEngine)
    engine.errors = [ZeroDivisionError("a defect")]
    pipeline.queue.due = [make_claim(n) for n in range(30)]
    pipeline.runner.start()
    pipeline.runner._threads["embed"].join(DEADLINE)
    assert pipeline.runner.stop(DEADLINE)
    assert [type(error) for error in pipeline.failures] == [ZeroDivisionError]
    assert any(isinstance(outcome, Released) for outcome in pipeline.writer.written)
    assert len(pipeline.inflight) == 0


def test_a_caller_gets_a_vector_and_store_hears_nothing_of_it(pipeline: Pipeline) -> None:
    pipeline.runner.start()
    result = pipeline.callers.ask("request-1", data=b"picture").result.result(DEADLINE)
    assert isinstance(result, Embedded)
    assert result.claim.request == "request-1"
    assert pipeline.runner.stop(DEADLINE)
    assert pipeline.writer.written == []


def test_a_caller_gets_the_reason_of_a_failure(pipeline: Pipeline) -> None:
    pipeline.loaders.keep = True
    asked = pipeline.callers.ask("r", location="http://x/1")
    failure = Failure(claim=asked.claim, stage="load", reason=Reason.NOT_FOUND)
    pipeline.loaders.load.deliver(failure)
    assert asked.result.result(DEADLINE) is failure


def test_who_asks_for_an_image_hears_what_was_written(pipeline: Pipeline) -> None:
    good, bad = make_claim(1, request="r"), make_claim(4, request="r")
    pipeline.runner.start()
    told = [pipeline.callers.work_on(claim) for claim in (good, bad)]
    assert isinstance(told[0].result(DEADLINE).outcome, Stored)
    assert isinstance(told[1].result(DEADLINE).outcome, Dead)
    assert all(one.result().took_effect for one in told)
    assert pipeline.runner.stop(DEADLINE)
    assert len(pipeline.inflight) == 0


def test_who_asks_for_an_image_hears_when_it_was_overtaken(pipeline: Pipeline) -> None:
    pipeline.writer.overtaken = [1]
    pipeline.runner.start()
    assert not pipeline.callers.work_on(make_claim(1, request="r")).result(DEADLINE).took_effect
    pipeline.runner.stop(DEADLINE)


def test_who_withdraws_is_told_that_nothing_comes(pipeline: Pipeline) -> None:
    pipeline.loaders.keep = True
    asked = pipeline.callers.ask("r", location="http://x/1")
    pipeline.callers.withdraw(asked)
    assert isinstance(asked.result.result(DEADLINE), Released)


def test_the_end_leaves_nobody_waiting(pipeline: Pipeline) -> None:
    pipeline.loaders.keep = True
    pipeline.runner.start()
    asked, told = pipeline.callers.ask("r"), pipeline.callers.work_on(make_claim(1, request="r"))
    assert pipeline.runner.stop(DEADLINE)
    assert isinstance(asked.result.result(DEADLINE), Released)
    assert isinstance(told.result(DEADLINE).outcome, Released)
    with pytest.raises(NotServingError, match="stopping"):
        pipeline.callers.ask("r")


def test_the_end_leaves_nobody_waiting_though_the_database_is_away(pipeline: Pipeline) -> None:
    pipeline.writer.errors = [DatabaseUnavailableError("away")] * 10_000
    pipeline.runner.start()
    told = pipeline.callers.work_on(make_claim(1, request="r"))
    pipeline.heard.wait(lambda events: any(isinstance(e, Hindered) and e.stage == "store" for e in events))
    pipeline.runner.stop(0.2)
    assert not told.result(DEADLINE).took_effect


def test_nothing_is_taken_while_no_loader_starts(pipeline: Pipeline) -> None:
    pipeline.loaders.places = 0
    with pytest.raises(NotServingError, match="no loader"):
        pipeline.callers.ask("r")
    with pytest.raises(NotServingError, match="no loader"):
        pipeline.callers.work_on(make_claim(1, request="r"))


def test_renewing_and_writing_take_turns() -> None:
    """Each passes over the rows that the other has locked, and an outcome passed over would have to wait."""
    inflight, writing, waiting, done = Inflight(5), Event(), Event(), Event()
    renewed: list[bool] = []
    lock = inflight.settling

    class Watched:
        def __enter__(self) -> None:
            if not lock.acquire(blocking=False):
                waiting.set()
                lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()

    inflight.settling = Watched()  # type: ignore[assignment]

    class SlowWriter(FakeWriter):
        def write(self, outcomes: Sequence[Outcome]) -> FakeWritten:
            writing.set()
            done.wait(DEADLINE)
            return super().write(outcomes)

    class SeenLeases(Leases):
        def renew(self, claims: Sequence[Claim]) -> int:
            renewed.append(done.is_set())
            return super().renew(claims)

    results: Channel[Result] = Channel()
    results.put(Embedded(claim=make_claim(1), vector=np.ones(2, np.float32)))
    results.close()
    store = StoreStage(
        SlowWriter(), inflight, results, RetryPolicy(), lambda: None, lambda *_: None, clock=SystemClock(), emit=Heard()
    )
    heartbeat = Heartbeat(SeenLeases(), inflight, lease_seconds=0.01, emit=Heard())
    threads = [Thread(target=store.run), Thread(target=heartbeat.run)]
    threads[0].start()
    assert writing.wait(DEADLINE)
    threads[1].start()
    assert waiting.wait(DEADLINE)
    assert renewed == []
    heartbeat.stop()
    done.set()
    threads[0].join(DEADLINE)
    threads[1].join(DEADLINE)
    assert renewed == [True]


def test_a_stop_that_is_hurried_releases_at_once_what_the_loaders_have(pipeline: Pipeline) -> None:
    pipeline.loaders.keep = pipeline.loaders.stubborn = True
    pipeline.queue.due = [make_claim(n) for n in range(3)]
    pipeline.runner.start()
    pipeline.heard.wait(lambda events: any(isinstance(e, Worked) and e.items == 3 for e in events))
    pipeline.runner.hurry()
    began = monotonic()
    assert pipeline.runner.stop(600.0)
    assert monotonic() - began < 60.0
    assert [type(outcome) for outcome in pipeline.writer.written] == [Released] * 3


def test_a_stop_that_is_hurried_ends_though_the_database_is_away(pipeline: Pipeline) -> None:
    pipeline.writer.errors = [DatabaseUnavailableError("away")] * 10_000
    pipeline.queue.due = [make_claim(1)]
    pipeline.runner.start()
    pipeline.heard.wait(lambda events: any(isinstance(e, Hindered) and e.stage == "store" for e in events))
    pipeline.runner.hurry()
    began = monotonic()
    assert not pipeline.runner.stop(600.0)
    assert monotonic() - began < 60.0
