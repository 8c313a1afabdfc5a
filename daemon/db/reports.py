"""What the commands show: `status`, `failures` and `why`. Reads only, and never a large table from end to end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from daemon.db.driver import Cursor, named_ids, text_of
from daemon.db.figures import Figure, counted, scaled
from daemon.db.findings import (
    Backlog,
    FailureSeen,
    JobSeen,
    Progress,
    Status,
    SweepSeen,
    VectorSeen,
    WaitingSeen,
    Why,
    WorkerSeen,
    explain,
    foreign,
    seconds_left,
)
from daemon.db.names import Names, load_queries
from daemon.db.pool import Pool
from daemon.errors import Reason
from daemon.records import ImageId
from daemon.redact import redact
from daemon.reprocess import with_generation

QUERIES = Path(__file__).with_name("queries_reports.sql")

COUNTED = 100_000
"""Jobs of one kind that are counted at most."""
SAMPLED_PAGES = 2_000
"""Pages of a table that are read to tell its size and its versions: 16 MB. Smaller tables are counted exactly."""
ALIVE_SECONDS = 60.0
"""A daemon that was not seen for so long is shown as gone: the default lease, and three beats of any."""


class Reports:
    """All methods raise `DatabaseUnavailableError` and `DatabaseError`; an impossible id, `ImpossibleIdError`."""

    def __init__(self, pool: Pool, names: Names) -> None:
        self._pool = pool
        self._names = names
        self._queries = load_queries(names, QUERIES)

    def status(self) -> Status:
        """How things stand: one look in one transaction, its cost bounded whatever the tables' size."""
        with self._pool.transaction() as cursor:
            look = Look(cursor, self._queries, self._names)
            model, generation, now = look.one("signature")
            images = look.images()
            return Status(
                taken_at=now,
                signature=None if model is None else with_generation(model, generation),
                images=images,
                backlog=look.backlog(),
                dead=look.dead(),
                workers=look.workers(),
                sweep=look.sweep(),
                reprocess=look.reprocess(images),
                versions=look.versions(),
                writes=look.one("writes", table=self._names.quoted["target"])[0],
            )

    def failures(self, reason: Reason | None = None, limit: int = 100) -> list[FailureSeen]:
        """Images that failed for good, the newest first; those of one reason, or of all."""
        reasons = [one.label for one in Reason] if reason is None else [reason.label]
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries["failures"], {"reasons": reasons, "limit": limit})
            return [_failure(row, cursor) for row in cursor.fetchall()]

    def waiting(self, limit: int = 100) -> list[WaitingSeen]:
        """Images that failed and are tried again, the next one first."""
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries["waiting"], {"limit": limit})
            return [_waiting(row, cursor) for row in cursor.fetchall()]

    def dead(self) -> Mapping[str, Figure]:
        """How many images failed for good, by reason; without the reasons that none did."""
        with self._pool.transaction() as cursor:
            return Look(cursor, self._queries, self._names).dead()

    def foreign(self) -> Figure:
        """Vectors that other programs made."""
        with self._pool.transaction() as cursor:
            return foreign(Look(cursor, self._queries, self._names).versions())

    def why(self, image_id: ImageId) -> Why:
        """All that is known of one image. The id may be given as text, whatever its type in the table is."""
        with named_ids(), self._pool.transaction() as cursor:
            look = Look(cursor, self._queries, self._names)
            model, generation, _ = look.one("signature")
            signature = None if model is None else with_generation(model, generation)
            image = look.maybe("image", id=str(image_id))
            return Why(
                image_id=str(image_id),
                exists=image is not None,
                location=None if image is None else _location(image[0], image[1], cursor),
                vector=look.vector(str(image_id), signature),
                job=look.job(str(image_id)),
                signature=signature,
            )


class Look:
    """Rows of one transaction as records."""

    def __init__(self, cursor: Cursor, queries: Mapping[str, str], names: Names) -> None:
        self._cursor = cursor
        self._queries = queries
        self._names = names

    def maybe(self, query: str, **values: object) -> tuple[Any, ...] | None:
        self._cursor.execute(self._queries[query], values)
        row: tuple[Any, ...] | None = self._cursor.fetchone()
        return row

    def one(self, query: str, **values: object) -> tuple[Any, ...]:
        return self.maybe(query, **values) or ()

    def all(self, query: str, **values: object) -> Sequence[tuple[Any, ...]]:
        self._cursor.execute(self._queries[query], values)
        return self._cursor.fetchall()

    def backlog(self) -> Backlog:
        pending, leased, due, oldest = self.one("backlog", most=COUNTED)
        waiting = pending - leased - due
        return Backlog(pending=counted(pending, COUNTED), leased=leased, due=due, waiting=waiting, oldest=oldest)

    def dead(self) -> Mapping[str, Figure]:
        rows = self.all("dead", reasons=[one.label for one in Reason], most=COUNTED)
        return {reason: counted(number, COUNTED) for reason, number in rows if number}

    def workers(self) -> tuple[WorkerSeen, ...]:
        fields = ("worker", "host", "pid", "signature", "started_at", "seen_at", "ended_at", "alive")
        rows = self.all("workers", alive_seconds=ALIVE_SECONDS)
        return tuple(WorkerSeen(**dict(zip(fields, row, strict=True))) for row in rows)

    def sweep(self) -> SweepSeen:
        fields = ("cursor", "cycle", "looked", "found", "cycle_started_at", "cycle_ended_at", "ticked_at")
        return SweepSeen(**dict(zip(fields, self.one("sweep"), strict=True)))

    def images(self) -> Figure:
        percent = self._percent("source")
        return scaled(self.one("images", percent=percent)[0], percent)

    def versions(self) -> Mapping[str | None, Figure]:
        percent = self._percent("target")
        return {version: scaled(number, percent) for version, number in self.all("versions", percent=percent)}

    def reprocess(self, images: Figure) -> Progress | None:
        """Walked and no longer queued is done."""
        if (row := self.maybe("reprocess", most=COUNTED)) is None:
            return None
        generation, cause, started_at, walked, ended_at, elapsed, pending = row
        total = images.number
        reached = total if walked else min(total, self.sweep().looked)
        done = total if ended_at else max(0, reached - pending)
        left = 0.0 if ended_at else seconds_left(done=done, total=total, elapsed=elapsed)
        return Progress(
            generation=generation,
            cause=cause,
            started_at=started_at,
            ended_at=ended_at,
            done=done,
            total=total,
            seconds_left=left,
        )

    def vector(self, image_id: str, signature: str | None) -> VectorSeen | None:
        row = self.maybe("vector", id=image_id, vector_column=self._names.target_vector)
        if row is None:
            return None
        version, created, updated = row
        return VectorSeen(version=version, present=version == signature, created=created, updated=updated)

    def job(self, image_id: str) -> JobSeen | None:
        fields = (
            *("state", "revision", "attempts", "not_before", "leased_until", "worker", "reason", "detail"),
            *("enqueued_at", "failed_at", "due", "leased"),
        )
        row = self.maybe("job", id=image_id)
        if row is None:
            return None
        values = dict(zip(fields, row, strict=True))
        return JobSeen(**values | {"detail": redact(values["detail"] or "")})

    def _percent(self, table: str) -> float:
        """Of the table, to read so many pages and no more."""
        pages = self.one("size", table=self._names.quoted[table])[0]
        return min(100.0, 100.0 * SAMPLED_PAGES / pages) if pages else 100.0


def _failure(row: tuple[Any, ...], cursor: Cursor) -> FailureSeen:
    image_id, reason, detail, attempts, failed_at, kept, size = row
    return FailureSeen(
        image_id=image_id,
        reason=reason,
        explanation=explain(reason),
        detail=redact(detail or ""),
        attempts=attempts,
        failed_at=failed_at,
        location=_location(kept, size, cursor) or "",
    )


def _waiting(row: tuple[Any, ...], cursor: Cursor) -> WaitingSeen:
    image_id, reason, detail, attempts, next_try, kept, size = row
    return WaitingSeen(
        image_id=image_id,
        reason=reason,
        explanation=explain(reason),
        detail=redact(detail or ""),
        attempts=attempts,
        next_try=next_try,
        location=_location(kept, size, cursor) or "",
    )


def _location(kept: bytes | None, size: int | None, cursor: Cursor) -> str | None:
    """A location for people: without credentials, and stored bytes as their number."""
    if size is None:
        return None
    return f"{size} bytes in the row" if kept is None else redact(text_of(kept, cursor))
