"""The last hour in memory, for the console's charts: what was stored and what failed, and how long it took.

It is lost when the daemon ends; Prometheus keeps what is to be kept.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate
from threading import Lock
from time import time
from typing import NamedTuple

from daemon.clock import Clock
from daemon.events import Event, Settled
from daemon.loader.events import Event as LoaderEvent
from daemon.records import Dead, Stored

SECONDS = 5
"""What one point stands for."""
POINTS = 720
"""An hour of them."""
RATE_POINTS = 2
"""Closed points that the rate of the moment goes by, with the one that is open."""
BOUNDS = tuple(0.001 * 2 ** (step / 4) for step in range(100))
"""Upper bounds of latencies that are counted together, from 1 ms to 8 h, each 19 % above the one before."""


class Point(NamedTuple):
    """`SECONDS` from the moment `at`, in seconds of the epoch. Latencies in seconds, to the next of `BOUNDS`."""

    at: float
    stored: int
    dead: int
    median: float | None
    slow: float | None
    """What 95 of 100 stayed below."""


class _Open:
    """The point that is being filled."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.stored = 0
        self.dead = 0
        self.latencies = [0] * (len(BOUNDS) + 1)

    def close(self, at: float) -> Point:
        median, slow = (quantile(self.latencies, share) for share in (0.5, 0.95))
        return Point(at=at, stored=self.stored, dead=self.dead, median=median, slow=slow)


class History:
    """Hears every event, from any thread. Its size is bounded by `POINTS`, whatever happens."""

    def __init__(self, clock: Clock, wall: Callable[[], float] = time) -> None:
        self._clock = clock
        self._lock = Lock()
        self._epoch = wall() - clock.monotonic()
        self._open = _Open(self._number())
        self._closed: deque[Point] = deque(maxlen=POINTS)
        self.began = wall()
        self.stored = 0
        self.dead = 0

    def __call__(self, event: Event | LoaderEvent) -> None:
        if isinstance(event, Settled):
            with self._lock:
                self._settled(event)

    def points(self, after: float = 0.0) -> list[Point]:
        """The closed ones that began later than that, the oldest first."""
        with self._lock:
            self._advance()
            return [point for point in self._closed if point.at > after]

    def rate(self) -> float:
        """Images stored per second, over the last ten to fifteen."""
        with self._lock:
            self._advance()
            last = list(self._closed)[-RATE_POINTS:]
            seconds = self._clock.monotonic() + self._epoch - self._open.number * SECONDS + len(last) * SECONDS
            return (self._open.stored + sum(point.stored for point in last)) / max(1.0, seconds)

    def _settled(self, event: Settled) -> None:
        self._advance()
        match event.outcome:
            case Stored():
                self.stored += 1
                self._open.stored += 1
                if event.seconds is not None:
                    self._open.latencies[bisect_left(BOUNDS, event.seconds)] += 1
            case Dead():
                self.dead += 1
                self._open.dead += 1
            case _:
                pass

    def _advance(self) -> None:
        """Closes what is over. Hours of sleep leave an hour of empty points."""
        now = self._number()
        if now - self._open.number > POINTS:
            self._open = _Open(now - POINTS)
        while self._open.number < now:
            self._closed.append(self._open.close(self._open.number * SECONDS))
            self._open = _Open(self._open.number + 1)

    def _number(self) -> int:
        return int((self._clock.monotonic() + self._epoch) // SECONDS)


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The bound that this share of the counted stays below; None where nothing was counted."""
    total = sum(counts)
    if not total:
        return None
    place = next(at for at, seen in enumerate(accumulate(counts)) if seen >= share * total)
    return BOUNDS[min(place, len(BOUNDS) - 1)]
