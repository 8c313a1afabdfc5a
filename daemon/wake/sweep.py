"""The sweep's timetable: a tick every interval, and sooner while there is something to do.

`db.sweep` does the work of one tick; this decides when the next one is. The only user of APScheduler.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from threading import Lock
from time import monotonic

from apscheduler.executors.pool import ThreadPoolExecutor  # type: ignore[import-untyped]  # has no types
from apscheduler.schedulers.background import BackgroundScheduler  # type: ignore[import-untyped]  # has no types
from apscheduler.triggers.base import BaseTrigger  # type: ignore[import-untyped]  # has no types

from daemon.db.walk import Swept
from daemon.errors import VectordError
from daemon.events import Emit, Hindered, Worked
from daemon.policy import Pause

STAGE = "sweep"
SOON = 1.0
"""Seconds until a full queue, a run, or a reprocess that is nearly over, is looked at again."""
EASY_SHARE = 0.02
"""Of the time, at most, that a cycle walks while the one before it found nothing."""


class SteadyTime(tzinfo):
    """UTC as it was when this was made, and what has passed since.

    APScheduler goes by `datetime.now` in a time zone that it is given. In this one, nobody can set the clock: the sweep
    does not stand still for an hour because somebody set it back by one.
    """

    def __init__(self) -> None:
        self._began, self._ticks = datetime.now(UTC).replace(tzinfo=self), monotonic()

    def now(self) -> datetime:
        """Labelled with this zone, so that nothing is ever converted to it."""
        return self._began + timedelta(seconds=monotonic() - self._ticks)

    def fromutc(self, _: datetime) -> datetime:
        """`datetime.now` asks what the wall clock's time means here: nothing."""
        return self.now()

    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(0)

    def dst(self, _: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, _: datetime | None) -> str:
        return "steady"


class _Every(BaseTrigger):  # type: ignore[misc]  # has no types
    """A time after the last one. Unlike APScheduler's own, it converts nothing to another zone."""

    def __init__(self, seconds: float) -> None:
        self._interval = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        return (previous or now) + self._interval


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
        self.interval_seconds = interval_seconds
        """Between two cycles without finds."""
        self._emit = emit
        self._on_failure = on_failure
        self._pause = Pause()
        self._quiet = False
        self._lock = Lock()
        self._running = False
        self._called = False
        self._ended = False
        self._time = SteadyTime()
        self._scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(max_workers=1)}, timezone=self._time, daemon=True
        )

    def start(self) -> None:
        """The first tick is now."""
        # Two instances for the moment in which one ends and the next begins; the one thread keeps them apart.
        self._scheduler.add_job(
            self._run,
            _Every(self.interval_seconds),
            id=STAGE,
            next_run_time=self._time.now(),
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
        self.interval_seconds = seconds
        if self._scheduler.running:
            self._scheduler.reschedule_job(STAGE, trigger=_Every(seconds))
        self.soon()

    def end(self) -> None:
        """No more ticks. Does not wait for one that runs."""
        with self._lock:
            self._ended = True

    def stop(self) -> None:
        """No more ticks. Waits for one that runs."""
        self.end()
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
            self._scheduler.modify_job(STAGE, next_run_time=self._time.now() + timedelta(seconds=pause))

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
        self._emit(Worked(stage=STAGE, items=swept.queued, seconds=seconds))
        self._quiet = is_quiet(swept, before=self._quiet and not self._called)
        return next_pause(swept, quiet=self._quiet, seconds=seconds, interval=self.interval_seconds)
