"""A statement over many images, some of which another session has locked: those are left out, and hardly waited for."""

from collections.abc import Mapping, Sequence

from daemon.db.driver import Cursor, savepoint
from daemon.errors import DatabaseUnavailableError
from daemon.records import ImageId

LOCK_TIMEOUT = "200ms"
HURRIED_LOCK_TIMEOUT = "15ms"
"""The first wait of a transaction, and each one after it: whoever holds a job for so long will hold it for longer. All
of them together stay below the server's deadlock_timeout of one second: where two would block each other, this one,
which holds what it has queued until it is over, gives way before a user's transaction is the victim."""

LOCKED_TRIES = 24
"""How often a transaction runs into one of them before it leaves out the rest: halving ten thousand ids down to the one
that somebody holds takes 14."""


class Yielding:
    """What one transaction, which has set `LOCK_TIMEOUT`, has left for the locks of others.

    `hurry` is the statement that sets another timeout.
    """

    def __init__(self, cursor: Cursor, hurry: str) -> None:
        self.left_out = 0
        """Images that somebody held, so far."""
        self._cursor = cursor
        self._hurry = hurry
        self._tries_left = LOCKED_TRIES

    def execute(self, statement: str, ids: Sequence[ImageId], values: Mapping[str, object]) -> int:
        """Runs it over these ids, but for those that somebody holds, and gives how many rows it wrote."""
        if not ids:
            return 0
        if self._tries_left <= 0:
            self.left_out += len(ids)
            return 0
        try:
            with savepoint(self._cursor):
                self._cursor.execute(statement, {**values, "ids": list(ids)})
                return self._cursor.rowcount
        except DatabaseUnavailableError:
            self._tries_left -= 1
            self._cursor.execute(self._hurry, {"lock_timeout": HURRIED_LOCK_TIMEOUT})
        if len(ids) == 1:
            self.left_out += 1
            return 0
        half = len(ids) // 2
        return sum(self.execute(statement, part, values) for part in (ids[:half], ids[half:]))
