"""The Keras engine: the model as it is, on a GPU or the CPU, on whichever framework Keras runs."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from daemon.engine.backends import Backend, Call
from daemon.engine.protocol import EngineInfo, EngineOptions, ModelSpec
from daemon.engine.rows import Slice, checked, chunks, cut, marked, padded, shapes
from daemon.errors import EngineError, EngineMemoryError
from daemon.records import Pixels, Vectors
from daemon.signature import dimension

AHEAD = 1
"""Calls on their way to the device while one runs there."""

SPLIT_FROM = 64
"""A largest batch of this many images or more goes in two calls, so that the second is copied while the first runs.
Smaller ones are copied in well under a millisecond (9.6 MB at the 10 GB/s of pageable memory over PCIe)."""


def open_keras(
    spec: ModelSpec, options: EngineOptions, backend: Backend, *, gpu: int | None, fallback: str = ""
) -> "KerasEngine":
    """The model of `spec`, built on this GPU or on the CPU. Raises `EngineError` when it cannot be."""
    from daemon.engine import network  # noqa: PLC0415  # It imports Keras.

    backend.use(gpu)
    with backend.scope():
        model = network.build(spec, options.precision)
    return KerasEngine(spec, options, backend, model, gpu=gpu, fallback=fallback)


class KerasEngine:
    """A Keras model on one device, compiled for few batch sizes.

    Out of memory halves the largest batch for as long as the engine lives, and the batch in hand goes on from there.
    """

    def __init__(
        self,
        spec: ModelSpec,
        options: EngineOptions,
        backend: Backend,
        model: Any,
        *,
        gpu: int | None,
        fallback: str = "",
    ) -> None:
        self._spec, self._options, self._backend, self._model = spec, options, backend, model
        self._gpu, self._fallback = gpu, fallback
        self._limit = options.batch_max
        self._out_of_memory = 0
        self._calls: dict[int | None, Call] = {}

    def warm_up(self) -> None:
        side = self._spec.input_size
        for rows in {1, self._limit, *self._sizes()}:
            self.embed(np.zeros((rows, side, side, 3), np.uint8))

    def embed(self, pixels: Pixels) -> Vectors:
        pixels = checked(pixels, self._spec.input_size)
        vectors = np.empty((len(pixels), dimension(self._spec.alpha)), np.float32)
        done = 0
        while done < len(pixels):
            try:
                for rows in self._results(pixels[done:]):
                    vectors[done : done + len(rows)] = rows
                    done += len(rows)
            except Exception as error:  # noqa: BLE001  # Each framework has errors of its own; all are looked at.
                self._shrink(error)
        return marked(vectors)

    def describe(self) -> EngineInfo:
        return EngineInfo(
            backend=self._backend.name,
            version=self._backend.version,
            device="cpu" if self._gpu is None else f"gpu:{self._gpu}",
            device_name="" if self._gpu is None else self._backend.gpus()[self._gpu],
            precision=self._options.precision,
            dimension=dimension(self._spec.alpha),
            batch_sizes=self._sizes(),
            batch_limit=self._limit,
            out_of_memory=self._out_of_memory,
            fallback=self._fallback,
        )

    def close(self) -> None:
        self._calls.clear()
        self._model = None

    def _results(self, pixels: Pixels) -> Iterator[Vectors]:
        """The vectors, call by call and in order, with the next call's pixels on their way meanwhile."""
        waiting: deque[tuple[Slice, Any]] = deque()
        for part in self._parts(len(pixels)):
            waiting.append((part, self._call(part.size)(padded(pixels, part))))
            if len(waiting) > AHEAD:
                yield self._finished(*waiting.popleft())
        while waiting:
            yield self._finished(*waiting.popleft())

    def _finished(self, part: Slice, handle: Any) -> Vectors:
        return self._backend.result(handle)[: part.stop - part.start]

    def _parts(self, rows: int) -> Iterator[Slice]:
        return chunks(rows, self._limit) if self._backend.any_rows else cut(rows, self._sizes())

    def _sizes(self) -> tuple[int, ...]:
        if self._backend.any_rows:
            return ()
        return shapes(self._limit // 2 if self._limit >= SPLIT_FROM else self._limit)

    def _call(self, size: int) -> Call:
        key = None if self._backend.any_rows else size
        if key not in self._calls:
            self._calls[key] = self._backend.compile(self._model, key)
        return self._calls[key]

    def _shrink(self, error: Exception) -> None:
        """Makes the largest batch half as large, if memory is what the error is about; raises otherwise."""
        if not self._backend.is_out_of_memory(error):
            raise EngineError(f"the model failed on {self.describe().device} (key engine.device): {error}") from error
        self._out_of_memory += 1
        if self._limit == 1:
            raise EngineMemoryError(f"{self.describe().device} has too little memory for a single image") from error
        self._limit //= 2
        self._calls = {size: call for size, call in self._calls.items() if size is None or size <= self._limit}
