"""Hears the events, and knows when something last moved and what hinders whom."""

from collections.abc import Mapping
from threading import Lock
from types import MappingProxyType

from daemon.clock import Clock
from daemon.events import Event, Hindered, Settled, Worked
from daemon.loader.events import Event as LoaderEvent
from daemon.redact import redact


class Pulse:
    """Called with every event, from any thread; each call replaces whole values, so only the count needs a lock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._moved = clock.monotonic()
        self.hindrances: Mapping[str, str] = MappingProxyType({})
        self.settled = 0
        """Images since the start."""
        self._counting = Lock()

    def __call__(self, event: Event | LoaderEvent) -> None:
        match event:
            case Hindered(stage=stage, error=error):
                self.hindrances = {**self.hindrances, stage: redact(str(error))}
            case Worked(stage=stage) if stage in self.hindrances:
                self.hindrances = {name: fault for name, fault in self.hindrances.items() if name != stage}
            case Settled():
                self._moved = self._clock.monotonic()
                with self._counting:
                    self.settled += 1
            case _:
                pass

    def idle_seconds(self, in_flight: int) -> float:
        """How long nothing was settled; 0 while nothing is in work, since then nothing is to be."""
        if not in_flight:
            self._moved = self._clock.monotonic()
        return self._clock.monotonic() - self._moved
