"""How long PostgreSQL's answers are waited for: as long as it takes in work, and seconds once the end is asked for.

TCP does not notice a server that stands still, or a pooler that takes queries and never answers. Whoever waits for such
an answer is let go after a while, and at the end before systemd's own patience is over.
"""

from typing import Protocol

import structlog

LOOK_SECONDS = 1.0
"""Between two looks at what is waited for: they cost nothing beside a wait of any length."""

_log = structlog.get_logger("vectord")


class Breakable(Protocol):
    """Connections whose transactions can be broken off: `db.pool.Pool`."""

    def break_off(self, seconds: float) -> int: ...


class Patience:
    """Breaks off the transactions of these pools that last longer than `seconds`. To be called every `LOOK_SECONDS`."""

    def __init__(self, *pools: Breakable, seconds: float) -> None:
        self._pools = pools
        self._seconds = seconds

    def lessen(self, seconds: float) -> None:
        """No more than so long from now on, for what is waited for already as well. For any thread; never takes back
        what was said before.
        """
        self._seconds = min(self._seconds, seconds)

    def __call__(self) -> None:
        seconds = self._seconds
        if number := sum(pool.break_off(seconds) for pool in self._pools):
            _log.warning("database.no_answer", connections=number, seconds=seconds, key="database.dsn")
