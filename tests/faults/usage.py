"""What a daemon and its loaders hold at a moment, out of /proc, and whether that stays flat over time."""

import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

MEGABYTE = 2**20
TOLERATED = 1.05
"""Of what was held early, so much late still counts as flat..."""
SLACK = {"main_mb": 8.0, "loaders_mb": 8.0, "shared_mb": 1.0}
"""...and so much more of these, for Python's allocator never holds twice the same; of all else, one more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Memory in MB (2**20 bytes): what is the processes' own, and what of the pictures' shared memory is in use."""

    main_mb: float
    loaders_mb: float
    shared_mb: float
    main_files: int
    loader_files: int
    """Of the loader that holds the most."""
    threads: int
    loaders: int
    unburied: int
    """Ended children whose status nobody asked for."""
    connections: int


FIGURES = [field.name for field in fields(Usage)]


def usage(pid: int, connections: int) -> Usage:
    """Of the daemon with this process id. Raises `OSError` when it is gone."""
    main = _status(pid)
    children = {child: status for child in children_of(pid) if (status := _loader(child))}
    alive = {child: status for child, status in children.items() if not status["State"].startswith("Z")}
    return Usage(
        main_mb=_megabytes(main, "RssAnon"),
        loaders_mb=sum(_megabytes(status, "RssAnon") for status in alive.values()),
        shared_mb=_megabytes(main, "RssShmem"),
        main_files=_files(pid),
        loader_files=max(map(_files, alive), default=0),
        threads=int(main["Threads"]),
        loaders=len(alive),
        unburied=len(children) - len(alive),
        connections=connections,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How one figure went: its medians early and late, the most there was, and whether that is flat."""

    name: str
    early: float
    late: float
    most: float

    @property
    def flat(self) -> bool:
        return self.late <= self.early * TOLERATED + SLACK.get(self.name, 1.0)


def courses(samples: Sequence[Usage]) -> list[Course]:
    """Of each figure. Early is the second fifth of the time, as the first one warms up; late is the last."""
    fifth = len(samples) // 5
    early, late = samples[fifth : 2 * fifth], samples[-fifth:]
    return [
        Course(
            name=name,
            early=statistics.median(float(getattr(sample, name)) for sample in early),
            late=statistics.median(float(getattr(sample, name)) for sample in late),
            most=max(float(getattr(sample, name)) for sample in samples),
        )
        for name in FIGURES
    ]


def children_of(pid: int) -> list[int]:
    """The process ids of a process's children, whichever of its threads started them."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # The thread has ended meanwhile.
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _loader(pid: int) -> dict[str, str]:
    """Empty when it has ended and is forgotten."""
    try:
        return _status(pid)
    except OSError:
        return {}


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _megabytes(status: dict[str, str], name: str) -> float:
    """A process that has ended holds none, and has no such line."""
    return int(status.get(name, "0 kB").split()[0]) * 1024 / MEGABYTE


def _files(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0
