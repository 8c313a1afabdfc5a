"""The embedded PostgreSQL: it starts, keeps what it is told, and says so when it cannot."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from daemon.db.embedded import EmbeddedServer
from daemon.errors import DatabaseError, DatabaseUnavailableError


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's folder: the server runs as another user when this is root, and has to get at it."""
    made = Path(tempfile.mkdtemp(prefix="vectord-test-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def ask(server: EmbeddedServer, sql: str) -> object:
    with closing(psycopg2.connect(server.dsn)) as session, session, session.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else None


def test_it_keeps_what_it_is_told_until_the_next_start(folder: Path) -> None:
    server = EmbeddedServer(folder / "state" / "postgres")
    with pytest.raises(DatabaseUnavailableError, match="not been started"):
        server.dsn  # noqa: B018 - asking is the test
    with server:
        ask(server, "CREATE EXTENSION vector; CREATE TABLE kept AS SELECT '[1,2]'::vector AS v")
        dsn = server.dsn
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(dsn)
    with EmbeddedServer(folder / "state" / "postgres") as again:
        assert ask(again, "SELECT v::text FROM kept") == [("[1,2]",)]


def test_it_says_where_it_cannot_start(folder: Path) -> None:
    (folder / "postgres").mkdir()
    (folder / "postgres" / "PG_VERSION").write_text("9")
    with pytest.raises(DatabaseError, match=r"Set database\.dsn"), EmbeddedServer(folder / "postgres"):
        pass
