"""Feeds systemd's watchdog for as long as the pipeline gets on."""

from collections.abc import Callable

import structlog

from daemon.health import Health
from daemon.service.systemd import Notifier

FEEDS_PER_WATCH = 2
"""Feeds in the time that the watchdog waits, as sd_watchdog_enabled(3) advises."""

_log = structlog.get_logger("vectord")


class Watchdog:
    """Each call feeds it, unless a stage has ended or the pipeline stalls: then systemd kills and starts anew.

    A fault of the surroundings, such as PostgreSQL being away, does not stop the feeding: a restart would not mend it.
    """

    def __init__(self, notifier: Notifier, health: Callable[[], Health]) -> None:
        self._notifier = notifier
        self._health = health
        self._starved = False

    def __call__(self) -> None:
        now = self._health()
        if now.healthy:
            self._notifier.feed()
        elif not self._starved:
            _log.critical("watchdog.starved", status=now.status)
        self._starved = not now.healthy
