"""Memory and CPU time of the loader processes, out of /proc."""

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from daemon.telemetry.readings import Reading

UTIME, STIME, RSS = 11, 12, 21
"""Places in /proc/PID/stat, counted from the state, which follows the name in parentheses. Source: proc(5)."""


class Usage(NamedTuple):
    """Of one process: CPU time in seconds, and resident memory in bytes."""

    cpu: float
    memory: int


def usage(pid: int, proc: Path = Path("/proc")) -> Usage | None:
    """What a process has used; None when it is gone."""
    try:
        text = (proc / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name may hold spaces and parentheses of its own.
    fields = text.rpartition(")")[2].split()
    ticks = int(fields[UTIME]) + int(fields[STIME])
    return Usage(cpu=ticks / os.sysconf("SC_CLK_TCK"), memory=int(fields[RSS]) * os.sysconf("SC_PAGE_SIZE"))


class LoaderProcesses:
    """Knows which loaders live, as it is told. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._cpu: dict[int, float] = {}
        self._cpu_of_ended = 0.0
        self._lock = Lock()

    def started(self, pid: int) -> None:
        with self._lock:
            self._cpu[pid] = 0.0

    def ended(self, pid: int) -> None:
        """It is gone, and with it what it used since it was last looked at."""
        with self._lock:
            self._cpu_of_ended += self._cpu.pop(pid, 0.0)

    def readings(self) -> Iterator[Reading]:
        with self._lock:
            found = {pid: seen for pid in self._cpu if (seen := usage(pid)) is not None}
            self._cpu.update((pid, seen.cpu) for pid, seen in found.items())
            cpu = self._cpu_of_ended + sum(self._cpu.values())
        memory = [seen.memory for seen in found.values()]
        yield Reading("loader_cpu_seconds", cpu)
        yield Reading("loader_resident_memory_bytes", sum(memory))
        yield Reading("loader_largest_resident_memory_bytes", max(memory, default=0))
