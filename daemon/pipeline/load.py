"""load: hands claims to the loaders and passes on what comes back."""

from typing import Protocol

from daemon.pipeline.channel import Channel, Sink
from daemon.records import Answer, Claim, Delivered, Loaded


class Loaders(Protocol):
    """The loader processes: `loader.pool.LoaderPool`. Its `deliver` is this stage's."""

    def submit(self, claim: Claim) -> None: ...
    def drain(self, timeout: float) -> list[Claim]: ...


class LoadStage:
    """Pictures go to the channel `loaded`, failures and thumbnails straight to `results`, past batch and embed."""

    def __init__(self, loaded: Channel[Loaded], results: Sink[Answer]) -> None:
        self._loaded = loaded
        self._results = results

    def deliver(self, result: Delivered) -> None:
        """What the loaders call, for every claim that they were handed, once."""
        if isinstance(result, Loaded):
            self._loaded.put(result)
        else:
            self._results.put(result)
