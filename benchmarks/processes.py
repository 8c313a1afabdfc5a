"""What processes and their children use: processor time and memory, as Linux counts them."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PARENT, USED = 1, slice(11, 15)
"""Of the fields of /proc/PID/stat after the name: the parent, and utime, stime, cutime, cstime (proc(5))."""


def family(pid: int) -> list[int]:
    """This process and all that descend from it; empty when it is gone."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
    return [pid, *(one for thread in threads for child in _children(thread) for one in family(child))]


def _children(thread: Path) -> list[int]:
    try:
        return [int(child) for child in (thread / "children").read_text().split()]
    except OSError:
        return []


def parent(pid: int) -> int:
    """The process that started this one. Raises `OSError` when there is none such."""
    return int(_stat(pid)[PARENT])


def processor_seconds(roots: Iterable[int]) -> float:
    """What these processes and their descendants have used so far, also those that have ended and were waited for."""
    return sum(_used(pid) for root in roots for pid in family(root))


def memory_mib(roots: Iterable[int], *, alone: bool = False) -> float:
    """Their proportional set size, and unless `alone` their descendants': what several share counts once, in parts."""
    return sum(_pss_kib(pid) for root in roots for pid in ([root] if alone else family(root))) / 1024


@dataclass(frozen=True, kw_only=True)
class Cores:
    """Seconds that all cores together have been idle, and that have passed for them, since the machine was started."""

    idle: float
    all: float

    def __sub__(self, other: "Cores") -> "Cores":
        return Cores(idle=self.idle - other.idle, all=self.all - other.all)


def cores() -> Cores:
    """The machine's, as of now (proc(5), /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal)."""
    spent = [int(field) / TICKS for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return Cores(idle=spent[3] + spent[4], all=sum(spent))


def _used(pid: int) -> float:
    try:
        return sum(map(int, _stat(pid)[USED])) / TICKS
    except OSError:
        return 0.0


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _pss_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
