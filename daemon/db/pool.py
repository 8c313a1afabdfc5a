"""Connections, handed out for one transaction at a time."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import BoundedSemaphore, Lock
from time import monotonic
from weakref import WeakKeyDictionary

from daemon.db.driver import Connection, Cursor, connect, cut, is_addressed, mapped_errors
from daemon.errors import VectordError, sqlstate

KEPT = frozenset({"", "22", "23", "40", "55", "P0"})
"""Classes of SQLSTATEs that are the fault of a row, a lock or a rival. After any other error the session goes: what is
set for a role or a database (read-only, a timeout, a search_path) holds for sessions that begin, so one that began at
the wrong moment would fail for ever."""
FROZEN_SECONDS = 60.0
OLDEST_SECONDS = 3600.0
"""After so long a session is replaced by a new one. Whoever stored once has a temporary table until the session ends
(queries_store.sql), which no vacuum freezes: over weeks it would hold back `datfrozenxid`, until PostgreSQL vacuums
without end and at last takes no more writes. A new session an hour costs nothing; PgBouncer's live no longer."""
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = %s"
"""READ COMMITTED whatever the server's default is: the queue relies on each statement seeing what was committed. Behind
PgBouncer the server's session is anybody's next, hence SET LOCAL; sent with the BEGIN, it costs no time of its own."""


class Pool:
    """At most `size` connections to `dsn`, opened when first needed; one that broke is replaced by the next call.

    A transaction in which nothing happens for `frozen_seconds` is ended by the server: whoever is stopped in the middle
    of one, or whose machine went away, would keep others from the rows that it has locked. A session older than
    `oldest_seconds` is closed when any comes back, itself included.
    Raises `DatabaseUnavailableError` when the server is away, `DatabaseError` when it refuses.
    """

    def __init__(
        self,
        dsn: str,
        *,
        size: int,
        application_name: str = "vectord",
        frozen_seconds: float = FROZEN_SECONDS,
        oldest_seconds: float = OLDEST_SECONDS,
    ) -> None:
        self.size = size
        self.in_use = 0
        """Connections handed out just now."""
        self._dsn = dsn
        self._application_name = application_name
        self._frozen_milliseconds = round(frozen_seconds * 1000)
        self._oldest_seconds = oldest_seconds
        self._room = BoundedSemaphore(size)
        self._lock = Lock()
        self._idle: list[Connection] = []
        self._since: dict[Connection, float] = {}
        self._born: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """A cursor in a transaction of its own: committed at the end, rolled back when an error leaves it."""
        with self._room, self._counted():
            taken = self._take()
            try:
                with self._watched(taken), mapped_errors(), taken.cursor() as cursor:
                    cursor.execute(BEGIN, (self._frozen_milliseconds,))
                    yield cursor
                    cursor.execute("COMMIT")
            except VectordError as error:
                self._judge(taken, error)
                raise
            except BaseException:
                taken.close()
                raise
            self._give_back(taken)

    @contextmanager
    def autocommit(self) -> Iterator[Cursor]:
        """A cursor outside any transaction, for what PostgreSQL refuses inside one (CREATE INDEX CONCURRENTLY)."""
        alone = self._connect()
        try:
            with mapped_errors(), alone.cursor() as cursor:
                yield cursor
        finally:
            alone.close()

    def close(self) -> None:
        """Closes what is idle. Connections in use are closed when they come back broken, or by the process's end."""
        with self._lock:
            idle, self._idle = self._idle, []
        _close(idle)

    def break_off(self, seconds: float) -> int:
        """Cuts the connections of transactions that last longer than so long, and counts them. From any thread.

        TCP finds out about a machine that is gone, but not about a pooler or proxy that takes the bytes and never
        answers. Whoever waits for that answer gets a `DatabaseUnavailableError`.
        """
        with self._lock:
            overdue = [one for one, since in self._since.items() if monotonic() - since > seconds]
            for one in overdue:
                cut(one)
        return len(overdue)

    @contextmanager
    def _watched(self, taken: Connection) -> Iterator[None]:
        with self._lock:
            self._since[taken] = monotonic()
        try:
            yield
        finally:
            # Before anyone closes it: what it was known by may be somebody else's socket then.
            with self._lock:
                del self._since[taken]

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
        while (idle := self._take_idle()) is not None:
            # A restart, idle_session_timeout or an operator ends sessions that idle: nobody's work need fail of that.
            if not is_addressed(idle):
                return idle
            _close([idle])
        return self._connect()

    def _take_idle(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _connect(self) -> Connection:
        """One that begins no transaction by itself."""
        made = connect(self._dsn, self._application_name)
        made.autocommit = True
        with self._lock:
            self._born[made] = monotonic()
        return made

    def _judge(self, taken: Connection, error: VectordError) -> None:
        """Undoes what was begun, and decides whether the connection can be used again."""
        # What it says of a connection that broke must not hide why that broke.
        with suppress(Exception), taken.cursor() as cursor:
            cursor.execute("ROLLBACK")
        if taken.closed:
            # The server went away: whatever idles here is as dead as this one.
            self.close()
        elif sqlstate(error)[:2] in KEPT:
            self._give_back(taken)
        else:
            taken.close()

    def _give_back(self, taken: Connection) -> None:
        with self._lock:
            self._idle.append(taken)
            old = self._take_out_the_old()
        _close(old)

    def _take_out_the_old(self) -> list[Connection]:
        """All of them: those at the bottom of the pile may never be taken again."""
        before = monotonic() - self._oldest_seconds
        old = [one for one in self._idle if self._born[one] < before]
        if old:
            self._idle = [one for one in self._idle if one not in old]
        return old


def _close(connections: Iterable[Connection]) -> None:
    for one in connections:
        with suppress(Exception):
            one.close()
