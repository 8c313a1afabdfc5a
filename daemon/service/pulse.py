"""Hears the events, and knows when something last moved and what hinders whom."""

from collections.abc import Mapping
from threading import Lock
from types import MappingProxyType
from typing import NamedTuple

from daemon.clock import Clock
from daemon.errors import gist
from daemon.events import Event, Hindered, Settled, Worked
from daemon.loader.events import Event as LoaderEvent
from daemon.redact import redact


class Hindrance(NamedTuple):
    """What a stage waits for: in the fault's own words, and in those that anybody may read."""

    words: str
    gist: str


class Pulse:
    """Called with every event, from any thread. Whoever reads sees whole values."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._moved = clock.monotonic()
        self.hindrances: Mapping[str, Hindrance] = MappingProxyType({})
        """By stage."""
        self.settled = 0
        """Images since the start."""
        self._lock = Lock()

    def __call__(self, event: Event | LoaderEvent) -> None:
        match event:
            case Hindered(stage=stage, error=error):
                hindrance = Hindrance(words=redact(str(error)), gist=gist(error))
                with self._lock:
                    self.hindrances = {**self.hindrances, stage: hindrance}
            case Worked(stage=stage) if stage in self.hindrances:
                with self._lock:
                    self.hindrances = {name: fault for name, fault in self.hindrances.items() if name != stage}
            case Settled():
                self._moved = self._clock.monotonic()
                with self._lock:
                    self.settled += 1
            case _:
                pass

    def idle_seconds(self, in_flight: int) -> float:
        """How long nothing was settled; 0 while nothing is in work, since then nothing is to be."""
        if not in_flight:
            self._moved = self._clock.monotonic()
        return self._clock.monotonic() - self._moved
