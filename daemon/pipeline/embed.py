"""embed: copies a batch out of shared memory, runs the model over it, and passes the vectors on."""

from collections.abc import Callable, Sequence
from threading import Event
from typing import Protocol

import numpy as np

from daemon.clock import Clock
from daemon.errors import EngineError, EngineMemoryError, Reason
from daemon.events import Emit, Hindered, Worked
from daemon.pipeline.batch import Batcher
from daemon.pipeline.channel import Channel, Sink
from daemon.policy import Pause
from daemon.records import Embedded, Failure, Loaded, Pixels, Result, Vectors

STAGE = "embed"


class Info(Protocol):
    """What an engine says of itself, as far as it matters here."""

    @property
    def batch_limit(self) -> int: ...


class Engine(Protocol):
    """The model: an `engine.Engine`."""

    def describe(self) -> Info: ...
    def embed(self, pixels: Pixels) -> Vectors: ...


class EmbedStage:
    """Takes from `loaded` until a batch is due, embeds it, puts vectors and failures into `results`.

    `release` gives a slot of shared memory back as soon as its pixels are copied, so the loaders fill it again while
    the model works.
    """

    def __init__(
        self,
        engine: Engine,
        batcher: Batcher[Loaded],
        loaded: Channel[Loaded],
        results: Sink[Result],
        release: Callable[[int], None],
        *,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._engine = engine
        self._batcher = batcher
        self._loaded = loaded
        self._results = results
        self._release = release
        self._clock = clock
        self._emit = emit
        self._pause = Pause()
        self._hurry = Event()
        self.in_progress = 0
        """Images that are in the model now."""

    def hurry(self) -> None:
        """Do not sit out a pause: the daemon is to end."""
        self._hurry.set()

    def run(self) -> None:
        """Embeds until `loaded` is closed and empty. Runs on a thread of its own."""
        while not self._loaded.finished or len(self._batcher):
            self._fill()
            if self._is_due():
                self._embed(self._batcher.take())

    def _fill(self) -> None:
        left = self._batcher.seconds_left(self._clock.monotonic())
        for item in self._loaded.take(self._batcher.room, left):
            self._batcher.add(item, self._clock.monotonic(), urgent=item.claim.urgent)

    def _is_due(self) -> bool:
        left = self._batcher.seconds_left(self._clock.monotonic())
        return left is not None and (left <= 0 or self._loaded.finished)

    def _embed(self, batch: Sequence[Loaded]) -> None:
        pixels = np.stack([item.pixels for item in batch])
        for item in batch:
            self._release(item.slot)
        began = self._clock.monotonic()
        self.in_progress = len(batch)
        try:
            vectors = self._engine.embed(pixels)
        except EngineError as error:
            self._hindered(batch, error)
            if isinstance(error, EngineMemoryError):
                raise  # Not even one image fits: only a new process gets the device's memory back.
            return
        finally:
            self.in_progress = 0
        self._pause.reset()
        self._batcher.limit = self._engine.describe().batch_limit
        self._emit(Worked(stage=STAGE, items=len(batch), seconds=self._clock.monotonic() - began))
        for item, vector in zip(batch, vectors, strict=True):
            self._results.put(_result(item, vector))

    def _hindered(self, batch: Sequence[Loaded], error: EngineError) -> None:
        """The batch goes back uncharged, and the engine gets a pause."""
        for item in batch:
            self._results.put(Failure(claim=item.claim, stage=STAGE, reason=Reason.ENGINE_FAILED, detail=str(error)))
        pause = self._pause.next()
        self._emit(Hindered(stage=STAGE, error=error, pause=pause))
        self._hurry.wait(pause)


def _result(item: Loaded, vector: Vectors) -> Result:
    if np.isfinite(vector).all():
        return Embedded(claim=item.claim, vector=vector)
    return Failure(claim=item.claim, stage=STAGE, reason=Reason.VECTOR_NOT_FINITE)
