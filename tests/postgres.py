"""PostgreSQL as the tests use it: the server of the session, and a database of one test."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol, TypeVar
from uuid import UUID

import psycopg2
import psycopg2.extras

from daemon.db.jobs import JobQueue
from daemon.db.names import Names
from daemon.db.pool import Pool

T = TypeVar("T")

DIMENSION = 4
"""Of the vectors in the tests' tables: short, so that a test can write one down."""


@dataclass(frozen=True)
class Database:
    """A database with vectord's schema in it: the users' tables are empty."""

    dsn: str
    names: Names
    pool: Pool
    dimension: int = DIMENSION

    def connect(self) -> psycopg2.extensions.connection:
        """A session of its own, as another program would have. The caller closes it."""
        made = psycopg2.connect(self.dsn)
        psycopg2.extras.register_uuid(conn_or_curs=made)  # type: ignore[no-untyped-call] # untyped in its stubs
        return made

    def execute(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Runs one statement in a transaction of its own; gives its rows, if it has any."""
        with closing(self.connect()) as session, session, session.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def insert(self, ids: Sequence[Any], location: str = "http://example.test/{}.jpg") -> None:
        """Writes images as the users' application would, in one statement."""
        q = self.names.quoted
        with closing(self.connect()) as session, session, session.cursor() as cursor:
            psycopg2.extras.execute_values(
                cursor,
                f"INSERT INTO {q['source']} ({q['source_id']}, {q['source_location']}) VALUES %s",
                [(one, location.format(one)) for one in ids],
                page_size=max(len(ids), 1),
            )

    @contextmanager
    def in_thread(self, work: Callable[[], T]) -> "Iterator[Future[T]]":
        """Does the work on a thread meanwhile."""
        with ThreadPoolExecutor(1) as threads:
            yield threads.submit(work)


MakeDatabase = Callable[..., Database]
"""With other names or options than usual, or with tables that are there before: the fixture `make_database`."""


def queue_of(database: Database, worker: str = "one") -> JobQueue:
    return JobQueue(database.pool, database.names, worker=worker, lease_seconds=60)


class Executes(Protocol):
    """Whoever runs a statement in a transaction of its own."""

    def execute(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]: ...


def wait_until_blocked(
    database: Executes, *, by: psycopg2.extensions.connection, waiting: int = 1, seconds: float = 60.0
) -> None:
    """Until so many sessions wait for a lock that this one holds."""
    sql = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
    deadline = time.monotonic() + seconds
    while database.execute(sql, (by.info.backend_pid,))[0][0] < waiting:
        assert time.monotonic() < deadline, f"fewer than {waiting} wait"


@dataclass
class Server:
    """The PostgreSQL of this test session. `dsn` leads to its database `postgres`, as a superuser."""

    dsn: str
    _numbers: Iterator[int] = field(default_factory=count)

    def dsn_of(self, database: str, user: str | None = None) -> str:
        """The way to another database of this server."""
        changes = {"dbname": database} | ({"user": user} if user else {})
        return psycopg2.extensions.make_dsn(self.dsn, **changes)

    def execute(self, sql: str) -> None:
        """Runs one statement outside any transaction, in the database `postgres`."""
        with closing(psycopg2.connect(self.dsn)) as session:
            session.autocommit = True
            with session.cursor() as cursor:
                cursor.execute(sql)

    @contextmanager
    def database(self, template: str = "template1", encoding: str = "") -> Iterator[str]:
        """A new database, dropped afterwards whoever is still connected. Gives its DSN."""
        name = f"test_{next(self._numbers)}"
        # Only the locale C goes with each of them, and only template0 is sure to hold no text of another.
        how = f"TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'" if encoding else f'TEMPLATE "{template}"'
        self.execute(f'CREATE DATABASE "{name}" {how}')
        try:
            yield self.dsn_of(name)
        finally:
            self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


LAYOUTS: dict[str, Sequence[Any]] = {
    "bigint": [2**40 + n for n in range(8)],
    "integer": list(range(1, 9)),
    "uuid": [UUID(int=(n << 120) + n) for n in range(8)],
    "text": [f"bild {n} ü'\\" for n in range(8)],
    'text COLLATE "C"': [f"Bild {n} ü'\\" for n in range(8)],
}
"""Ids of every type that the daemon works with."""


def users_tables(id_type: str = "bigint", vector: str = f"vector({DIMENSION})", location: str = "text") -> str:
    """The SQL of a pair of users' tables with the default names."""
    return (
        "CREATE EXTENSION vector; CREATE SCHEMA ecai;"
        f"CREATE TABLE ecai.tb_image (id {id_type} PRIMARY KEY, url {location});"
        f"CREATE TABLE tb_hsx_img_value (id bigserial PRIMARY KEY, image_id {id_type} NOT NULL UNIQUE REFERENCES "
        f"ecai.tb_image ON DELETE CASCADE, feature_vector {vector} NOT NULL, vector_dimension integer, "
        "model_version varchar(50), create_time timestamp DEFAULT now(), note text)"
    )
