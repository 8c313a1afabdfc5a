"""The stages together: every claim settled once, callers answered, and the end in all its ways."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event
from time import monotonic

import pytest

from daemon.clock import SystemClock
from daemon.errors import DatabaseUnavailableError, NotServingError, Reason
from daemon.events import Event as Happening
from daemon.events import Hindered, Settled, Worked
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
from daemon.policy import RetryPolicy
from daemon.records import (
    Dead,
    Embedded,
    Failure,
    Loaded,
    Outcome,
    Released,
    Result,
    Stored,
)
from tests.stages import (
    DEADLINE,
    FakeEngine,
    FakeLoaders,
    FakeQueue,
    FakeWriter,
    FakeWritten,
    Heard,
    Leases,
    Slots,
    make_claim,
)


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


def test_a_stop_that_is_hurried_ends_though_the_database_never_answers(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.pipeline.runner.HURRY_SECONDS", 0.2)
    begun, answered = Event(), Event()

    def hang(outcomes: Sequence[Outcome]) -> FakeWritten:
        begun.set()
        answered.wait(DEADLINE)
        return FakeWritten()

    monkeypatch.setattr(pipeline.writer, "write", hang)
    pipeline.queue.due = [make_claim(1)]
    pipeline.runner.start()
    assert begun.wait(DEADLINE)
    with ThreadPoolExecutor(1) as threads:
        stopping = threads.submit(pipeline.runner.stop, DEADLINE)
        # The stop waits already: it has to notice.
        assert wait([stopping], timeout=0.5).not_done
        pipeline.runner.hurry()
        assert not stopping.result(DEADLINE / 4)
    answered.set()


def test_a_stop_that_is_hurried_ends_though_the_database_is_away(pipeline: Pipeline) -> None:
    pipeline.writer.errors = [DatabaseUnavailableError("away")] * 10_000
    pipeline.queue.due = [make_claim(1)]
    pipeline.runner.start()
    pipeline.heard.wait(lambda events: any(isinstance(e, Hindered) and e.stage == "store" for e in events))
    pipeline.runner.hurry()
    began = monotonic()
    assert not pipeline.runner.stop(600.0)
    assert monotonic() - began < 60.0
