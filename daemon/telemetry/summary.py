"""A line a minute for whoever reads the journal: how many images came to an end, and how fast."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from threading import Lock

import structlog

from daemon.clock import Clock
from daemon.errors import VectordError
from daemon.events import Event, Settled
from daemon.loader.events import Event as LoaderEvent
from daemon.records import Dead, Released, Retry, Stored

SECONDS = 60.0
"""Between two lines."""
WORDS = {Stored: "stored", Dead: "failed", Retry: "retried", Released: "released"}


class Summary:
    """Hears every event, from any thread; `tell` writes the line, unless nothing happened since the last one."""

    def __init__(self, clock: Clock) -> None:
        self._log = structlog.get_logger("vectord")
        self._clock = clock
        self._lock = Lock()
        self._since = clock.monotonic()
        self._counts: Counter[str] = Counter()

    def __call__(self, event: Event | LoaderEvent) -> None:
        if isinstance(event, Settled):
            with self._lock:
                self._counts[WORDS[type(event.outcome)]] += 1

    def tell(self, in_flight: int, backlog: Callable[[], int]) -> None:
        """Writes the line, and counts from nothing again.

        `backlog` counts the jobs that wait; where it raises `VectordError` the line goes without.
        """
        now = self._clock.monotonic()
        with self._lock:
            counts, self._counts = self._counts, Counter()
            seconds, self._since = now - self._since, now
        if not counts:
            return
        line: dict[str, float] = {word: counts[word] for word in WORDS.values()}
        # PostgreSQL may be away, which is told elsewhere.
        with suppress(VectordError):
            line["backlog"] = backlog()
        rate = round(counts["stored"] / seconds, 2) if seconds > 0 else 0.0
        self._log.info("daemon.summary", **line, in_flight=in_flight, rate=rate, seconds=round(seconds, 1))
