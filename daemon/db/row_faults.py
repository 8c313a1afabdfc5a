"""What a batch of vectors may fail of because of one of its rows, and how long a write bears with it."""

from collections.abc import Iterator
from contextlib import contextmanager

from daemon.db.driver import LOCK_NOT_AVAILABLE, mapped_errors
from daemon.errors import DatabaseError, DatabaseUnavailableError, sqlstate

LOCKED_TRIES = 12
"""How often one `write` waits for `outcomes.LOCK_TIMEOUT` before all vectors that are left go back to the queue:
halving a batch of 256 down to the one that somebody else is inserting takes 9. Meanwhile no lease is renewed."""
REFUSED_CLASSES = frozenset({"22", "23", "P0"})
"""Data exception, integrity constraint violation, and what a trigger raises: faults of a row, not of the database."""


class RowLockedError(DatabaseUnavailableError):
    """Another session is writing one of these vectors and does not come to an end."""


class RowRefusedError(DatabaseError):
    """One of these rows is not to the table's liking."""


class Patience:
    """What one `write` has left for the locks of others."""

    def __init__(self) -> None:
        self._tries_left = LOCKED_TRIES

    @property
    def is_over(self) -> bool:
        return self._tries_left <= 0

    def spend(self, error: DatabaseError | DatabaseUnavailableError) -> None:
        """A refusal costs no time."""
        self._tries_left -= isinstance(error, RowLockedError)


@contextmanager
def locks_of_rows() -> Iterator[None]:
    """Tells the lock of some row in the batch from what is the database's fault."""
    try:
        with mapped_errors():
            yield
    except DatabaseUnavailableError as error:
        if sqlstate(error) == LOCK_NOT_AVAILABLE:
            raise RowLockedError(str(error)) from error.__cause__
        raise


@contextmanager
def refusals_of_rows() -> Iterator[None]:
    """Tells what is the fault of some row in the batch from what is the database's."""
    try:
        yield
    except DatabaseError as error:
        if sqlstate(error)[:2] in REFUSED_CLASSES:
            raise RowRefusedError(str(error)) from error.__cause__
        raise
