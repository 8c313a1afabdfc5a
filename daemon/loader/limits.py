"""What a loader may take: memory, processor time, and no life beyond its parent's."""

import ctypes
import os
import resource
import signal
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
"""Source: prctl(2)."""


def bind_to_parent(parent: int) -> None:
    """Have the kernel kill this process when the parent's thread that started it ends, however that comes about.

    Neither may it, or what it starts, gain rights that the parent has not.
    A socket's end-of-file would do for a healthy child; this holds for one that is stuck inside a codec, too.
    """
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # It ended before the call.
        os._exit(0)


def leave_signals_to_parent() -> None:
    """Ctrl-C and systemd signal the whole group, but the parent decides when a loader ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def limit_memory(megabytes: int) -> None:
    """Allow so much address space beyond what is in use now; no core files, and no long error output."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    ceiling = pages * resource.getpagesize() + megabytes * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * 1024, 1024 * 1024))


def limit_processor_time(seconds: float) -> None:
    """Allow so many more seconds of processor time, after which the kernel ends the process (SIGXCPU).

    The parent's deadline is the rule; this one holds while the parent cannot look.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.getrlimit(resource.RLIMIT_CPU)[1]))
