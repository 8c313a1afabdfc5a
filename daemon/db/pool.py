"""Connections, handed out for one transaction at a time."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import BoundedSemaphore, Lock

from daemon.db.driver import Connection, Cursor, connect, mapped_errors
from daemon.errors import VectordError


class Pool:
    """At most `size` connections to `dsn`, opened when first needed; one that broke is replaced by the next call.

    Raises `DatabaseUnavailableError` when the server is away, `DatabaseError` when it refuses.
    """

    def __init__(self, dsn: str, *, size: int, application_name: str = "vectord") -> None:
        self.size = size
        self.in_use = 0
        """Connections handed out just now."""
        self._dsn = dsn
        self._application_name = application_name
        self._room = BoundedSemaphore(size)
        self._lock = Lock()
        self._idle: list[Connection] = []

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """A cursor in a transaction of its own: committed at the end, rolled back when an error leaves it."""
        with self._room, self._counted():
            taken = self._take()
            try:
                with mapped_errors(), taken, taken.cursor() as cursor:
                    yield cursor
            except VectordError:
                # The server went away: whatever idles here is as dead as this one.
                self.close() if taken.closed else self._give_back(taken)
                raise
            except BaseException:
                taken.close()
                raise
            self._give_back(taken)

    @contextmanager
    def autocommit(self) -> Iterator[Cursor]:
        """A cursor outside any transaction, for what PostgreSQL refuses inside one (CREATE INDEX CONCURRENTLY)."""
        alone = connect(self._dsn, self._application_name)
        try:
            alone.autocommit = True
            with mapped_errors(), alone.cursor() as cursor:
                yield cursor
        finally:
            alone.close()

    def close(self) -> None:
        """Closes what is idle. Connections in use are closed when they come back broken, or by the process's end."""
        with self._lock:
            idle, self._idle = self._idle, []
        for one in idle:
            with suppress(Exception):
                one.close()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self.in_use += 1
        try:
            yield
        finally:
            with self._lock:
                self.in_use -= 1

    def _take(self) -> Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return connect(self._dsn, self._application_name)

    def _give_back(self, taken: Connection) -> None:
        with self._lock:
            self._idle.append(taken)
