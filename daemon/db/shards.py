"""The shards of a backfill: ranges of ids, planned by walks over the primary key, and which of them are finished."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from daemon.db.backfill import QUERIES, Span
from daemon.db.names import Names, load_queries
from daemon.db.pool import Pool
from daemon.records import ImageId

FIRST = (-1, None)
"""Number and last image of the shard before the first one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A range of ids, and how many images were in it when it was planned."""

    number: int
    span: Span
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """All shards and their images, and those that are open."""

    shards: int
    images: int
    open_shards: int
    open_images: int

    @property
    def finished_shards(self) -> int:
        return self.shards - self.open_shards

    @property
    def finished_images(self) -> int:
        return self.images - self.open_images


class Shards:
    """The record of one signature's shards. All raise `DatabaseUnavailableError` or `DatabaseError`."""

    def __init__(self, pool: Pool, names: Names, signature: str) -> None:
        self._pool = pool
        self._queries = load_queries(names, QUERIES)
        self._signature = {"signature": signature}

    def survey(self, size: int) -> Iterator[Shard]:
        """The shards that would be planned next: images after the last one planned, or all of them when no shard is
        open. Writes nothing.
        """
        number, after = self._one("planned") or FIRST
        while (shard := self._next(number + 1, after, size)) is not None:
            yield shard
            number, after = shard.number, shard.span.upto

    def plan(self, size: int) -> Iterator[Shard]:
        """The same, each written down before it is given: whoever is interrupted goes on from there.

        So does who plans at the same time, perhaps in other sizes: each begins where the last one in the table ends.
        """
        self._do("begin_anew")
        while True:
            number, after = self._one("last") or FIRST
            if (shard := self._next(number + 1, after, size)) is None:
                return
            values = {"after": shard.span.after, "upto": shard.span.upto, "images": shard.images}
            self._do("plan", number=shard.number, **values)
            yield shard

    def open(self, limit: int, above: int = -1) -> Sequence[Shard]:
        """The first shards above this number that are not finished."""
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries["open"], {**self._signature, "limit": limit, "above": above})
            return [
                Shard(number=number, span=Span(after=after, upto=upto), images=images)
                for number, after, upto, images in cursor.fetchall()
            ]

    def parts(self, span: Span, size: int) -> Sequence[Span]:
        """The range in parts of `size` images each, less in the last."""
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries["edges"], {"after": span.after, "upto": span.upto, "size": size})
            edges: list[ImageId] = [edge for (edge,) in cursor.fetchall()]
        return [Span(after=after, upto=upto) for after, upto in zip([span.after, *edges], edges, strict=False)]

    def count(self, number: int, *, stored: int, dead: int, retried: int) -> None:
        """Adds what came of some of a shard's images."""
        self._do("count", number=number, stored=stored, dead=dead, retried=retried)

    def finish(self, number: int) -> None:
        self._do("finish", number=number)

    def totals(self) -> Totals:
        shards, images, open_shards, open_images = self._one("totals") or (0, 0, 0, 0)
        return Totals(shards=shards, images=int(images), open_shards=open_shards, open_images=int(open_images))

    def forced_since(self) -> datetime | None:
        """When the forced reprocess began that is not through with the table."""
        row = self._one("forced_since")
        return row[0] if row else None

    def hold(self, worker: str, span: Span, seconds: float) -> None:
        """Has the sweep leave out this range for so long."""
        self._do("hold", worker=worker, after=span.after, upto=span.upto, seconds=seconds)

    def let_go(self, worker: str) -> None:
        """The sweep may feed it again."""
        self._do("let_go", worker=worker)

    def _next(self, number: int, after: ImageId | None, size: int) -> Shard | None:
        images, last = self._one("next", after=after, size=size) or (0, None)
        return Shard(number=number, span=Span(after=after, upto=last), images=images) if images else None

    def _one(self, name: str, **values: object) -> tuple[Any, ...] | None:
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries[name], self._signature | values)
            row: tuple[Any, ...] | None = cursor.fetchone()
            return row

    def _do(self, name: str, **values: object) -> None:
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries[name], self._signature | values)
