"""One loader as the parent sees it: a process, a socket, and the tasks that it has in hand."""

import os
import resource
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from daemon.errors import Reason
from daemon.loader.options import LoaderOptions, to_plain
from daemon.loader.shared import Arena, anonymous_file
from daemon.loader.tasks import Task
from daemon.loader.verdict import Death
from daemon.loader.wire import Channel, Order, make_channels, order_message

_ROOT = Path(__file__).resolve().parents[2]
"""The folder that the package `daemon` lies in."""
_LAST_WORDS = 32 * 1024
"""Bytes of error output that are looked at: after what a library said last comes a dump of every thread's stack."""
ALLOCATION = {
    # Each arena sets aside 64 MiB of address space.
    "MALLOC_ARENA_MAX": "2",
    # Pictures come and go, each of some MiB: to give their pages back each time costs 3 % of a loader's time.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
}
"""How a loader's memory is kept."""
_NOT_FOR_LOADERS = ("VECTORD_", "POSTGRES_", "PG", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_")
"""Beginnings of variables that hold the database's password or speak for the daemon."""


@dataclass(slots=True, kw_only=True, eq=False)
class Child:
    """A running loader. Owned by the dispatcher's thread."""

    process: subprocess.Popen[bytes]
    exit_file: int
    """Readable when the process has ended (pidfd)."""
    channel: Channel
    error_file: int
    started: float
    capacity: int
    urgent_capacity: int
    """Tasks beyond those, if they are urgent."""
    inherited_peak: int
    """KiB. Linux counts what the parent had resident as the child's own, so a peak says something above that alone."""
    solo: bool = False
    ready: bool = False
    listening: bool = True
    leaving: bool = False
    """Gets no more tasks."""
    dismissed: bool = False
    since: float = 0.0
    """When it was dismissed."""
    dying: bool = False
    killed_for: Reason | None = None
    culprit: Task | None = None
    """The task that it was killed over."""
    finished: int = 0
    tasks: dict[int, Task] = field(default_factory=dict)

    def free(self, *, urgent: bool = False) -> int:
        """How many more tasks it would take now."""
        if not self.ready or self.leaving or self.dying:
            return 0
        room = self.capacity + self.urgent_capacity - len(self.tasks)
        return room if urgent else min(room, self.capacity - sum(not one.claim.urgent for one in self.tasks.values()))

    def send(self, task: Task) -> None:
        """Hand it a task. Raises `OSError` when it does not listen."""
        location = task.claim.location if task.file is None else None
        if task.file is not None:  # Whoever had it before may have read from it.
            os.lseek(task.file, 0, os.SEEK_SET)
        order = Order(
            task=task.number,
            slot=task.slot,
            location=location if isinstance(location, str) else None,
            thumbnail=task.thumbnail,
            urgent=task.claim.urgent,
        )
        self.channel.send(order_message(order), task.file)
        self.tasks[task.number] = task

    def dismiss(self, now: float) -> None:
        """Let it go: it ends by itself when its socket does."""
        self.leaving = self.dismissed = True
        self.since = now
        self.channel.socket.shutdown(socket.SHUT_WR)

    def kill(self, reason: Reason | None = None, culprit: Task | None = None) -> None:
        """End it now. Its slots may still be written to until `bury`. The first reason is the one that counts."""
        if not self.dying:
            self.killed_for, self.culprit = reason, culprit
        self.dying = True
        # Popen.kill would look for the exit status, and take it where it is there.
        signal.pidfd_send_signal(self.exit_file, signal.SIGKILL)

    def bury(self) -> Death:
        """Take its exit status and close its files. Only once `exit_file` is readable."""
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        words = _tail(self.error_file)
        os.close(self.error_file)
        os.close(self.exit_file)
        self.channel.socket.close()
        return Death(
            status=self.process.returncode,
            killed_for=self.killed_for,
            last_words=words,
            peak_bytes=usage.ru_maxrss * 1024 if usage.ru_maxrss > self.inherited_peak else 0,
        )


def start_child(options: LoaderOptions, arena: Arena, *, now: float, solo: bool) -> Child:
    """Start a loader. To be called by a thread that outlives it: the kernel kills it with that thread.

    Raises `OSError` when the system has no process or file to spare.
    """
    with ExitStack() as undo:
        ours, theirs = make_channels()
        undo.callback(ours.close)
        error_file = anonymous_file("vectord-loader-errors")
        undo.callback(os.close, error_file)
        with theirs:
            process = _spawn(theirs.fileno(), arena.file, error_file)
        undo.callback(process.wait)
        undo.callback(process.kill)
        exit_file = os.pidfd_open(process.pid)
        ours.settimeout(0)
        channel = Channel(ours)
        channel.send(to_plain(options))
        undo.pop_all()
    return Child(
        process=process,
        exit_file=exit_file,
        channel=channel,
        error_file=error_file,
        started=now,
        capacity=1 if solo else options.threads,
        urgent_capacity=0 if solo else options.urgent_threads,
        inherited_peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        solo=solo,
    )


def _spawn(end: int, arena: int, errors: int) -> subprocess.Popen[bytes]:
    """A fresh interpreter: no fork of a process with threads, and none of what the parent has loaded."""
    handles = [str(end), str(arena), str(os.getpid())]
    command = [sys.executable, "-P", "-X", "faulthandler", "-m", "daemon.loader.worker", *handles]
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        pass_fds=(end, arena),
        start_new_session=True,
    )


def _environment() -> dict[str, str]:
    """Ours without its secrets, and how glibc is to handle a loader's memory.

    Drivers of stores take their credentials from the environment, so it cannot be empty.
    """
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_FOR_LOADERS)}
    return {**kept, "PYTHONPATH": path, **ALLOCATION}


def _tail(file: int) -> str:
    """The last of what was written, as text."""
    size = os.fstat(file).st_size
    return os.pread(file, _LAST_WORDS, max(0, size - _LAST_WORDS)).decode("utf-8", "replace").strip()
