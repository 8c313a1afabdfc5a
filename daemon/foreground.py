"""`run`: the daemon in the foreground, under systemd or on a terminal, until somebody asks it to stop."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Protocol

import structlog

from daemon import VERSION, wiring
from daemon.clock import SystemClock
from daemon.config import Settings
from daemon.errors import ConfigurationError, DatabaseUnavailableError, VectordError
from daemon.policy import Pause
from daemon.service import statusline
from daemon.service.reload import compare, live_values
from daemon.service.signals import StopRequest, has_terminal, on_signals
from daemon.service.statusline import StatusLine
from daemon.service.systemd import Notifier, watchdog_seconds
from daemon.service.ticker import Ticker
from daemon.service.watchdog import FEEDS_PER_WATCH, Watchdog
from daemon.telemetry import logs
from daemon.wanted import NotWantedError

START_SECONDS = 900.0
"""For one try to start: a first one may fetch weights and convert the model. After that systemd's patience counts."""
EXTENSION_SECONDS, EXTENSIONS_EVERY = 60.0, 20.0

leave = os._exit
"""Without closing anything."""
_log = structlog.get_logger("vectord")


class Running(statusline.Working, Protocol):
    """What is needed of a daemon that is up: `wiring.Daemon`."""

    @property
    def signature(self) -> str: ...
    @property
    def address(self) -> str: ...

    def reload(self, settings: Settings) -> None:
        """Goes by these from now on. Raises `ConfigurationError`, and then nothing has changed."""

    def hurry(self) -> None:
        """Cuts the drain short: what is in hand is given back at once."""


def run(read: Callable[[], Settings]) -> int:
    """Gives the exit status: 2 for a wrong configuration, which a restart would not mend; 1 when the daemon could not
    start or a stage could not go on, so that systemd starts it anew.

    A PostgreSQL that is away at the start is waited for. `read` reads the configuration, at the start and for a reload.
    On a terminal a `VectordError` is raised for whoever sits there; elsewhere it is one log line, and systemd's status.
    """
    notifier = Notifier()
    logs.configure(level="info", form="auto")
    try:
        settings = read()
        logs.configure(level=settings.log.level, form=settings.log.format)
        return Foreground(settings, read, notifier).run()
    except VectordError as error:
        notifier.status(str(error))
        if sys.stderr.isatty():
            raise
        _log.critical("daemon.not_started", error=str(error))
        return 2 if isinstance(error, ConfigurationError) else 1


class Foreground:
    """One run of the daemon, and what is asked of it from outside meanwhile."""

    def __init__(self, settings: Settings, read: Callable[[], Settings], notifier: Notifier) -> None:
        self._settings = settings
        self._read = read
        self._notifier = notifier
        self._stop = StopRequest()
        self._ends = 0
        self._daemon: Running | None = None
        self._defects: list[BaseException] = []

    def run(self) -> int:
        """The exit status. Raises `VectordError` when the daemon cannot start."""
        hang_up = self._end if has_terminal() else self._reload
        with (
            on_signals({signal.SIGTERM: self._end, signal.SIGINT: self._end, signal.SIGHUP: hang_up}),
            ExitStack() as stack,
        ):
            self._daemon = self._opened(stack)
            if self._daemon is not None:
                self._serve(self._daemon)
        _log.info("daemon.stopped")
        return 1 if self._defects else 0

    def _opened(self, stack: ExitStack) -> Running | None:
        """None when somebody asked for the end before it was up."""
        pause = Pause()
        while True:
            try:
                self._extend(EXTENSION_SECONDS)
                with Ticker("start", EXTENSIONS_EVERY, self._extension()):
                    return stack.enter_context(self._opening())
            except NotWantedError:
                return None
            except DatabaseUnavailableError as error:
                seconds = pause.next()
                _log.warning("database.unavailable", error=str(error), pause=seconds, key="database.dsn")
                self._notifier.status(f"waiting for PostgreSQL: {error}")
                self._extend(seconds + EXTENSION_SECONDS)
                if self._stop.wait(seconds):
                    return None
            except VectordError as error:
                if not self._stop.wait(0):
                    raise
                # A signal to all processes, as a terminal sends it, ends the children of the start as well.
                _log.info("start.given_up", error=str(error))
                return None

    def _opening(self) -> AbstractContextManager[Running]:
        return wiring.open_daemon(self._settings, on_failure=self._fail, still_wanted=self._still_wanted)

    def _still_wanted(self) -> None:
        if self._stop.wait(0):
            raise NotWantedError

    def _extend(self, seconds: float) -> None:
        """A start asks systemd for more time, but an end that was asked for has its own."""
        if not self._stop.wait(0):
            self._notifier.extend(seconds)

    def _extension(self) -> Callable[[], None]:
        """Asks systemd for more time, but not for ever: a start that hangs is to be ended."""
        clock = SystemClock()
        deadline = clock.monotonic() + START_SECONDS

        def extend() -> None:
            if clock.monotonic() < deadline:
                self._extend(EXTENSION_SECONDS)

        return extend

    def _serve(self, daemon: Running) -> None:
        with ExitStack() as tickers:
            if seconds := watchdog_seconds():
                watchdog = Watchdog(self._notifier, daemon.health)
                # Who cannot say how the daemon is feeds nobody.
                tickers.enter_context(Ticker("watchdog", seconds / FEEDS_PER_WATCH, watchdog, mortal=True))
            self._notifier.ready("ready")
            _log.info("daemon.ready", version=VERSION, signature=daemon.signature, address=daemon.address)
            line = StatusLine(daemon, SystemClock())
            tickers.enter_context(Ticker("status", statusline.SECONDS, lambda: self._notifier.status(line())))
            self._stop.wait()
        self._notifier.stopping("finishing what is in hand")
        _log.info("daemon.stopping")

    def _fail(self, error: BaseException) -> None:
        self._defects.append(error)
        self._stop.ask()

    def _end(self) -> None:
        """Somebody asks for the end; the second time, for a quick one."""
        self._ends += 1
        if self._ends > 1:
            _log.warning("daemon.hurried")
            self._hurry()
        self._stop.ask()
        if self._daemon is None:
            self._notifier.status("the start is given up")

    def _hurry(self) -> None:
        if self._daemon is not None:
            self._daemon.hurry()
        else:
            # Nothing is in work yet, and what the start hangs in may not let go of it.
            leave(0)

    def _reload(self) -> None:
        if self._daemon is None or self._stop.wait(0):
            _log.warning("reload.refused", error="the daemon is not up")
            return
        self._notifier.reloading()
        try:
            told = self._take_over(self._daemon, self._read())
        except Exception as error:  # noqa: BLE001 - whatever it is, systemd has to hear of the end, and the daemon goes on
            _log.error("reload.refused", error=str(error), exc_info=not isinstance(error, VectordError))
            told = f"reload refused, nothing has changed: {error}"
        self._notifier.ready(told)

    def _take_over(self, daemon: Running, wanted: Settings) -> str:
        """What can change while the daemon runs; gives a sentence."""
        before, after = self._settings.model_dump(by_alias=True), wanted.model_dump(by_alias=True)
        settings = self._settings.changed(live_values(after))
        daemon.reload(settings)
        logs.configure(level=settings.log.level, form=settings.log.format)
        self._settings = settings
        changed = compare(before, after)
        _log.info("reload.done", changed=changed.live)
        if not changed.restart:
            return "reloaded"
        _log.warning("reload.needs_restart", keys=changed.restart)
        return f"reloaded, but for what needs a restart: {', '.join(changed.restart)}"
