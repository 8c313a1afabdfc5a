"""What the console shows of the database: a look every few seconds while somebody watches, its cost bounded."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from daemon.clock import Clock
from daemon.db.figures import Certainty, Figure
from daemon.db.findings import Backlog, Progress, WorkerSeen
from daemon.db.names import Names, load_queries
from daemon.db.pool import Pool
from daemon.db.reports import QUERIES, Look

LOOK_SECONDS = 5.0
"""A statement that takes longer is given up."""
COUNT_SECONDS = 10.0
"""How long the number of images is good for where the table is small enough to be counted."""
SAMPLE_SECONDS = 60.0
"""How long it is where that means to read a sample of 16 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """One look. `dead` is by reason; `writes` are vectors written by anybody since PostgreSQL began to count."""

    taken_at: datetime
    images: Figure
    backlog: Backlog
    dead: Mapping[str, Figure]
    workers: tuple[WorkerSeen, ...]
    reprocess: Progress | None
    writes: int


class Glances:
    """For one thread at a time. Raises `DatabaseUnavailableError` and `DatabaseError`."""

    def __init__(self, pool: Pool, names: Names, clock: Clock) -> None:
        self._pool = pool
        self._names = names
        self._clock = clock
        self._queries = load_queries(names, QUERIES)
        self._images: tuple[float, Figure] | None = None
        """How many there are, and until when that is good."""

    def look(self) -> Glance:
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries["glance"], {"milliseconds": str(round(LOOK_SECONDS * 1000))})
            look = Look(cursor, self._queries, self._names)
            images = self._counted(look)
            return Glance(
                taken_at=look.one("now")[0],
                images=images,
                backlog=look.backlog(),
                dead=look.dead(),
                workers=look.workers(),
                reprocess=look.reprocess(images),
                writes=look.one("writes", table=self._names.quoted["target"])[0],
            )

    def _counted(self, look: Look) -> Figure:
        now = self._clock.monotonic()
        if self._images is None or now >= self._images[0]:
            images = look.images()
            lasts = COUNT_SECONDS if images.certainty is Certainty.EXACT else SAMPLE_SECONDS
            self._images = now + lasts, images
        return self._images[1]
