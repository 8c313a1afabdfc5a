"""What the routes use of the daemon. It is there once the model is warm; before that they answer 503."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from daemon.api.feed import Feed
from daemon.api.line import Desk, Line
from daemon.db.figures import Figure
from daemon.db.findings import FailureSeen, WaitingSeen, Why
from daemon.errors import NotServingError, Reason
from daemon.records import Asked, Claim, ImageId, StoredBytes, Told, Vectors


class Callers(Protocol):
    """The pipeline: `pipeline.callers.Callers`."""

    def ask(self, request: str, *, location: str = "", data: bytes | None = None) -> Asked: ...
    def look(self, request: str, image_id: ImageId, location: str | StoredBytes) -> Asked: ...
    def withdraw(self, asked: Asked) -> None: ...
    def work_on(self, claim: Claim) -> Future[Told]: ...


class Wanted(Protocol):
    """Why an image was not leased: `db.wants.Refusal`."""

    @property
    def name(self) -> str: ...


class Wants(Protocol):
    """Leases single images: `db.wants.Wants`, and `db.jobs.JobQueue` for giving them back."""

    def want(self, image_id: ImageId, *, request: str, location: str = "") -> Claim | Wanted: ...
    def release(self, claims: Sequence[Claim]) -> int: ...


class Run(Protocol):
    """How a run is: `db.runs.Run`."""

    @property
    def total(self) -> int: ...
    @property
    def success(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def skipped(self) -> int: ...
    @property
    def failed_ids(self) -> Sequence[str]: ...
    @property
    def over(self) -> bool: ...


class Runs(Protocol):
    """Runs over all images: `db.runs.Runs`."""

    def ask(self, *, limit: int | None, skip_processed: bool, forced: bool) -> UUID: ...
    def look(self, run: UUID) -> Run | None: ...


class Neighbour(Protocol):
    """An image near to another: `db.similar.Neighbour`."""

    @property
    def image_id(self) -> ImageId: ...
    @property
    def similarity(self) -> float: ...
    @property
    def version(self) -> str | None: ...


class ImageVector(Protocol):
    """An image's vector: `db.similar.ImageVector`."""

    @property
    def values(self) -> Sequence[float]: ...
    @property
    def version(self) -> str | None: ...


class Similar(Protocol):
    """Search by vectors: `db.similar.Similar`."""

    def vector_of(self, image_id: ImageId) -> ImageVector: ...

    def to_image(self, image_id: ImageId, k: int) -> Sequence[Neighbour]: ...
    def to_vector(self, vector: Vectors, k: int) -> Sequence[Neighbour]: ...


class Reports(Protocol):
    """What is known of images: `db.reports.Reports`."""

    def why(self, image_id: ImageId) -> Why: ...
    def failures(self, reason: Reason | None, limit: int) -> Sequence[FailureSeen]: ...
    def waiting(self, limit: int) -> Sequence[WaitingSeen]: ...
    def dead(self) -> Mapping[str, Figure]: ...


class Whereabouts(Protocol):
    """Where pictures lie: `db.whereabouts.Whereabouts`."""

    def of(self, image_id: ImageId) -> tuple[ImageId, str | StoredBytes] | None: ...


class Retries(Protocol):
    """Another chance for what failed: `db.retry.Retries`."""

    def one(self, image_id: ImageId) -> int: ...
    def reason(self, reason: Reason) -> int: ...
    def all(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All of it. `dimension` is a vector's length, `signature` gives what a vector made now bears."""

    callers: Callers
    wants: Wants
    runs: Runs
    similar: Similar
    reports: Reports
    retries: Retries
    whereabouts: Whereabouts
    signature: Callable[[], str]
    dimension: int


class House:
    """The services once they are there, and what stands before them: the line, the desk where the database is asked,
    and the feed of those who watch.
    """

    def __init__(self, line: Line, feed: Feed) -> None:
        self.line = line
        self.desk = Desk()
        self.feed = feed
        self.closing = False
        """Nobody is let in any more, since the daemon is to end; who is in is served. `door.Door` sees to it."""
        self._services: Services | None = None

    def open(self, services: Services) -> None:
        self._services = services

    def close(self) -> None:
        self.closing = True

    @property
    def services(self) -> Services:
        """Raises `NotServingError` until the daemon is warm."""
        if self._services is None:
            raise NotServingError("the daemon is starting: its model is not warm yet")
        return self._services
