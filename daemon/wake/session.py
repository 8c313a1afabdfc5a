"""A connection that is never waited for without a deadline: what LISTEN needs to notice that the other side is gone."""

import os
import select
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Any, Self, cast

from daemon.db.driver import Awaited, Connection, connect_nonblocking, mapped_errors, progress
from daemon.errors import DatabaseUnavailableError


class StoppedError(Exception):
    """Somebody asked to stop while this waited."""


class StopPipe:
    """A stop that ends any wait of a `Session` at once, from any thread."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def fileno(self) -> int:
        return self._read

    def stop(self) -> None:
        os.write(self._write, b"x")

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> None:
        """Waits so long. Raises `StoppedError` as soon as asked to stop."""
        if select.select([self._read], [], [], seconds)[0]:
            raise StoppedError


class Session:
    """One connection outside any transaction. Opened on entry, closed on exit.

    `heard` gets the channel and the payload of every notification, while `execute` or `hear` runs. No answer within
    `answer_seconds` is `DatabaseUnavailableError`.
    """

    def __init__(
        self, dsn: str, name: str, stop: StopPipe, heard: Callable[[str, str], None], *, answer_seconds: float
    ) -> None:
        self._dsn = dsn
        self._name = name
        self._stop = stop
        self._heard = heard
        self._answer_seconds = answer_seconds
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        connection = self._connection = connect_nonblocking(self._dsn, self._name)
        # psycopg2 appends every notification to whatever this is: here none is ever kept.
        connection.notifies = cast("list[Any]", _Ear(self._heard))
        try:
            self._finish("no connection")
        except BaseException:
            connection.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            with suppress(Exception):
                self._connection.close()

    def execute(self, statement: str) -> None:
        """Runs one statement whose result nobody wants."""
        with mapped_errors(), self._open.cursor() as cursor:
            cursor.execute(statement)
            # The cursor has to live until the answer is there.
            self._finish("no answer")

    def hear(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Takes notifications for so long, or until `until` says that it was enough. It is asked after every read."""
        deadline = monotonic() + seconds
        while not until() and (left := deadline - monotonic()) > 0:
            if self._ready(Awaited.READ, left):
                progress(self._open)

    @property
    def _open(self) -> Connection:
        if self._connection is None:
            raise DatabaseUnavailableError("the connection is not open")
        return self._connection

    def _finish(self, complaint: str) -> None:
        """Goes on until the connection waits for nothing more."""
        deadline = monotonic() + self._answer_seconds
        while (awaited := progress(self._open)) is not Awaited.NOTHING:
            if not self._ready(awaited, deadline - monotonic()):
                raise DatabaseUnavailableError(f"{complaint} within {self._answer_seconds:g} s")

    def _ready(self, awaited: Awaited, seconds: float) -> bool:
        poller = select.poll()
        poller.register(self._stop, select.POLLIN)
        with mapped_errors():
            # While it connects, libpq may change to another socket, so it is asked each time.
            descriptor = self._open.fileno()
        poller.register(descriptor, select.POLLOUT if awaited is Awaited.WRITE else select.POLLIN)
        ready: list[Any] = poller.poll(max(0.0, seconds) * 1000)
        if any(one == self._stop.fileno() for one, _ in ready):
            raise StoppedError
        return bool(ready)


class _Ear:
    """Stands in for psycopg2's list of notifications, which grows until somebody empties it."""

    def __init__(self, heard: Callable[[str, str], None]) -> None:
        self._heard = heard

    def append(self, notify: Any) -> None:
        self._heard(notify.channel, notify.payload)
