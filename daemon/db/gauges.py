"""What the metrics show of the database, read in one short transaction whose cost does not grow with the tables."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from daemon.db.driver import Cursor
from daemon.db.names import Names, load_queries
from daemon.db.pool import Pool

QUERIES = Path(__file__).with_name("queries_gauges.sql")
COUNTED = 100_000
"""Jobs of one kind that are counted at most. A look takes 42 ms where all counts end there, and 2 ms with an empty
queue (median of 11, PostgreSQL 18 on 2 cores)."""
LOOK_SECONDS = 5.0
"""A statement that takes longer is given up."""
LOOKS = ("jobs", "oldest_due", "job_table", "rows", "sweep", "server")


@dataclass(frozen=True, slots=True, kw_only=True)
class Depths:
    """One look. Counts of jobs stop at `COUNTED`; `oldest_pending` is then that of the ones due first.

    `leased` and `due` are parts of `pending`, the rest waits for a retry. `oldest_due` is since when the job is due
    that has waited longest. `source_rows` and `target_rows` are estimates. `backfill` counts the pending jobs that the
    sweep made while a reprocess runs (`reprocessing`), and `walked` says that it has seen the whole table.
    """

    pending: int
    leased: int
    due: int
    dead: int
    oldest_pending: datetime | None
    oldest_due: datetime | None
    job_table_bytes: int
    job_table_dead_rows: int
    source_rows: int
    target_rows: int
    swept_at: datetime | None
    cycle_ended_at: datetime | None
    cycle: int
    cycle_looked: int
    cycle_found: int
    reprocessing: bool
    walked: bool
    backfill: int
    notification_queue: float
    oldest_transaction: datetime | None

    @property
    def reprocess_left(self) -> int:
        """Images that the running reprocess has yet to make anew: those not walked yet, and those queued."""
        if not self.reprocessing:
            return 0
        return self.backfill + (0 if self.walked else max(0, self.source_rows - self.cycle_looked))


class Gauges:
    """Reads `Depths`. Raises `DatabaseUnavailableError` and `DatabaseError`."""

    def __init__(self, pool: Pool, names: Names) -> None:
        self._pool = pool
        self._queries = load_queries(names, QUERIES)
        self._values = {"most": COUNTED, "source": names.quoted["source"], "target": names.quoted["target"]}

    def read(self) -> Depths:
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries["begin"], {"milliseconds": str(round(LOOK_SECONDS * 1000))})
            return Depths(**{name: value for look in LOOKS for name, value in self._look(cursor, look).items()})

    def _look(self, cursor: Cursor, query: str) -> dict[str, Any]:
        cursor.execute(self._queries[query], self._values)
        names = [column.name for column in cursor.description or ()]
        return dict(zip(names, cursor.fetchone() or (), strict=True))
