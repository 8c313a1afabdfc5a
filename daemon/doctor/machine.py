"""Looks at what this machine gives a process: disk, open files, memory."""

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from daemon import options
from daemon.api.bounds import limit_of_open_files
from daemon.config import Settings
from daemon.loader.options import LoaderOptions

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the configuration asks for, in bytes and open files."""

    open_files: int
    http_waiting: int
    arena_bytes: int
    loaders_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What there is, in bytes and open files. `writable`: this user may write to `state_dir`, or make it."""

    state_dir: Path
    writable: bool
    disk_free: int
    open_files: int
    memfd: bool
    temporary: str
    temporary_free: int
    memory: int


def needs(settings: Settings, loading: LoaderOptions) -> Needs:
    """Each request that waits holds a connection, which is an open file."""
    return Needs(
        open_files=options.open_files(settings),
        http_waiting=settings.http.max_waiting,
        arena_bytes=loading.all_slots * loading.input_size**2 * 3,
        loaders_bytes=loading.processes * loading.memory_mb * 1024 * 1024,
    )


def look_at_machine(state_dir: Path) -> Machine:
    """The limits of this very process: under systemd they may be others."""
    # Path.exists raises where a folder may not be searched.
    there = next(folder for folder in (state_dir, *state_dir.parents) if os.path.exists(folder))  # noqa: PTH110
    temporary = tempfile.gettempdir()
    return Machine(
        state_dir=state_dir,
        writable=there.is_dir() and os.access(there, os.W_OK | os.X_OK),
        disk_free=shutil.disk_usage(there).free,
        open_files=limit_of_open_files(),
        memfd=_has_memfd(),
        temporary=temporary,
        temporary_free=shutil.disk_usage(temporary).free,
        memory=_memory(),
    )


def _has_memfd() -> bool:
    try:
        os.close(os.memfd_create("vectord-check"))
    except (AttributeError, OSError):
        return False
    return True


def _memory() -> int:
    """The machine's, or the control group's where that allows less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        return min(total, int(CGROUP_LIMIT.read_text()))
    return total
