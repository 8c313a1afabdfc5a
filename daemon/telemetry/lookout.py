"""Looks at the database every ten seconds on a thread of its own, so that no scrape ever waits for it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event, Thread
from time import time

import structlog

from daemon.clock import Clock, SystemClock
from daemon.db.gauges import Depths
from daemon.errors import VectordError
from daemon.telemetry.readings import Reading, moment

LOOK_SECONDS = 10.0
"""Between two looks: they keep a connection busy for less than 0.5 % of the time (`db.gauges.COUNTED`)."""
STALE_SECONDS = 60.0
"""A look that is older is not shown: the database hangs, or nobody gets a connection."""
STOP_SECONDS = 5.0

_log = structlog.get_logger("vectord")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A look, when it ended, and how long it took."""

    depths: Depths
    ended: float
    seconds: float


class Lookout:
    """Shows what `look` last gave. A look that fails leaves nothing to show: old figures would pass for present ones.

    `database_up` says which of the two it is, and `database_look_timestamp_seconds` when the figures were true.
    """

    def __init__(self, look: Callable[[], Depths], clock: Clock | None = None) -> None:
        self._look = look
        self._clock = clock or SystemClock()
        self._seen: _Seen | None = None
        self._last = 0.0
        self._failing = False
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="vectord-lookout", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends it. A look that hangs is not waited for longer than some seconds."""
        self._stopped.set()
        self._thread.join(STOP_SECONDS)

    def readings(self) -> Iterator[Reading]:
        seen = self._seen
        fresh = seen is not None and self._clock.monotonic() - seen.ended < STALE_SECONDS
        yield Reading("database_up", fresh)
        yield Reading("database_look_timestamp_seconds", self._last)
        if seen is not None and fresh:
            yield Reading("database_look_seconds", seen.seconds)
            yield from _depths(seen.depths)

    def look(self) -> None:
        """Looks now."""
        began = self._clock.monotonic()
        try:
            depths = self._look()
        except VectordError:
            self._seen = None
        except Exception:  # noqa: BLE001 - a defect must not leave the metrics without figures for good
            self._seen = None
            if not self._failing:
                _log.exception("database.look_failed")
            self._failing = True
        else:
            self._failing = False
            ended, self._last = self._clock.monotonic(), time()
            self._seen = _Seen(depths=depths, ended=ended, seconds=ended - began)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.look()
            self._stopped.wait(LOOK_SECONDS)


def _depths(depths: Depths) -> Iterator[Reading]:
    yield from _jobs(depths)
    yield Reading("source_rows", depths.source_rows)
    yield Reading("target_rows", depths.target_rows)
    yield from _sweep(depths)
    yield Reading("notification_queue_ratio", depths.notification_queue)
    yield from moment("oldest_transaction_timestamp_seconds", depths.oldest_transaction)


def _jobs(depths: Depths) -> Iterator[Reading]:
    yield Reading("pending_jobs", depths.pending)
    yield Reading("leased_jobs", depths.leased)
    yield Reading("due_jobs", depths.due)
    yield Reading("dead_jobs", depths.dead)
    yield from moment("oldest_pending_timestamp_seconds", depths.oldest_pending)
    yield from moment("oldest_due_timestamp_seconds", depths.oldest_due)
    yield Reading("job_table_bytes", depths.job_table_bytes)
    yield Reading("job_table_dead_rows", depths.job_table_dead_rows)


def _sweep(depths: Depths) -> Iterator[Reading]:
    yield from moment("sweep_tick_timestamp_seconds", depths.swept_at)
    yield from moment("sweep_cycle_end_timestamp_seconds", depths.cycle_ended_at)
    yield Reading("sweep_cycle", depths.cycle)
    yield Reading("sweep_cycle_looked", depths.cycle_looked)
    yield Reading("sweep_cycle_found", depths.cycle_found)
    yield Reading("reprocess_running", depths.reprocessing)
    yield Reading("reprocess_left", depths.reprocess_left)
