"""The nearest images by cosine, found by pgvector: `similar`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import nan
from pathlib import Path

from daemon.db.driver import QUERY_CANCELED, Cursor, named_ids
from daemon.db.names import Names, load_queries
from daemon.db.pool import Pool
from daemon.errors import DatabaseError, DatabaseUnavailableError, NotFoundError, TooSlowError, sqlstate
from daemon.records import ImageId, Vectors

QUERIES = Path(__file__).with_name("queries_reports.sql")

KINDS: Mapping[str, str] = {"vector": "nearest_vector", "halfvec": "nearest_halfvec", "real[]": "nearest_real"}
"""The statement for each type of column: only an expression that says the same as the index uses the index."""

MOST = 1_000
"""What pgvector's hnsw.ef_search goes up to, and with it k."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """An image, its cosine to the one asked for (1 is the same), and what made its vector.

    Vectors of different models do not lie in one space, so a cosine across two versions says little.
    """

    image_id: ImageId
    similarity: float
    version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageVector:
    """An image's vector as the table has it, and what made it. NaN is also what stands for NULL."""

    values: tuple[float, ...]
    version: str | None


class Similar:
    """All methods raise `DatabaseUnavailableError` and `DatabaseError`.

    With an HNSW index the answer is approximate and takes milliseconds; without one, and always over `real[]`, every
    vector is compared. A statement that takes longer than `seconds`, where there is such a limit, is given up, and
    raises `TooSlowError`.
    """

    def __init__(self, pool: Pool, names: Names, *, seconds: float | None = None) -> None:
        self._pool = pool
        self._names = names
        self._seconds = seconds
        self._queries = load_queries(names, QUERIES)

    def to_image(self, image_id: ImageId, k: int = 10) -> list[Neighbour]:
        """The `k` nearest others of an image. Raises `NotFoundError` where it has no vector."""
        with named_ids(), self._asking() as cursor:
            query = self._prepare(cursor, k + 1)
            text, _, itself = self._row(cursor, image_id)
            found = self._nearest(cursor, query, text.replace("{", "[").replace("}", "]"), k + 1)
            return [one for one in found if one.image_id != itself][:k]

    def vector_of(self, image_id: ImageId) -> ImageVector:
        """An image's vector. Raises `NotFoundError` where it has none."""
        with named_ids(), self._asking() as cursor:
            text, version, _ = self._row(cursor, image_id)
            return ImageVector(values=tuple(map(_number, text.strip("[]{}").split(","))), version=version)

    def to_vector(self, vector: Sequence[float] | Vectors, k: int = 10) -> list[Neighbour]:
        """The `k` images nearest to a vector, as long as the table's are."""
        with self._asking() as cursor:
            query = self._prepare(cursor, k)
            return self._nearest(cursor, query, f"[{','.join(map(repr, map(float, vector)))}]", k)

    @contextmanager
    def _asking(self) -> Iterator[Cursor]:
        try:
            with self._pool.transaction() as cursor:
                if self._seconds is not None:
                    cursor.execute(self._queries["give_up_after"], {"milliseconds": str(round(self._seconds * 1000))})
                yield cursor
        except DatabaseUnavailableError as error:
            if self._seconds is not None and sqlstate(error) == QUERY_CANCELED:
                raise TooSlowError(_given_up(self._seconds)) from error
            raise

    def _row(self, cursor: Cursor, image_id: ImageId) -> tuple[str, str | None, ImageId]:
        """The vector as text, its version, and the id as the table spells it."""
        cursor.execute(self._queries["vector_of"], {"id": str(image_id)})
        if (row := cursor.fetchone()) is None:
            raise _no_vector(image_id)
        return row

    def _prepare(self, cursor: Cursor, k: int) -> str:
        values = {
            "table": self._names.quoted["target"],
            "vector_column": self._names.target_vector,
            "ef_search": str(min(MOST, max(40, k))),
        }
        cursor.execute(self._queries["vector_kind"], values)
        kind = (cursor.fetchone() or ("",))[0].rpartition(".")[2]
        if kind not in KINDS:
            raise DatabaseError(f"{self._names.target_table}.{self._names.target_vector} is {kind}, no vector")
        return self._queries[KINDS[kind]]

    def _nearest(self, cursor: Cursor, query: str, vector: str, k: int) -> list[Neighbour]:
        cursor.execute(query, {"vector": vector, "k": k})
        return [
            Neighbour(image_id=one, similarity=cosine, version=version) for one, cosine, version in cursor.fetchall()
        ]


def _number(text: str) -> float:
    return nan if text == "NULL" else float(text)


def _no_vector(image_id: ImageId) -> NotFoundError:
    return NotFoundError(f"image {image_id} has no vector; `why {image_id}` says more")


def _given_up(seconds: float) -> str:
    return (
        f"the search was given up after {seconds:g} s: PostgreSQL is busy, or compares all vectors for want of an index"
    )
