"""The sweep: finds images that nobody announced, a bounded window of ids at a time.

    lock ─ where are we ─ how much room ─ ids above the highest seen ─ the next window ─ forget ─ save

One tick is one short transaction. Its cost depends on the window alone, whatever the size of the tables. What it
decides stands in `walk`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from daemon.db.driver import Cursor
from daemon.db.names import Names, load_queries
from daemon.db.pool import Pool
from daemon.db.walk import Found, Position, Swept, advance, most_pending, reached, room_left
from daemon.db.yielding import LOCK_TIMEOUT, Yielding
from daemon.errors import DatabaseUnavailableError
from daemon.records import ImageId
from daemon.reprocess import Standing, standing, with_generation
from daemon.signature import PREFIX

QUERIES = Path(__file__).with_name("queries_sweep.sql")

NEW, BACKFILL = 0, 1
"""Priorities: an id above all that were ever seen is a new image. Claims take the lower first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOptions:
    """`sweep.window`, `queue.high_water`, and whether `reprocess.foreign` is "replace".

    `notify`: tell the daemons when something was queued, where `queue.notify` allows it.
    """

    window: int = 10_000
    high_water: int = 10_000
    replace_foreign: bool = False
    notify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Targets:
    """What the tick goes by: `forced_since` is when the forced reprocess began that walks now.

    `run_walks`: a run that somebody asked for has more to queue.
    """

    present: str | None
    forced_since: datetime | None
    reprocessing: bool
    run_walks: bool


class SweepWindow:
    """The walk over the source table. Where it is stands in the database: daemons take turns, restarts go on."""

    def __init__(self, pool: Pool, names: Names, options: SweepOptions) -> None:
        self._pool = pool
        self._names = names
        self._options = options
        self._queries = load_queries(names, QUERIES)

    def step(self, signature: str) -> Swept:
        """One tick for the daemon with this signature.

        Raises `DatabaseUnavailableError` and `DatabaseError`; the tick then left nothing behind.
        """
        with self._pool.transaction() as cursor:
            lock = f"vectord.{self._names.schema}.sweep"
            cursor.execute(self._queries["begin"], {"lock": lock, "lock_timeout": LOCK_TIMEOUT})
            leader = (cursor.fetchone() or (False,))[0]
            tick = _Tick(cursor, self._queries, self._options, signature)
            swept = tick.run() if leader else tick.look_on()
            if swept.queued and self._options.notify:
                cursor.execute(self._queries["notify"], {"channel": self._names.channel})
            return swept


class _Tick:
    """One tick, inside its transaction, with the lock."""

    def __init__(self, cursor: Cursor, queries: Mapping[str, str], options: SweepOptions, signature: str) -> None:
        self._cursor = cursor
        self._queries = queries
        self._options = options
        self._signature = signature
        self._yielding = Yielding(cursor, queries["hurry"])

    def look_on(self) -> Swept:
        """While another sweeps: how this daemon's signature stands, and no more."""
        return replace(self._stand(self._targets()), leader=False)

    def run(self) -> Swept:
        # The position first: it is locked, so a raise has either happened before the targets are read, or waits.
        position, targets = self._position(), self._targets()
        swept = replace(self._stand(targets), cycle=position.cycle, cycle_found=position.found, cursor=position.cursor)
        if swept.standing is not Standing.PRESENT:
            return swept
        room = self._room(targets)
        if not room:
            self._save(position, position)
            return replace(swept, full=True)
        return self._walk(swept, position, targets, room)

    def _stand(self, targets: _Targets) -> Swept:
        stands = standing(self._signature, targets.present)
        return Swept(standing=stands, present=targets.present, reprocessing=targets.reprocessing)

    def _walk(self, swept: Swept, before: Position, targets: _Targets, room: int) -> Swept:
        position, new = self._look_above(before, targets, room)
        room -= new
        if not room:
            self._save(before, replace(position, found=position.found + new))
            return replace(swept, full=True, queued=new)
        found = self._find(position.cursor, targets, room)
        # Of those left out above, the walk itself comes by.
        before_this = self._yielding.left_out
        queued = self._queue(found.missing, BACKFILL, targets)
        window, left_out = self._options.window, self._yielding.left_out - before_this + found.held
        after = advance(position, found, room=room, window=window, queued=queued + new, left_out=left_out)
        forgotten = self._forget(position.cursor, after.cursor)
        self._save(before, after)
        return replace(
            swept,
            looked=found.looked,
            queued=queued + new,
            forgotten=forgotten,
            cycle=after.cycle,
            cycle_found=after.found,
            cycle_ended=after.ended(before),
            cursor=after.cursor,
            reprocessing=targets.reprocessing and not self._finished(walked=after.ended(before) and not after.left_out),
        )

    def _look_above(self, position: Position, targets: _Targets, room: int) -> tuple[Position, int]:
        """Ids above the highest ever seen are probably new; those that are not, the walk finds too."""
        if position.highest is None:
            self._execute("highest")
            row = self._cursor.fetchone()
            return replace(position, highest=row[0] if row else None), 0
        found = self._find(position.highest, targets, room)
        queued = self._queue(found.missing, NEW, targets)
        return replace(position, highest=reached(found, room, position.highest)), queued

    def _position(self) -> Position:
        cursor, highest, cycle, looked, found, left_out = self._one("position")
        return Position(cursor=cursor, highest=highest, cycle=cycle, looked=looked, found=found, left_out=left_out)

    def _targets(self) -> _Targets:
        model, generation, forced_since, reprocessing, run_walks = self._one("targets")
        present = None if model is None else with_generation(model, generation)
        return _Targets(present=present, forced_since=forced_since, reprocessing=reprocessing, run_walks=run_walks)

    def _room(self, targets: _Targets) -> int:
        """Half of it where a run walks, too: that comes after the sweep, which could take all of it for days."""
        high_water = self._options.high_water
        pending, workable = self._one("depth", most=most_pending(high_water))
        room = room_left(pending, workable, high_water)
        return room // 2 if targets.run_walks else room

    def _find(self, after: ImageId | None, targets: _Targets, room: int) -> Found:
        looked, last, missing, held = self._one(
            "find",
            after=after,
            window=self._options.window,
            room=room,
            signature=self._signature,
            ours=PREFIX,
            replace_foreign=self._options.replace_foreign or targets.forced_since is not None,
            forced_since=targets.forced_since,
        )
        return Found(looked=looked, last=last, missing=tuple(missing), held=held)

    def _queue(self, ids: Sequence[ImageId], priority: int, targets: _Targets) -> int:
        """Makes jobs, and gives how many. Whoever holds one of these jobs in an open transaction is not waited for."""
        values = {"priority": priority, "forced_since": targets.forced_since}
        return self._yielding.execute(self._queries["queue"], ids, values)

    def _forget(self, after: ImageId | None, upto: ImageId | None) -> int:
        self._execute("forget", after=after, upto=upto, window=self._options.window)
        return self._cursor.rowcount

    def _save(self, before: Position, after: Position) -> None:
        self._execute(
            "save",
            cursor=after.cursor,
            highest=after.highest,
            cycle=after.cycle,
            looked=after.looked,
            found=after.found,
            left_out=after.left_out,
            began=before.cursor is None and after != before,
            ended=after.ended(before),
        )

    def _finished(self, *, walked: bool) -> bool:
        if walked:
            self._execute("walked")
        self._execute("finish", backfill=BACKFILL)
        return self._cursor.rowcount > 0

    def _one(self, name: str, **values: object) -> tuple[Any, ...]:
        self._execute(name, **values)
        row: tuple[Any, ...] | None = self._cursor.fetchone()
        if row is None:
            raise DatabaseUnavailableError("the sweep's row is missing: run `python -m daemon init`")
        return row

    def _execute(self, name: str, **values: object) -> None:
        self._cursor.execute(self._queries[name], values)
