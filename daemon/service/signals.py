"""SIGTERM, SIGINT, and the SIGHUP of a terminal that was closed ask for an end."""

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequest:
    """Set when someone asks the daemon to end: a signal, or a stage that cannot go on."""

    def __init__(self) -> None:
        self._asked = Event()

    def ask(self) -> None:
        self._asked.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until asked; False when `timeout` seconds went by."""
        return self._asked.wait(timeout)


@contextmanager
def stop_on_signals(ask: Callable[[], None]) -> Iterator[None]:
    """While this lasts, these signals call `ask` instead of killing.

    `ask` runs on a thread of its own: in a signal handler it could meet a lock that the interrupted main thread holds.
    """
    reader, writer = socket.socketpair()
    writer.settimeout(0)
    thread = Thread(target=_listen, args=(reader, ask), name="vectord-signals", daemon=True)
    thread.start()
    before = {number: signal.signal(number, _ignore) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(writer.fileno())
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        writer.close()
        thread.join()
        reader.close()


def _listen(reader: socket.socket, ask: Callable[[], None]) -> None:
    while received := reader.recv(1):
        if received[0] in SIGNALS:
            ask()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """A handler of Python's must exist for the interpreter to write the signal's number to the wake-up socket."""
