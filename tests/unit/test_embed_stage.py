"""embed: portions, urgent pictures between them, and an engine that fails."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import pytest

from daemon.clock import SystemClock
from daemon.errors import EngineError, EngineMemoryError, Reason
from daemon.events import Hindered, Worked
from daemon.pipeline.batch import Batcher
from daemon.pipeline.channel import Channel
from daemon.pipeline.embed import EmbedStage
from daemon.records import (
    Embedded,
    Failure,
    Loaded,
    Pixels,
    Result,
    Vectors,
)
from tests.stages import (
    FakeEngine,
    Heard,
    Slots,
    make_claim,
    make_loaded,
)


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


def test_an_engine_without_memory_for_one_image_ends_the_stage() -> None:
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
