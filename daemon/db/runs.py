"""Runs: all images, or so many of them, worked on because somebody asked; fed like the sweep, a window at a time.

A run remembers only those of its images that are not done yet, so it costs the same whatever the size of the tables,
and it survives every daemon: where it is stands in the database.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from daemon.db.driver import Cursor
from daemon.db.names import Names, load_queries
from daemon.db.pool import Pool
from daemon.db.sweep import BACKFILL, SweepOptions
from daemon.db.walk import most_pending, room_left
from daemon.db.yielding import LOCK_TIMEOUT, Yielding
from daemon.records import ImageId
from daemon.reprocess import SWEEP_PAYLOAD
from daemon.signature import PREFIX

QUERIES = Path(__file__).with_name("queries_runs.sql")
MOST_FAILED_IDS = 1_000
"""Failed images that a run names; all of them are in `failures`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How a run is. `taken` images were queued so far; `limit` None: all. `failed_ids` are the first of them."""

    run_id: UUID
    asked_at: datetime
    limit: int | None
    skip_processed: bool
    forced: bool
    taken: int
    success: int
    failed: int
    skipped: int
    failed_ids: tuple[str, ...]
    walked_at: datetime | None
    ended_at: datetime | None

    @property
    def total(self) -> int:
        """Images that it has come to, the skipped ones with them."""
        return max(self.taken, self.success + self.failed) + self.skipped

    @property
    def over(self) -> bool:
        return self.ended_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """What one step did. `more`: there is more to queue and room for it."""

    open: bool = False
    queued: int = 0
    more: bool = False


class Runs:
    """All methods raise `DatabaseUnavailableError` and `DatabaseError` only."""

    def __init__(self, pool: Pool, names: Names, options: SweepOptions) -> None:
        self._pool = pool
        self._channel = names.channel
        self._options = options
        self._queries = load_queries(names, QUERIES)

    def ask(self, *, limit: int | None, skip_processed: bool, forced: bool) -> UUID:
        """Records a run and calls whoever sweeps."""
        with self._pool.transaction() as cursor:
            values = {"most": limit, "skip_processed": skip_processed, "forced": forced}
            cursor.execute(self._queries["ask"], values)
            (run,) = cursor.fetchone() or (None,)
            if self._options.notify:
                cursor.execute(self._queries["notify"], {"channel": self._channel, "payload": SWEEP_PAYLOAD})
            return UUID(str(run))

    def look(self, run: UUID) -> Run | None:
        """How it is as of the last step. None where there is no such run."""
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries["look"], {"run": run})
            row = cursor.fetchone()
            return None if row is None else _run(row)

    def step(self, signature: str) -> Fed:
        """Counts what is done of the oldest open run and queues its next window, as far as there is room.

        To be called by a daemon whose signature is the present one.
        """
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries["begin"], {"lock_timeout": LOCK_TIMEOUT})
            cursor.execute(self._queries["open"])
            row = cursor.fetchone()
            if row is None:
                return Fed()
            return _Step(cursor, self._queries, self._options, signature).run(row)


class _Step:
    """One step of one run, whose row is locked."""

    def __init__(self, cursor: Cursor, queries: Any, options: SweepOptions, signature: str) -> None:
        self._cursor = cursor
        self._queries = queries
        self._options = options
        self._signature = signature
        self._yielding = Yielding(cursor, queries["hurry"])

    def run(self, row: tuple[Any, ...]) -> Fed:
        run, most, skip_processed, forced, after, taken, skipped, walked = row
        self._execute("settle", run=run, most_ids=MOST_FAILED_IDS)
        fed = Fed(open=True)
        if not walked:
            left = None if most is None else most - taken - (0 if skip_processed else skipped)
            fed = self._feed(run, after, left, forced=forced, counts_skipped=not skip_processed)
        self._execute("end", run=run)
        return fed

    def _feed(self, run: UUID, after: ImageId | None, left: int | None, *, forced: bool, counts_skipped: bool) -> Fed:
        room = self._room() if left is None else min(self._room(), left)
        if not room:
            if left == 0:
                self._advance(run, after, walked=True)
            return Fed(open=True)
        window = self._options.window if left is None or not counts_skipped else min(self._options.window, left)
        looked, stop, ended, ids = self._take(after, window, room, forced=forced)
        if ids:
            # Who has locked some of these queues them, or is through with them: they are the run's like the others.
            self._yielding.execute(self._queries["queue"], ids, {"priority": BACKFILL})
            self._execute("remember", run=run, ids=ids)
        skipped = looked - len(ids) if counts_skipped else 0
        spent = left is not None and left <= len(ids) + skipped
        walked = spent or ended
        self._advance(run, after if stop is None else stop, taken=len(ids), skipped=skipped, walked=walked)
        return Fed(open=True, queued=len(ids), more=not walked and len(ids) < room)

    def _take(self, after: ImageId | None, window: int, room: int, *, forced: bool) -> tuple[Any, ...]:
        return self._one(
            "take",
            after=after,
            window=window,
            room=room,
            forced=forced,
            signature=self._signature,
            ours=PREFIX,
            replace_foreign=self._options.replace_foreign,
        )

    def _advance(self, run: UUID, cursor: ImageId | None, *, walked: bool, taken: int = 0, skipped: int = 0) -> None:
        self._execute("advance", run=run, cursor=cursor, taken=taken, skipped=skipped, walked=walked)

    def _room(self) -> int:
        high_water = self._options.high_water
        pending, workable = self._one("depth", most=most_pending(high_water))
        return room_left(pending, workable, high_water)

    def _one(self, name: str, **values: object) -> tuple[Any, ...]:
        self._execute(name, **values)
        row: tuple[Any, ...] = self._cursor.fetchone() or ()
        return row

    def _execute(self, name: str, **values: object) -> None:
        self._cursor.execute(self._queries[name], values)


def _run(row: tuple[Any, ...]) -> Run:
    run, asked_at, most, skip_processed, forced, taken, success, failed, skipped, failed_ids, walked_at, ended_at = row
    return Run(
        run_id=run,
        asked_at=asked_at,
        limit=most,
        skip_processed=skip_processed,
        forced=forced,
        taken=taken,
        success=success,
        failed=failed,
        skipped=skipped,
        failed_ids=tuple(failed_ids),
        walked_at=walked_at,
        ended_at=ended_at,
    )
