"""load: passes on what comes back from the loaders, which the claim stage hands its claims to."""

from daemon.pipeline.channel import Channel, Sink
from daemon.records import Answer, Delivered, Loaded


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
