"""The sweep's timetable: a tick every interval, and sooner while there is something to do.

`db.sweep` does the work of one tick; this decides when the next one is. The only user of APScheduler.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Lock
from time import monotonic

from apscheduler.executors.pool import ThreadPoolExecutor  # type: ignore[import-untyped]  # has no types
from apscheduler.schedulers.background import BackgroundScheduler  # type: ignore[import-untyped]  # has no types
from apscheduler.triggers.interval import IntervalTrigger  # type: ignore[import-untyped]  # has no types

from daemon.db.walk import Swept
from daemon.errors import VectordError
from daemon.events import Emit, Hindered, Worked
from daemon.policy import Pause

STAGE = "sweep"
SOON = 1.0
"""Seconds until a full queue, a run, or a reprocess that is nearly over, is looked at again."""
EASY_SHARE = 0.02
"""Of the time, at most, that a cycle walks while the one before it found nothing."""


def next_pause(swept: Swept, *, quiet: bool, seconds: float, interval: float) -> float:
    """Seconds until the next tick, after one that took `seconds`.

    A cycle that finds work, or the first one, goes on at once. One that follows a cycle without finds takes it easy,
    so that a large table is not read all the time for nothing; a window every `interval` is the least.
    """
    if swept.run_more or (swept.more and not quiet):
        return 0.0
    if swept.full or swept.reprocessing or swept.run_open:
        return min(interval, SOON)
    return min(interval, seconds / EASY_SHARE) if swept.more else interval


def is_quiet(swept: Swept, *, before: bool) -> bool:
    """Whether the sweep has found nothing of late: in a whole cycle, and in the present one so far."""
    if swept.cycle_found:
        return False
    return before or swept.cycle_ended


class Sweeper:
    """Calls `tick` on a thread of its own, never twice at a time.

    A fault of the database is told and the tick tried again, the pauses growing; any other exception is a defect,
    which `on_failure` hears of, and no tick follows it.
    """

    def __init__(
        self,
        tick: Callable[[], Swept],
        *,
        interval_seconds: float,
        emit: Emit,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._tick = tick
        self._interval = interval_seconds
        self._emit = emit
        self._on_failure = on_failure
        self._pause = Pause()
        self._quiet = False
        self._last: tuple[datetime, Swept] | None = None
        self._lock = Lock()
        self._running = False
        self._called = False
        self._ended = False
        self._scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(max_workers=1)}, timezone=UTC, daemon=True
        )

    @property
    def last_tick(self) -> datetime | None:
        """When the last tick ended that met no fault."""
        return self._last[0] if self._last else None

    @property
    def last_swept(self) -> Swept | None:
        """What it did."""
        return self._last[1] if self._last else None

    def start(self) -> None:
        """The first tick is now."""
        # Two instances for the moment in which one ends and the next begins; the one thread keeps them apart.
        self._scheduler.add_job(
            self._run,
            IntervalTrigger(seconds=self._interval),
            id=STAGE,
            next_run_time=datetime.now(UTC),
            max_instances=2,
            coalesce=True,
            misfire_grace_time=None,
        )
        self._scheduler.start()

    def soon(self) -> None:
        """The next tick is now: somebody says that there is reason to look."""
        with self._lock:
            self._called = True
            if not self._running:
                self._schedule(0.0)

    def tick_every(self, seconds: float) -> None:
        """Another interval from now on."""
        self._interval = seconds
        if self._scheduler.running:
            self._scheduler.reschedule_job(STAGE, trigger=IntervalTrigger(seconds=seconds))
        self.soon()

    def stop(self) -> None:
        """No more ticks. Waits for one that runs."""
        with self._lock:
            self._ended = True
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)

    def _run(self) -> None:
        with self._lock:
            if self._ended:
                return
            self._running, self._called = True, False
        pause = self._guarded()
        with self._lock:
            self._running, self._ended = False, self._ended or pause is None
            self._schedule(0.0 if self._called else pause or 0.0)

    def _schedule(self, pause: float) -> None:
        if self._scheduler.running and not self._ended:
            self._scheduler.modify_job(STAGE, next_run_time=datetime.now(UTC) + timedelta(seconds=pause))

    def _guarded(self) -> float | None:
        """A tick; gives the pause after it, or None after a defect."""
        try:
            return self._sweep()
        except VectordError as error:
            pause = self._pause.next()
            self._emit(Hindered(stage=STAGE, error=error, pause=pause))
            return pause
        except BaseException as error:  # noqa: BLE001 - APScheduler would log it and go on
            self._on_failure(error)
            return None

    def _sweep(self) -> float:
        began = monotonic()
        swept = self._tick()
        seconds = monotonic() - began
        self._pause.reset()
        self._last = (datetime.now(UTC), swept)
        self._emit(Worked(stage=STAGE, items=swept.queued, seconds=seconds))
        self._quiet = is_quiet(swept, before=self._quiet and not self._called)
        return next_pause(swept, quiet=self._quiet, seconds=seconds, interval=self._interval)
