"""An image that somebody waits for: leased at once, past the queue."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from uuid import uuid4

from daemon.db.driver import LOCK_NOT_AVAILABLE, Cursor, named_ids, text_of
from daemon.db.names import QUERIES, Names, load_queries
from daemon.db.pool import Pool
from daemon.errors import DatabaseUnavailableError, NotFoundError, VectordError, sqlstate
from daemon.records import Claim, ImageId, StoredBytes
from daemon.signature import PREFIX

QUERIES_WANTS = QUERIES.with_name("queries_wants.sql")
LOCK_TIMEOUT = "500ms"
"""Shorter than PostgreSQL's deadlock_timeout (1 s), so that nobody else's transaction is the one to lose."""


class Refusal(Enum):
    """Why an image is not leased to whoever wants it."""

    NO_SUCH_IMAGE = auto()
    HAS_VECTOR = auto()
    IN_WORK = auto()
    """Some daemon, perhaps this one, has leased it, or some session holds its job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantOptions:
    """Whose leases they are, and how long; whether `reprocess.foreign` is "replace"; what the location column holds."""

    worker: str
    lease_seconds: float
    replace_foreign: bool = False
    stored_bytes: bool = False


class Wants:
    """`signature` gives the present one, and raises `NotServingError` while this daemon may store nothing.

    Raises that, `DatabaseUnavailableError` and `DatabaseError` only.
    """

    def __init__(
        self,
        pool: Pool,
        names: Names,
        signature: Callable[[], str],
        options: WantOptions,
        *,
        release: Callable[[Sequence[Claim]], int],
    ) -> None:
        self.release = release
        """Gives claims back that nobody can work on: `JobQueue.release`."""
        self._pool = pool
        self._signature = signature
        self._options = options
        self._queries = {**load_queries(names), **load_queries(names, QUERIES_WANTS)}

    def want(self, image_id: ImageId, *, request: str, location: str = "") -> Claim | Refusal:
        """Leases the image's job for the request, making one where there is none.

        `location` is fetched instead of the image's own, where one is given.
        """
        # First of all: where another model counts, its vector would look like an old one.
        self._signature()
        try:
            with named_ids(), self._pool.transaction() as cursor:
                cursor.execute(self._queries["begin"], {"lock_timeout": LOCK_TIMEOUT})
                found = self._look(cursor, image_id)
                return self._lease(cursor, found, request, location)
        except _RefusedError as refused:
            return refused.refusal
        except NotFoundError:
            return Refusal.NO_SUCH_IMAGE
        except DatabaseUnavailableError as error:
            if sqlstate(error) == LOCK_NOT_AVAILABLE:
                return Refusal.IN_WORK
            raise

    def _look(self, cursor: Cursor, image_id: ImageId) -> ImageId:
        """The id as the table has it, of an image that wants a vector."""
        cursor.execute(self._queries["look"], {"id": image_id})
        row = cursor.fetchone()
        if row is None:
            raise _RefusedError(Refusal.NO_SUCH_IMAGE)
        found: ImageId = row[0]
        _, has_vector, version = row
        if has_vector and self._counts(version):
            raise _RefusedError(Refusal.HAS_VECTOR)
        return found

    def _counts(self, version: str | None) -> bool:
        """Whether a vector of this make is as good as the present one."""
        foreign = not (version or "").startswith(PREFIX)
        return version == self._signature() or (foreign and not self._options.replace_foreign)

    def _lease(self, cursor: Cursor, image_id: ImageId, request: str, location: str) -> Claim:
        cursor.execute(self._queries["in_work"], {"id": image_id})
        if cursor.fetchone() == (True,):
            raise _RefusedError(Refusal.IN_WORK)
        lease = {"worker": self._options.worker, "lease_seconds": self._options.lease_seconds}
        token = uuid4()
        cursor.execute(self._queries["lease"], lease | {"id": image_id, "token": token})
        if (row := cursor.fetchone()) is None:
            raise _RefusedError(Refusal.IN_WORK)
        revision, attempt, suspect, enqueued_at = row
        # Once more now that the job is locked: a daemon may have stored the vector since, and the location that is
        # read now is not older than the revision that it is taken for.
        self._look(cursor, image_id)
        return Claim(
            image_id=image_id,
            revision=revision,
            token=token,
            location=location or self._location(cursor, image_id),
            attempt=attempt,
            suspect=suspect,
            enqueued_at=enqueued_at,
            request=request,
            lent=bool(location),
        )

    def _location(self, cursor: Cursor, image_id: ImageId) -> str | StoredBytes:
        stored = self._options.stored_bytes
        cursor.execute(self._queries["sizes" if stored else "locations"], {"ids": [image_id]})
        row = cursor.fetchone()
        if row is None:
            raise _RefusedError(Refusal.NO_SUCH_IMAGE)
        return StoredBytes(size=row[1]) if stored else text_of(row[1], cursor)


class _RefusedError(VectordError):
    """Undoes what the transaction did so far."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.name)
        self.refusal = refusal
