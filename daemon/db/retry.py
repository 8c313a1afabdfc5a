"""Gives images that failed for good another chance: `retry`."""

from pathlib import Path

from daemon.db.driver import LOCK_NOT_AVAILABLE, Cursor, named_ids
from daemon.db.names import Names, load_queries
from daemon.db.pool import Pool
from daemon.errors import DatabaseUnavailableError, Reason, sqlstate
from daemon.records import ImageId

QUERIES = Path(__file__).with_name("queries_reports.sql")

AT_ONCE = 1_000
"""Jobs of one transaction: a few milliseconds of locks."""


class Retries:
    """All methods give how many jobs are due now, and raise `DatabaseUnavailableError` and `DatabaseError`.

    An impossible id raises `ImpossibleIdError`. Attempts are counted from zero again. Several jobs queue up behind new
    images; a single one does not.
    """

    def __init__(self, pool: Pool, names: Names, *, notify: bool = True) -> None:
        self._pool = pool
        self._channel = names.channel
        self._notify = notify
        self._queries = load_queries(names, QUERIES)

    def one(self, image_id: ImageId) -> int:
        """This image's job, dead or waiting for its next try. 0 where it has none, or a daemon works on it."""
        try:
            with named_ids(), self._pool.transaction() as cursor:
                cursor.execute(self._queries["retry_one"], {"id": str(image_id)})
                return self._tell(cursor, cursor.rowcount)
        except DatabaseUnavailableError as error:
            if sqlstate(error) == LOCK_NOT_AVAILABLE:
                message = f"a transaction that is not over has written image {image_id}; try again when it is"
                raise DatabaseUnavailableError(message) from error
            raise

    def reason(self, reason: Reason) -> int:
        """Every job that died of this before now, in transactions of `AT_ONCE`."""
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries["now"])
            (before,) = cursor.fetchone() or (None,)
        total = 0
        while done := self._some({"reason": reason.label, "before": before, "limit": AT_ONCE}):
            total += done
        return total

    def all(self) -> int:
        """Every dead job."""
        return sum(self.reason(reason) for reason in Reason)

    def _some(self, values: dict[str, object]) -> int:
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries["retry_some"], values)
            return self._tell(cursor, cursor.rowcount)

    def _tell(self, cursor: Cursor, count: int) -> int:
        if count and self._notify:
            cursor.execute(self._queries["notify"], {"channel": self._channel})
        return count
