"""`run`: the daemon in the foreground, until somebody asks it to stop."""

from collections.abc import Callable
from contextlib import ExitStack

import structlog

from daemon import wiring
from daemon.config import Settings
from daemon.errors import DatabaseUnavailableError
from daemon.policy import Pause
from daemon.service.signals import StopRequest
from daemon.service.systemd import Notifier

_log = structlog.get_logger("vectord")


def run(settings: Settings, stop: StopRequest) -> int:
    """Gives the exit status: 1 when a stage could not go on, so that systemd starts the daemon anew.

    A PostgreSQL that is away at the start is waited for. Raises `VectordError` when the daemon cannot start at all.
    """
    defects: list[BaseException] = []

    def fail(error: BaseException) -> None:
        defects.append(error)
        stop.ask()

    with ExitStack() as stack:
        daemon = _opened(settings, stop, stack, fail)
        if daemon is not None:
            notifier = Notifier()
            notifier.ready("ready")
            _log.info("daemon.ready", signature=daemon.signature, address=daemon.address)
            stop.wait()
            notifier.stopping("finishing what is in hand")
            _log.info("daemon.stopping")
    _log.info("daemon.stopped")
    return 1 if defects else 0


def _opened(
    settings: Settings, stop: StopRequest, stack: ExitStack, on_failure: Callable[[BaseException], None]
) -> wiring.Daemon | None:
    pause = Pause()
    while True:
        try:
            return stack.enter_context(wiring.open_daemon(settings, on_failure=on_failure))
        except DatabaseUnavailableError as error:
            seconds = pause.next()
            _log.warning("database.unavailable", error=str(error), pause=seconds, key="database.dsn")
            if stop.wait(seconds):
                return None
