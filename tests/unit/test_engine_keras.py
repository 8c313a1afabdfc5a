"""The Keras engine's own logic, on a made-up framework: padding, order, memory that runs out."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.engine.backends import Call
from daemon.engine.keras import KerasEngine
from daemon.engine.protocol import EngineOptions, ModelSpec, WeightsFile
from daemon.errors import EngineError, EngineMemoryError
from daemon.records import Pixels, Vectors

SPEC = ModelSpec(alpha=1.0, input_size=4, scaling="tf", weights=WeightsFile(path=None, digest="0"))


class NoMemoryError(Exception):
    """What the made-up framework raises."""


class FakeBackend:
    """A framework whose model tells its rows apart by their first pixel; a call of too many rows is too much for it."""

    name = "fake"
    version = "1"

    def __init__(self, *, any_rows: bool = False, fits: int = 10_000, late: bool = False) -> None:
        self.any_rows = any_rows
        self.fits = fits
        self.late = late
        """Whether memory runs out when the result is asked for, as asynchronous frameworks have it."""
        self.compiled: list[int | None] = []
        self.called: list[int] = []
        self.waiting = 0
        self.most_waiting = 0
        self.error: Exception = NoMemoryError("no memory")

    def gpus(self) -> list[str]:
        return ["Fake 3000"]

    def use(self, gpu: int | None) -> None: ...

    def scope(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def compile(self, model: Any, rows: int | None) -> Call:
        self.compiled.append(rows)

        def call(pixels: Pixels) -> Pixels:
            assert rows is None or len(pixels) == rows
            if len(pixels) > self.fits and not self.late:
                raise self.error
            self.called.append(len(pixels))
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)
            return pixels

        return call

    def result(self, handle: Pixels) -> Vectors:
        self.waiting -= 1
        if len(handle) > self.fits:
            raise self.error
        vectors = np.zeros((len(handle), 1280), np.float32)
        vectors[np.arange(len(handle)), handle[:, 0, 0, 0]] = 1.0
        return vectors

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, NoMemoryError)


def engine(backend: FakeBackend, batch_max: int = 32) -> KerasEngine:
    return KerasEngine(SPEC, EngineOptions(state_dir=Path(), batch_max=batch_max), backend, object(), gpu=0)


def numbered(rows: int) -> Pixels:
    """Pictures whose first pixel is their number, from one: a padded row would be number zero."""
    pixels = np.zeros((rows, 4, 4, 3), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(rows) % 251 + 1
    return pixels


def assert_right(pixels: Pixels, vectors: Vectors) -> None:
    assert vectors.argmax(axis=1).tolist() == pixels[:, 0, 0, 0].tolist()
    assert vectors.sum(axis=1).tolist() == [1.0] * len(pixels)


@pytest.mark.parametrize("any_rows", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 31, 32, 33, 70, 200])
def test_every_row_comes_back_in_order(rows: int, *, any_rows: bool) -> None:
    backend = FakeBackend(any_rows=any_rows)
    pixels = numbered(rows)
    assert_right(pixels, engine(backend).embed(pixels))


def test_warming_up_compiles_every_shape_and_embedding_none_more() -> None:
    backend = FakeBackend()
    subject = engine(backend)
    subject.warm_up()
    assert sorted(size for size in backend.compiled if size) == [1, 8, 32]
    subject.embed(numbered(41))
    assert len(backend.compiled) == 3


def test_a_framework_that_takes_any_number_of_rows_is_compiled_once() -> None:
    backend = FakeBackend(any_rows=True)
    subject = engine(backend)
    subject.warm_up()
    subject.embed(numbered(70))
    assert backend.compiled == [None]
    assert backend.called[-3:] == [32, 32, 6]
    assert subject.describe().batch_sizes == ()


def test_the_next_batch_is_sent_while_one_runs_and_no_more_than_that() -> None:
    backend = FakeBackend()
    engine(backend).embed(numbered(160))
    assert backend.most_waiting == 2


def test_a_large_batch_goes_in_two_calls_so_that_one_is_copied_while_the_other_runs() -> None:
    backend = FakeBackend()
    subject = engine(backend, batch_max=64)
    subject.embed(numbered(64))
    assert (backend.called, backend.most_waiting) == ([32, 32], 2)
    assert subject.describe().batch_limit == 64


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("fits", [1, 5, 8, 31])
def test_memory_that_runs_out_halves_the_batch_and_loses_nothing(fits: int, *, late: bool) -> None:
    backend = FakeBackend(fits=fits, late=late)
    subject = engine(backend)
    pixels = numbered(75)
    assert_right(pixels, subject.embed(pixels))
    info = subject.describe()
    assert info.batch_limit == {1: 1, 5: 4, 8: 8, 31: 16}[fits]
    assert info.out_of_memory == {1: 5, 5: 3, 8: 2, 31: 1}[fits]
    assert max(info.batch_sizes) == info.batch_limit


def test_the_smaller_batch_is_remembered() -> None:
    backend = FakeBackend(fits=8)
    subject = engine(backend)
    subject.embed(numbered(64))
    backend.called.clear()
    backend.fits = 1000
    subject.embed(numbered(64))
    assert max(backend.called) == 8
    assert subject.describe().out_of_memory == 2


def test_rows_done_before_memory_ran_out_are_not_done_again() -> None:
    backend = FakeBackend(late=True)
    subject = engine(backend)
    done: list[int] = []
    result = backend.result

    def run_out_later(handle: Pixels) -> Vectors:
        if done == [32]:
            backend.fits = 16
        vectors = result(handle)
        done.append(len(handle))
        return vectors

    backend.result = run_out_later  # type: ignore[method-assign]  # A fault that comes in the middle.
    pixels = numbered(64)
    assert_right(pixels, subject.embed(pixels))
    assert done == [32, 16, 16]


def test_too_little_memory_for_one_image_is_an_error_of_its_own() -> None:
    subject = engine(FakeBackend(fits=0))
    with pytest.raises(EngineMemoryError, match="gpu:0 has too little memory for a single image"):
        subject.embed(numbered(3))
    assert subject.describe().batch_limit == 1


def test_another_fault_is_told_with_the_device() -> None:
    backend = FakeBackend(fits=0)
    backend.error = RuntimeError("cuDNN is of another version")
    with pytest.raises(EngineError, match=r"the model failed on gpu:0 \(key engine.device\): cuDNN is of another"):
        engine(backend).embed(numbered(1))


def test_it_says_what_it_is() -> None:
    info = engine(FakeBackend(), batch_max=64).describe()
    assert (info.backend, info.version, info.device, info.device_name) == ("fake", "1", "gpu:0", "Fake 3000")
    assert (info.dimension, info.batch_sizes, info.batch_limit, info.precision) == (1280, (1, 8, 32), 64, "float32")


def test_closing_twice_is_harmless() -> None:
    subject = engine(FakeBackend())
    subject.close()
    subject.close()
