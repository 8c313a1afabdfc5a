"""Signals become calls, on a thread of their own."""

import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread
from types import FrameType

import structlog

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Those that ask a command to end; the last one is a terminal that was closed."""

Calls = Mapping[int, Callable[[], None]]
_log = structlog.get_logger("vectord")


class StopRequest:
    """Set when someone asks the daemon to end: a signal, or a stage that cannot go on."""

    def __init__(self) -> None:
        self._asked = Event()

    def ask(self) -> None:
        self._asked.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until asked; False when `timeout` seconds went by."""
        return self._asked.wait(timeout)


def has_terminal() -> bool:
    """Whether there is a terminal that could be closed. Source: tty(4): without one, /dev/tty cannot be opened."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


@contextmanager
def stop_on_signals(ask: Callable[[], None]) -> Iterator[None]:
    """While this lasts, SIGTERM, SIGINT and SIGHUP call `ask` instead of killing."""
    with on_signals(dict.fromkeys(SIGNALS, ask)):
        yield


@contextmanager
def on_signals(calls: Calls) -> Iterator[None]:
    """While this lasts, each of these signals makes its call, one after the other.

    The calls run on a thread: in a signal handler they could meet a lock that the interrupted main thread holds. A
    SIGHUP that whoever started us had us ignore (nohup) stays ignored.
    """
    calls = {number: call for number, call in calls.items() if not _nohup(number)}
    reader, writer = socket.socketpair()
    writer.settimeout(0)
    thread = Thread(target=_listen, args=(reader, calls), name="vectord-signals", daemon=True)
    thread.start()
    before = {number: signal.signal(number, _ignore) for number in calls}
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


def _nohup(number: int) -> bool:
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


def _listen(reader: socket.socket, calls: Calls) -> None:
    while received := reader.recv(1):
        if call := calls.get(received[0]):
            try:
                call()
            except Exception:  # noqa: BLE001 - the next signal may be the one to end
                _log.exception("signal.failed", number=received[0])


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """A handler of Python's must exist for the interpreter to write the signal's number to the wake-up socket."""
