"""Does something again and again, on a thread of its own."""

from collections.abc import Callable
from threading import Event, Thread
from types import TracebackType
from typing import Self

import structlog

_log = structlog.get_logger("vectord")


class Ticker:
    """While this lasts, `tick` is called every `seconds`.

    An exception of `tick` is a defect: the log says so, once for those in a row, and the next tick may do better. A
    `mortal` one ends by it.
    """

    def __init__(self, name: str, seconds: float, tick: Callable[[], None], *, mortal: bool = False) -> None:
        self._name = name
        self._seconds = seconds
        self._tick = tick
        self._mortal = mortal
        self._failing = False
        self._stopped = Event()
        self._thread = Thread(target=self._run, name=f"vectord-{name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Lets a tick that is under way end by itself: it may wait for PostgreSQL."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            if self._mortal:
                self._tick()
            else:
                self._tick_or_tell()

    def _tick_or_tell(self) -> None:
        try:
            self._tick()
        except Exception:  # noqa: BLE001 - as said above
            if not self._failing:
                _log.exception("ticker.failed", ticker=self._name)
            self._failing = True
        else:
            self._failing = False
