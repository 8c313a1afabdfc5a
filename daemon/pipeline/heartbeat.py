"""Renews the leases of what is in flight, so that a slow daemon keeps its claims and a dead one loses them."""

from collections.abc import Sequence
from threading import Event
from typing import Protocol

from daemon.clock import SystemClock
from daemon.errors import VectordError
from daemon.events import Emit, Hindered, Worked
from daemon.pipeline.inflight import Inflight
from daemon.policy import Pause
from daemon.records import Claim

STAGE = "heartbeat"
BEATS_PER_LEASE = 3
"""Two beats may be lost before a lease is."""
LONGEST_BEAT = 20.0
"""However long the lease is: whoever has shown no sign of life for three of these counts as gone in `status`."""


class Leases(Protocol):
    """Whose leases they are: `db.jobs.JobQueue`."""

    def renew(self, claims: Sequence[Claim]) -> int: ...


def beat_seconds(lease_seconds: float) -> float:
    """Between two beats."""
    return min(lease_seconds / BEATS_PER_LEASE, LONGEST_BEAT)


class Heartbeat:
    """Beats three times a lease or more. Also without claims: the row in `worker` says that this daemon is alive.

    A beat that failed is made up for as soon as may be, since the leases run out meanwhile.
    """

    def __init__(self, leases: Leases, inflight: Inflight, *, lease_seconds: float, emit: Emit) -> None:
        self._leases = leases
        self._inflight = inflight
        self._seconds = beat_seconds(lease_seconds)
        self._emit = emit
        self._clock = SystemClock()
        self._stopped = Event()

    def stop(self) -> None:
        self._stopped.set()

    def run(self) -> None:
        """Beats until stopped. Runs on a thread of its own."""
        pause = Pause(min(self._seconds, Pause.LONGEST))
        while not self._stopped.is_set():
            try:
                self._beat()
            except VectordError as error:
                seconds = pause.next()
                self._emit(Hindered(stage=STAGE, error=error, pause=seconds))
            else:
                pause.reset()
                seconds = self._seconds
            self._stopped.wait(seconds)

    def _beat(self) -> None:
        with self._inflight.settling:
            began = self._clock.monotonic()
            renewed = self._leases.renew(self._inflight.claims())
        # Told of each, also of none renewed: it is what ends a hindrance.
        self._emit(Worked(stage=STAGE, items=renewed, seconds=self._clock.monotonic() - began))
