"""What `systemctl status` shows: how the daemon is, what waits, and how fast it goes."""

from typing import Protocol

from daemon.clock import Clock
from daemon.errors import VectordError
from daemon.health import Health

SECONDS = 10.0
"""Between two lines: of use to whoever looks, and no burden on PostgreSQL."""


class Working(Protocol):
    """A daemon at work: `wiring.Daemon`."""

    def health(self) -> Health: ...

    def settled(self) -> int:
        """Images that came to an outcome since the start."""

    def backlog(self) -> int:
        """Jobs that wait. Raises `VectordError` when nobody can say."""


class StatusLine:
    """Each call gives the line of this moment; the rate is that since the call before."""

    def __init__(self, daemon: Working, clock: Clock) -> None:
        self._daemon = daemon
        self._clock = clock
        self._then = clock.monotonic()
        self._settled = daemon.settled()

    def __call__(self) -> str:
        return f"{self._daemon.health().status}; {self._waiting()}; {self._rate():.1f} images/s"

    def _waiting(self) -> str:
        try:
            return f"backlog {self._daemon.backlog()}"
        except VectordError:
            return "backlog unknown"

    def _rate(self) -> float:
        now, settled = self._clock.monotonic(), self._daemon.settled()
        seconds, items = now - self._then, settled - self._settled
        self._then, self._settled = now, settled
        return items / seconds if seconds > 0 else 0.0
