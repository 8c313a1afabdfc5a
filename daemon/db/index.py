"""The HNSW index over the vectors: built, dropped and built anew beside the running service.

Writing a vector costs some twenty times more with the index than without, and building it afterwards is several times
faster than letting it grow, so that a bulk load is best done without.
"""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from daemon.db.catalog import Catalog, Column
from daemon.db.driver import INSUFFICIENT_PRIVILEGE, Cursor, mapped_errors
from daemon.db.names import QUERIES, Names, load_queries
from daemon.db.pool import Pool
from daemon.db.steps import index_sql
from daemon.errors import DatabaseError, VectordError, sqlstate

QUERIES_INDEX = QUERIES.with_name("queries_index.sql")
INDEXABLE = frozenset({"vector", "halfvec"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a build is: PostgreSQL's name of the phase, and blocks of the table read, of how many (0: not known)."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The table's indexes, by their SQL names, and the column that they are on."""

    column: Column
    valid: Sequence[str]
    invalid: Sequence[str]
    builder: int | None
    """The server's process that builds one just now."""


class VectorIndex:
    """All of it CONCURRENTLY: nobody who reads or writes vectors waits, and a build waits for transactions to end.

    `memory_mb` is the server's maintenance_work_mem for the build: a graph that does not fit is built much slower.
    `look_seconds` is how often progress is told. Raises `DatabaseUnavailableError` or `DatabaseError`.
    """

    def __init__(self, pool: Pool, names: Names, *, memory_mb: int | None = None, look_seconds: float = 0.5) -> None:
        self._pool = pool
        self._names = names
        self._queries = load_queries(names, QUERIES_INDEX)
        self._memory_mb = memory_mb
        self._look_seconds = look_seconds

    def there(self) -> bool:
        """Whether there is one that serves searches."""
        return bool(self._found().valid)

    def build(self) -> Generator[Progress]:
        """Builds the index if there is none, and tells how far it is. Whoever stops listening breaks the build off."""
        found = self._found()
        if not found.valid:
            _refuse_beside(found.builder)
            sql = index_sql(self._names, found.column.type_schema, found.column.type, concurrently=True)
            yield from self._run([*_drops(found.invalid), sql])

    def rebuild(self) -> Iterator[Progress]:
        """Builds it anew; the old one serves until the new one is ready."""
        found = self._found()
        if not found.valid:
            yield from self.build()
            return
        _refuse_beside(found.builder)
        yield from self._run([*_drops(found.invalid), *(f"REINDEX INDEX CONCURRENTLY {name}" for name in found.valid)])

    def drop(self) -> Sequence[str]:
        """Drops every HNSW index on the vector column. Gives their names."""
        found = self._found()
        names = [*found.valid, *found.invalid]
        self._drop(names)
        return names

    def _found(self) -> _Found:
        with self._pool.transaction() as cursor:
            table = Catalog(cursor, self._names).table(self._names.target_table)
            column = table.columns.get(self._names.target_vector) if table else None
            if table is None or column is None:
                raise DatabaseError(f"there is no {self._names.target_table}.{self._names.target_vector} to index")
            if column.type not in INDEXABLE:
                raise DatabaseError(
                    f"{self._names.target_table}.{column.name} is {column.type}: only vector and halfvec can be indexed"
                )
            cursor.execute(self._queries["vector_indexes"], {"oid": table.oid, "column": column.name})
            rows = cursor.fetchall()
            cursor.execute(self._queries["index_builder"], {"oid": table.oid})
            builder = cursor.fetchone()
        return _Found(
            column=column,
            builder=builder[0] if builder else None,
            valid=[name for name, valid in rows if valid],
            invalid=[name for name, valid in rows if not valid],
        )

    @contextmanager
    def _patient(self) -> Iterator[Cursor]:
        """A session of its own, which no timeout ends."""
        with self._owners_alone(), self._pool.autocommit() as cursor:
            cursor.execute(self._queries["patient"])
            yield cursor

    @contextmanager
    def _owners_alone(self) -> Iterator[None]:
        """The daemon's own role need not be the owner, and no right that could be granted makes up for that."""
        try:
            yield
        except DatabaseError as error:
            if sqlstate(error) != INSUFFICIENT_PRIVILEGE:
                raise
            raise DatabaseError(
                f"{error}; only the owner of {self._names.target_table} may build and drop its indexes: call this with "
                "the owner's VECTORD_DATABASE__DSN"
            ) from error

    def _drop(self, names: Sequence[str]) -> None:
        with self._patient() as cursor:
            for statement in _drops(names):
                cursor.execute(statement)

    def _run(self, statements: Sequence[str]) -> Iterator[Progress]:
        """Runs them on a session of their own. What they leave half-done when they fail is cleared away."""
        with self._patient() as cursor, ThreadPoolExecutor(1) as threads:
            if self._memory_mb is not None:
                cursor.execute(self._queries["index_memory"], {"memory": f"{self._memory_mb}MB"})
            running = threads.submit(_execute, cursor, statements)
            try:
                yield from self._watch(running, cursor.connection.info.backend_pid)
                running.result()
            except BaseException:
                cursor.connection.cancel()
                wait([running])
                self._clear()
                raise

    def _watch(self, running: Future[None], pid: int) -> Iterator[Progress]:
        while not wait([running], self._look_seconds).done:
            with self._pool.transaction() as cursor:
                cursor.execute(self._queries["index_progress"], {"pid": pid})
                row = cursor.fetchone()
            if row is not None:
                yield Progress(phase=row[0], done=row[1], total=row[2])

    def _clear(self) -> None:
        with suppress(VectordError):
            self._drop(self._found().invalid)


def _execute(cursor: Cursor, statements: Sequence[str]) -> None:
    with mapped_errors():
        for statement in statements:
            cursor.execute(statement)


def _refuse_beside(builder: int | None) -> None:
    """What looks left behind is what another session is at work on, perhaps for hours already."""
    if builder is not None:
        raise DatabaseError(
            f"process {builder} of PostgreSQL is building an index of this table already: wait for its end, "
            f"or end it with SELECT pg_cancel_backend({builder})"
        )


def _drops(names: Sequence[str]) -> list[str]:
    return [f"DROP INDEX CONCURRENTLY IF EXISTS {name}" for name in names]
