"""The demo as the users' application: writes images in several transactions, and asks for neighbours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.db.names import Names, load_queries
from daemon.db.pool import Pool

QUERIES = Path(__file__).with_name("demo.sql")
TRANSACTION = 16
"""Images inserted at once: several transactions even for a few dozen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How many images have a vector, and how many failed for good."""

    vectors: int
    dead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """`other` is among the nearest to `image`; `similarity` is their cosine."""

    image: int
    other: int
    similarity: float


class Tables:
    """The users' two tables, seen from their side."""

    def __init__(self, pool: Pool, names: Names) -> None:
        self._pool = pool
        self._queries = load_queries(names, QUERIES)

    def insert(self, locations: Mapping[int, str]) -> None:
        """Writes images, a few in each transaction, as an application would."""
        rows = [{"id": number, "location": location} for number, location in locations.items()]
        for start in range(0, len(rows), TRANSACTION):
            with self._pool.transaction() as cursor:
                cursor.executemany(self._queries["insert_image"], rows[start : start + TRANSACTION])

    def progress(self) -> Progress:
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries["progress"])
            vectors, dead = cursor.fetchone() or (0, 0)
            return Progress(vectors=vectors, dead=dead)

    def failures(self) -> dict[str, int]:
        """Images that failed for good, by reason."""
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries["failures"])
            return dict(cursor.fetchall())

    def nearest(self, k: int, images: Sequence[int] | None = None) -> list[Neighbour]:
        """The `k` nearest others of each of the images (all of them when None), found by pgvector, exactly."""
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries["exact_search"])
            cursor.execute(self._queries["nearest"], {"k": k, "ids": None if images is None else list(images)})
            return [Neighbour(image=one, other=other, similarity=cosine) for one, other, cosine in cursor.fetchall()]
