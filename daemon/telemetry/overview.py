"""How the daemon is, as the console shows it: plain values that JSON can hold, moments in seconds of the epoch."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from time import time
from typing import Any

from daemon.clock import Clock
from daemon.db.figures import Figure
from daemon.db.findings import Progress, WorkerSeen
from daemon.db.glance import Glance
from daemon.errors import VectordError
from daemon.health import Health
from daemon.telemetry.history import SECONDS, History, Point
from daemon.telemetry.organs import Line, Organs

STALE_SECONDS = 15.0
"""A look at the database that is older is not shown: old figures would pass for present ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What there is once the daemon is up: its parts, its name and signature, and the database.

    `glance` may take its time.
    """

    organs: Organs
    worker: str
    signature: Callable[[], str]
    trained: bool
    glance: Callable[[], Glance]


class Overview:
    """Answers before the daemon is up, too; what is not there yet is None."""

    def __init__(self, history: History, health: Callable[[], Health], line: Line, clock: Clock) -> None:
        self._history = history
        self._health = health
        self._line = line
        self._clock = clock
        self._site: Site | None = None
        self._resting = False
        self._seen: tuple[float, Glance, float | None] | None = None

    def up(self, site: Site) -> None:
        """From now on these are shown."""
        self._site = site

    def rest(self) -> None:
        """From now on the database is left alone: its connections are to be closed."""
        self._resting = True

    def points(self, after: float) -> list[Point]:
        """Those of the charts that began later than this."""
        return self._history.points(after)

    def look(self) -> None:
        """Looks at the database; where that fails, nothing of it is shown."""
        site, before = self._site, self._seen
        if site is None or self._resting:
            return
        try:
            glance = site.glance()
        except VectordError:
            self._seen = None
        else:
            self._seen = self._clock.monotonic(), glance, _writes_a_second(before[1] if before else None, glance)

    def snapshot(self) -> Mapping[str, object]:
        """All but the points, without waiting for anything."""
        site = self._site
        return {
            "now": time(),
            "began": self._history.began,
            "point_seconds": SECONDS,
            "health": asdict(self._health()),
            "rate": self._history.rate(),
            "stored": self._history.stored,
            "dead": self._history.dead,
            "line": {"places": self._line.places, "taken": self._line.taken, "waiting": self._line.waiting},
            "daemon": None if site is None else _daemon(site),
            "database": self._database(),
        }

    def _database(self) -> dict[str, object] | None:
        if self._seen is None or self._clock.monotonic() - self._seen[0] > STALE_SECONDS:
            return None
        _, glance, writes = self._seen
        backlog = glance.backlog
        return {
            "at": glance.taken_at.timestamp(),
            "images": _figure(glance.images),
            "pending": _figure(backlog.pending),
            "leased": backlog.leased,
            "due": backlog.due,
            "waiting": backlog.waiting,
            "oldest": _moment(backlog.oldest),
            "dead": {reason: _figure(figure) for reason, figure in glance.dead.items()},
            "daemons": [_worker(one) for one in glance.workers],
            "reprocess": None if glance.reprocess is None else _progress(glance.reprocess),
            "writes_a_second": writes,
        }


def _daemon(site: Site) -> dict[str, object]:
    organs = site.organs
    stages, loaders, engine = organs.stages, organs.loaders(), organs.engine()
    return {
        "worker": site.worker,
        "signature": site.signature(),
        "trained": site.trained,
        "engine": {
            name: getattr(engine, name)
            for name in ("backend", "version", "device", "device_name", "precision", "dimension", "batch_limit")
        }
        | {"out_of_memory": engine.out_of_memory, "fallback": engine.fallback},
        "in_flight": len(stages.inflight),
        "limit": stages.inflight.limit,
        "stages": [
            _stage("load", loaders.waiting, loaders.loading),
            _stage("embed", len(stages.loaded), stages.embed.in_progress),
            _stage("store", len(stages.results), stages.store.in_progress),
        ],
        "loaders": {"up": loaders.loaders, "wanted": loaders.wanted, "hosts_left_alone": loaders.hosts_left_alone},
    }


def _stage(name: str, waiting: int, working: int) -> dict[str, object]:
    return {"stage": name, "waiting": waiting, "working": working}


def _writes_a_second(before: Glance | None, after: Glance) -> float | None:
    """Vectors written by whichever program; None until there were two looks."""
    if before is None:
        return None
    seconds = (after.taken_at - before.taken_at).total_seconds()
    return max(0, after.writes - before.writes) / seconds if seconds > 0 else None


def _figure(figure: Figure) -> dict[str, object]:
    return {"number": figure.number, "certainty": figure.certainty.value}


def _worker(seen: WorkerSeen) -> dict[str, object]:
    moments = ("started_at", "seen_at", "ended_at")
    return asdict(seen) | {name: _moment(getattr(seen, name)) for name in moments}


def _progress(progress: Progress) -> dict[str, Any]:
    return asdict(progress) | {
        "started_at": _moment(progress.started_at),
        "ended_at": _moment(progress.ended_at),
        "share": progress.share,
    }


def _moment(when: datetime | None) -> float | None:
    return None if when is None else when.timestamp()
