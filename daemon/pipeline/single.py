"""One picture to its vector, with no daemon about: for a command.

    load ─ embed

The loaders are as guarded as the daemon's: a command touches hostile bytes as little as it does.
"""

from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Protocol
from uuid import uuid4

from daemon.errors import NotServingError, PictureError
from daemon.loader.events import Event, LoaderStartFailed
from daemon.pipeline.embed import Engine
from daemon.records import Claim, Delivered, Failure, Loaded, Vectors


class Loaders(Protocol):
    """The loader processes: `loader.pool.LoaderPool`."""

    def start(self) -> None: ...
    def submit(self, claim: Claim, *, data: bytes | None = None) -> None: ...
    def release(self, slot: int) -> None: ...
    def close(self) -> None: ...


Deliver = Callable[[Delivered], None]
MakeLoaders = Callable[[Deliver, Callable[[Event], None]], Loaders]


class Single:
    """For one thread. `seconds` is how long a picture may take, the start of a loader included."""

    def __init__(self, engine: Engine, make_loaders: MakeLoaders, *, seconds: float) -> None:
        self._engine = engine
        self._results: SimpleQueue[Delivered | LoaderStartFailed] = SimpleQueue()
        self._loaders = make_loaders(self._results.put, self._hear)
        self._seconds = seconds

    def start(self) -> None:
        self._loaders.start()

    def close(self) -> None:
        self._loaders.close()

    def embed(self, location: str, data: bytes | None = None) -> Vectors:
        """The vector, float32 `[D]`, of what lies there, or of `data` that was read there.

        Raises `PictureError` with the reason for none, `NotServingError` when no loader works, and `EngineError`.
        """
        self._loaders.submit(Claim(image_id=0, revision=0, token=uuid4(), location=location), data=data)
        loaded = self._loaded()
        pixels = loaded.pixels[None].copy()
        self._loaders.release(loaded.slot)
        vector: Vectors = self._engine.embed(pixels)[0]
        return vector

    def _loaded(self) -> Loaded:
        try:
            result = self._results.get(timeout=self._seconds)
        except Empty:
            raise NotServingError(f"no loader answered within {self._seconds:.0f} s; `check` says more") from None
        match result:
            case Loaded():
                return result
            case Failure():
                raise PictureError(result.reason, result.detail)
            case LoaderStartFailed():
                raise NotServingError(f"no loader can be started: {result.cause}; `check` says more")
            case _:
                raise NotServingError("the loaders gave the picture back")

    def _hear(self, event: Event) -> None:
        if isinstance(event, LoaderStartFailed):
            self._results.put(event)
