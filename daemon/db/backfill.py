"""The jobs of a backfill: claimed by ranges of ids, made on the spot where there are none yet."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from daemon.db.jobs import JobQueue
from daemon.db.names import Names, load_queries
from daemon.db.pool import Pool
from daemon.db.sweep import BACKFILL
from daemon.db.yielding import LOCK_TIMEOUT
from daemon.records import Claim, ImageId
from daemon.signature import PREFIX

QUERIES = Path(__file__).with_name("queries_backfill.sql")
WORKER_PREFIX = "backfill:"
"""How the names of such workers begin: the sweep does not count their jobs as the queue's (queries_sweep.sql)."""

NOBODY = UUID(int=0)
"""The token of no lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The images whose id is above `after` (None: from the first on) and not above `upto`."""

    after: ImageId | None
    upto: ImageId


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What counts as unprocessed: as for the sweep. `forced_since`: when the forced reprocess began that walks now."""

    signature: str
    replace_foreign: bool = False
    forced_since: datetime | None = None


class SpanJobs(JobQueue):
    """A queue whose jobs are claimed by range. They are renewed, fenced and finished like any others.

    All raise `DatabaseUnavailableError` (also where another session holds one of these jobs locked) or `DatabaseError`.
    """

    def __init__(
        self,
        pool: Pool,
        names: Names,
        wanted: Wanted,
        *,
        worker: str,
        lease_seconds: float,
        max_attempts: int = 5,
        stored_bytes: bool = False,
    ) -> None:
        super().__init__(
            pool,
            names,
            worker=worker,
            lease_seconds=lease_seconds,
            max_attempts=max_attempts,
            stored_bytes=stored_bytes,
            signature=wanted.signature,
        )
        self._wanted = {
            "signature": wanted.signature,
            "ours": PREFIX,
            "replace_foreign": wanted.replace_foreign or wanted.forced_since is not None,
            "forced_since": wanted.forced_since,
        }
        self._ranges = load_queries(names, QUERIES)

    def claim_span(self, span: Span, token: UUID, most: int) -> list[Claim]:
        """Leases what is missing there, `most` images at most. Calling again with the same token gives the same."""
        with self._pool.transaction() as cursor:
            cursor.execute(self._ranges["begin"], {"lock_timeout": LOCK_TIMEOUT})
            values = {"token": token, "priority": BACKFILL}
            cursor.execute(self._ranges["lease"], self._lease | self._values(span, most) | values)
            rows = [list(row) for row in cursor.fetchall()]
            return self._with_locations(cursor, token, rows) if rows else []

    def left(self, span: Span, most: int) -> int:
        """How much is missing there and nobody works on or waits with; counts up to `most`."""
        with self._pool.transaction() as cursor:
            cursor.execute(self._ranges["begin"], {"lock_timeout": LOCK_TIMEOUT})
            cursor.execute(self._ranges["left"], self._lease | self._values(span, most))
            return int((cursor.fetchone() or (0,))[0])

    def peek(self, span: Span, most: int) -> list[Claim]:
        """Claims of what is missing there that are none: nothing is leased, and nothing can be written about them."""
        with self._pool.transaction() as cursor:
            cursor.execute(self._ranges["begin"], {"lock_timeout": LOCK_TIMEOUT})
            cursor.execute(self._ranges["peek"], self._lease | self._values(span, most))
            rows = [[image_id, 0, 0, False, None, True] for (image_id,) in cursor.fetchall()]
            return self._with_locations(cursor, NOBODY, rows) if rows else []

    def give_back(self, *, charged: bool) -> int:
        """Gives up all leases of this worker's name, and counts them. `charged`: the attempts stay counted."""
        with self._pool.transaction() as cursor:
            values = {"worker": self._lease["worker"], "given_back": 0 if charged else 1}
            cursor.execute(self._ranges["give_back"], values)
            return cursor.rowcount

    def _values(self, span: Span, most: int) -> dict[str, Any]:
        return {**self._wanted, "after": span.after, "upto": span.upto, "most": most}
