"""embed: copies a batch out of shared memory, runs the model over it, and passes the vectors on."""

from collections.abc import Sequence
from threading import Event
from typing import Protocol

import numpy as np

from daemon.clock import Clock
from daemon.errors import EngineError, EngineMemoryError, Reason
from daemon.events import Emit, Hindered, Worked
from daemon.pipeline.batch import Batcher
from daemon.pipeline.channel import Channel, Sink
from daemon.policy import Pause
from daemon.records import Claim, Embedded, Failure, Loaded, Pixels, Result, Vectors

STAGE = "embed"
ALL = 2**31
"""Of what is loaded, since an urgent picture must not wait behind a batch of others; slots bound their number."""
LOST_SECONDS = 300.0
"""An engine that has made nothing for so long while it was asked to ends its process: after some faults of a GPU every
call fails until another process opens it. What waits is not charged."""


class Info(Protocol):
    """What an engine says of itself, as far as it matters here."""

    @property
    def batch_limit(self) -> int: ...


class Engine(Protocol):
    """The model: an `engine.Engine`."""

    def describe(self) -> Info: ...
    def embed(self, pixels: Pixels) -> Vectors: ...


class Loaders(Protocol):
    """Where pixels come from: `loader.pool.LoaderPool`."""

    def in_hand(self) -> int:
        """Images that they were given and whose slot has not been released, those in `loaded` among them."""

    def release(self, slot: int) -> None: ...


class EmbedStage:
    """Takes from `loaded` until a batch is due, embeds it by portions, puts vectors and failures into `results`.

    `loaders` get a slot of shared memory back as soon as its pixels are copied, so they fill it again while the model
    works.
    """

    def __init__(
        self,
        engine: Engine,
        batcher: Batcher[Loaded],
        loaded: Channel[Loaded],
        results: Sink[Result],
        loaders: Loaders,
        *,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._engine = engine
        self._batcher = batcher
        self._loaded = loaded
        self._results = results
        self._loaders = loaders
        self._clock = clock
        self._emit = emit
        self._pause = Pause()
        self._failing_since: float | None = None
        self._hurry = Event()
        self._batch: Sequence[Loaded] = ()
        self._made: list[Result] = []
        self._worked, self._seconds = 0, 0.0
        self.in_progress = 0
        """Images that are in the model now."""

    def hurry(self) -> None:
        """Do not sit out a pause: the daemon is to end."""
        self._hurry.set()

    def run(self) -> None:
        """Embeds until `loaded` is closed and empty. Runs on a thread of its own."""
        try:
            while not self._loaded.finished or len(self._batcher):
                self._fill()
                if self._is_due():
                    self._next()
        finally:
            self._pass_on()

    def _next(self) -> None:
        portion = self._batch = self._batcher.take()
        self._embed(portion)
        self._batch = ()
        if not self._batcher.left or _is_awaited(portion):
            self._pass_on()

    def abandoned(self) -> list[Claim]:
        """What nothing became of. To be asked once the thread has ended: there is some where a defect ended it."""
        items = list(self._batch)
        while len(self._batcher):
            items += self._batcher.take()
        return [item.claim for item in [*items, *self._loaded.take(len(self._loaded), timeout=0)]]

    def _fill(self) -> None:
        left = self._seconds_left()
        for item in self._loaded.take(ALL, left):
            claim = item.claim
            self._batcher.add(item, self._clock.monotonic(), urgent=claim.urgent, backfill=claim.backfill)

    def _is_due(self) -> bool:
        left = self._seconds_left()
        return left is not None and (left <= 0 or self._loaded.finished)

    def _seconds_left(self) -> float | None:
        coming = self._loaders.in_hand() - len(self._loaded) - len(self._batcher)
        return self._batcher.seconds_left(self._clock.monotonic(), coming)

    def _embed(self, batch: Sequence[Loaded]) -> None:
        pixels = np.stack([item.pixels for item in batch])
        for item in batch:
            self._loaders.release(item.slot)
        began = self._clock.monotonic()
        self.in_progress = len(batch)
        try:
            vectors = self._engine.embed(pixels)
        except EngineError as error:
            self._hindered(batch, error)
            if isinstance(error, EngineMemoryError) or self._is_lost():
                raise  # Not even one image fits, or the device is gone: only a new process gets it back.
            return
        finally:
            self.in_progress = 0
        self._pause.reset()
        self._failing_since = None
        self._batcher.limit = self._engine.describe().batch_limit
        self._worked += len(batch)
        self._seconds += self._clock.monotonic() - began
        for item, vector in zip(batch, vectors, strict=True):
            # Whoever waits gets his at once; others go on as a batch, unless it is held up: for one transaction's sake.
            (self._results.put if item.claim.urgent else self._made.append)(_result(item, vector))

    def _is_lost(self) -> bool:
        """Whether the engine has failed for too long."""
        now = self._clock.monotonic()
        self._failing_since = now if self._failing_since is None else self._failing_since
        return now - self._failing_since > LOST_SECONDS

    def _pass_on(self) -> None:
        """A batch is done, or held up: tells of it, and passes on what nobody waits for."""
        if self._worked:
            self._emit(Worked(stage=STAGE, items=self._worked, seconds=self._seconds))
        self._worked, self._seconds = 0, 0.0
        for result in self._made:
            self._results.put(result)
        self._made.clear()

    def _hindered(self, batch: Sequence[Loaded], error: EngineError) -> None:
        """The batch goes back uncharged, and the engine gets a pause, for which what was made does not wait."""
        self._batch = ()
        self._pass_on()
        for item in batch:
            self._results.put(Failure(claim=item.claim, stage=STAGE, reason=Reason.ENGINE_FAILED, detail=str(error)))
        pause = self._pause.next()
        self._emit(Hindered(stage=STAGE, error=error, pause=pause))
        self._hurry.wait(pause)


def _is_awaited(portion: Sequence[Loaded]) -> bool:
    """Whether it holds what others should not be waited for with: urgent images, or new ones among a backfill's."""
    return any(item.claim.urgent for item in portion) or len({item.claim.backfill for item in portion}) > 1


def _result(item: Loaded, vector: Vectors) -> Result:
    if np.isfinite(vector).all():
        return Embedded(claim=item.claim, vector=vector)
    return Failure(claim=item.claim, stage=STAGE, reason=Reason.VECTOR_NOT_FINITE)
