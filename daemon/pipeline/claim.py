"""claim: leases due jobs, as many as there is room for."""

from threading import Condition
from typing import Protocol

from daemon.clock import Clock
from daemon.errors import VectordError
from daemon.events import Emit, Hindered, Worked
from daemon.pipeline.inflight import Inflight
from daemon.policy import Pause
from daemon.records import Claim

STAGE = "claim"
SOON = 0.25
"""Seconds after which a claim is worth its transaction although there is little room."""


class Queue(Protocol):
    """Where jobs come from: `db.jobs.JobQueue`."""

    def claim(self, limit: int) -> list[Claim]: ...
    def seconds_until_due(self) -> float | None: ...


class Loaders(Protocol):
    """Where claims go: `loader.pool.LoaderPool`. None are free while loaders die as soon as they start."""

    def free(self) -> int: ...
    def submit(self, claim: Claim) -> None: ...


class ClaimStage:
    """Claims when woken, when a job comes due, and every `poll_seconds` in case nobody called.

    A claim that came back full means that there is more, so it goes on while there is room. Nothing is claimed
    for the sake of a job or two: it waits until a quarter of the room is free, unless the queue had run dry, or the
    last claim was `SOON` ago: what has been written since goes before a backfill, whose rooms may come free slowly.
    """

    def __init__(
        self,
        queue: Queue,
        inflight: Inflight,
        loaders: Loaders,
        *,
        poll_seconds: float,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._queue = queue
        self._inflight = inflight
        self._loaders = loaders
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._emit = emit
        self._pause = Pause()
        self._changed = Condition()
        self._look = True
        self._look_at = 0.0
        self._claimed_at = 0.0
        self._suspended = False
        self._stopping = False

    def wake(self) -> None:
        """Look now: there may be work. Costs nothing when there is none, and many calls cost as much as one."""
        with self._changed:
            self._look = True
            self._changed.notify()

    def room_changed(self) -> None:
        """Some claim was finished, so there may be room for others."""
        with self._changed:
            self._changed.notify()

    def poll_every(self, seconds: float) -> None:
        """How often to look when nobody calls, from the next look on."""
        with self._changed:
            self._poll_seconds = seconds
            self._look = True
            self._changed.notify()

    def suspend(self, *, suspended: bool) -> None:
        """Claims nothing while suspended: another daemon's model counts now."""
        with self._changed:
            self._suspended = suspended
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def run(self) -> None:
        """Claims until stopped. Runs on a thread of its own."""
        while self._wait():
            try:
                self._claim()
                self._pause.reset()
            except VectordError as error:
                self._hindered(error)

    def _wait(self) -> bool:
        """Waits until there is a reason to look and room for what is found. False when stopped."""
        with self._changed:
            while not self._stopping:
                wait = self._seconds_left(self._clock.monotonic())
                if wait <= 0:
                    self._look = False
                    return True
                self._changed.wait(wait)
            return False

    def _seconds_left(self, now: float) -> float:
        """Until the next claim, if nothing changes meanwhile: 0 for now."""
        if not self._look and now < self._look_at:
            return self._look_at - now
        room = self._room()
        if room >= self._inflight.limit / 4:
            return 0.0
        return max(0.0, self._claimed_at + SOON - now) if room else self._poll_seconds

    def _room(self) -> int:
        return 0 if self._suspended else min(self._inflight.room, self._loaders.free())

    def _claim(self) -> None:
        room, began = self._room(), self._clock.monotonic()
        self._claimed_at = began
        claims = self._queue.claim(room)
        self._inflight.add(claims)
        for claim in claims:
            self._loaders.submit(claim)
        self._emit(Worked(stage=STAGE, items=len(claims), seconds=self._clock.monotonic() - began))
        if len(claims) == room:
            self.wake()
        else:
            self._sleep(self._queue.seconds_until_due())

    def _sleep(self, until_due: float | None) -> None:
        wait = self._poll_seconds if until_due is None else min(until_due, self._poll_seconds)
        self._look_at = self._clock.monotonic() + wait

    def _hindered(self, error: VectordError) -> None:
        pause = self._pause.next()
        self._emit(Hindered(stage=STAGE, error=error, pause=pause))
        with self._changed:
            self._look_at = self._clock.monotonic() + pause
            # A wake during the fault must not turn the pause into hammering.
            self._changed.wait_for(lambda: self._stopping, pause)
