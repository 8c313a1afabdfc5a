"""systemd's notifications. Source: sd_notify(3): datagrams of `KEY=value` lines to $NOTIFY_SOCKET."""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

from daemon.redact import redact

_LONGEST_STATUS = 400
"""Characters of a status: what `systemctl status` shows in a few lines."""
_MICROSECONDS = 1_000_000


class Notifier:
    """Tells systemd how we are; does nothing where nobody listens, and never fails: no work stops for a status."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of an abstract socket.
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self, status: str) -> None:
        """Up, or done with a reload."""
        self._send("READY=1", _status(status))

    def status(self, status: str) -> None:
        self._send(_status(status))

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it. With the time, as Type=notify-reload (systemd 253) wants it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        self._send("STOPPING=1", _status(status))

    def feed(self) -> None:
        """To the watchdog: all is well."""
        self._send("WATCHDOG=1")

    def extend(self, seconds: float) -> None:
        """Asks for so many seconds from now, whatever TimeoutStartSec or TimeoutStopSec says."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * _MICROSECONDS)}")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.connect(self._address)
            out.sendall("\n".join(lines).encode())


def watchdog_seconds(environment: Mapping[str, str] = os.environ, pid: int | None = None) -> float | None:
    """How long systemd's watchdog waits for a sign of life; None where it does not watch this process.

    Source: sd_watchdog_enabled(3).
    """
    given, watched = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not given.isdigit() or int(given) == 0:
        return None
    if watched and watched != str(os.getpid() if pid is None else pid):
        return None
    return int(given) / _MICROSECONDS


def _status(text: str) -> str:
    """In one line: the next one would be read as another key. Whoever may look at the unit reads it, so no secrets."""
    return f"STATUS={' '.join(redact(text).split())[:_LONGEST_STATUS]}"
