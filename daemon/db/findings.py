"""What the commands report, as frozen records, and the sentences and figures that follow from them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from daemon.db.figures import Certainty, Figure
from daemon.errors import Reason
from daemon.records import ImageId
from daemon.reprocess import Standing, standing
from daemon.signature import PREFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Pending jobs: all of them, and of those the ones in work, due, or waiting for a retry."""

    pending: Figure
    leased: int
    due: int
    waiting: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen:
    """A daemon's sign of life. `ended_at` is None for one that lives, and for one that died."""

    worker: str
    host: str
    pid: int
    signature: str
    started_at: datetime
    seen_at: datetime
    ended_at: datetime | None
    alive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSeen:
    """Where the sweep is. `cursor` None: at the beginning of cycle `cycle`, counted from 0."""

    cursor: ImageId | None
    cycle: int
    looked: int
    found: int
    cycle_started_at: datetime | None
    cycle_ended_at: datetime | None
    ticked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a reprocess is. `seconds_left` is None while nothing can be said."""

    generation: int
    cause: str
    started_at: datetime
    ended_at: datetime | None
    done: int
    total: int
    seconds_left: float | None

    @property
    def share(self) -> float:
        """Of 1."""
        return self.done / self.total if self.total else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All that `status` shows. `versions` counts vectors by `model_version`, those without one under None."""

    taken_at: datetime
    signature: str | None
    images: Figure
    backlog: Backlog
    dead: Mapping[str, Figure]
    workers: tuple[WorkerSeen, ...]
    sweep: SweepSeen
    reprocess: Progress | None
    versions: Mapping[str | None, Figure]
    writes: int
    """Vectors written by anybody since PostgreSQL began to count: two of them make a rate."""


def foreign(versions: Mapping[str | None, Figure]) -> Figure:
    """Of the vectors by `model_version`, those that are not vectord's."""
    number = sum(figure.number for version, figure in versions.items() if not (version or "").startswith(PREFIX))
    exact = all(figure.certainty is Certainty.EXACT for figure in versions.values())
    return Figure(number=number, certainty=Certainty.EXACT if exact else Certainty.ESTIMATE)


def rate(before: Status, after: Status) -> float:
    """Vectors written per second between two looks."""
    seconds = (after.taken_at - before.taken_at).total_seconds()
    return max(0, after.writes - before.writes) / seconds if seconds > 0 else 0.0


def seconds_left(*, done: int, total: int, elapsed: float) -> float | None:
    """At the pace so far. None before anything was done."""
    return elapsed / done * (total - done) if done > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureSeen:
    """An image that failed for good. Credentials in `location` and `detail` are hidden."""

    image_id: ImageId
    reason: str
    explanation: str
    detail: str
    attempts: int
    failed_at: datetime | None
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingSeen:
    """An image that failed and waits for another try. Credentials are hidden as in `FailureSeen`."""

    image_id: ImageId
    reason: str
    explanation: str
    detail: str
    attempts: int
    next_try: datetime
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSeen:
    """An image's job."""

    state: str
    revision: int
    attempts: int
    not_before: datetime
    leased_until: datetime | None
    worker: str | None
    reason: str | None
    detail: str
    enqueued_at: datetime
    failed_at: datetime | None
    due: bool
    leased: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorSeen:
    """An image's vector. The times are as the table has them, where it has such columns."""

    version: str | None
    present: bool
    created: str | None
    updated: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """All that is known of one image. `location` is None where there is no such image, or its location is empty."""

    image_id: str
    exists: bool
    location: str | None
    vector: VectorSeen | None
    job: JobSeen | None
    signature: str | None

    @property
    def verdict(self) -> str:
        """How it stands, in a sentence."""
        return verdict(self)


def explain(reason: str | None) -> str:
    """The sentence that goes with a reason; empty for one that this version does not know."""
    return next((one.explanation for one in Reason if one.label == reason), "")


def verdict(why: Why) -> str:
    """How an image stands, in a sentence, and what to do about it where there is something to do."""
    if not why.exists:
        return f"there is no image {why.image_id}"
    if why.job is not None:
        return _of_job(why.job, why.image_id) + _old_vector(why.vector)
    return _without_job(why)


def _of_job(job: JobSeen, image_id: str) -> str:
    if job.state == "dead":
        attempts = f"{job.attempts} attempt{'s' * (job.attempts != 1)}"
        return (
            f"failed for good after {attempts}: {job.reason}, {explain(job.reason)}; "
            f"it is tried again when its location changes, or with `retry --id {image_id}`"
        )
    if job.leased:
        return f"{job.worker} works on it (attempt {job.attempts})"
    if not job.due:
        return f"waits for its next try at {job.not_before:%Y-%m-%d %H:%M:%S %Z}: {job.reason}, {explain(job.reason)}"
    return "waits for its turn: a daemon takes it next"


def _old_vector(vector: VectorSeen | None) -> str:
    return "" if vector is None else f"; until then its vector of {vector.version or 'unknown make'} stays"


def _without_job(why: Why) -> str:
    if why.vector is None:
        return "has neither vector nor job: the sweep queues it when it comes by"
    if why.vector.present or why.signature is None:
        return "done: it has its vector"
    version = why.vector.version or ""
    if not version.startswith(PREFIX):
        return f"has a vector that another program made ({version or 'no model_version'}), kept by reprocess.foreign"
    stands = standing(version, why.signature)
    older = "an older generation" if stands is Standing.RAISED else "another model"
    return f"has a vector of {older} ({version}): the sweep queues it when it comes by"
