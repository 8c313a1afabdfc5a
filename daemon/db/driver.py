"""The seam to psycopg2: connecting, and its errors as ours."""

import os
import re
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from typing import Any

import psycopg2
import psycopg2.extras
from psycopg2 import extensions
from psycopg2.extensions import connection, cursor

from daemon.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailableError,
    ImpossibleIdError,
    sqlstate,
)

Connection = connection
Cursor = cursor


class Awaited(Enum):
    """What a non-blocking connection waits for: for bytes, for room to send some, or for nothing: it is done."""

    READ = auto()
    WRITE = auto()
    NOTHING = auto()


CONNECT_TIMEOUT = 5
"""Seconds. A server that does not answer by then is away."""

KEEPALIVE: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""A peer that vanished behind a NAT is noticed after 10 + 3 * 5 s, or 25 s with bytes under way, instead of hours."""

INSUFFICIENT_PRIVILEGE = "42501"
LOCK_NOT_AVAILABLE = "55P03"
QUERY_CANCELED = "57014"
TEMPORARY_STATES = frozenset({"25006", "25P03", "25P04", LOCK_NOT_AVAILABLE, QUERY_CANCELED, "58030"})
"""SQLSTATEs beyond the classes below that pass by themselves: a read-only standby, a transaction that idled or lasted
too long, a lock not had, a statement cancelled, an I/O error. Source: PostgreSQL manual, appendix A."""

TEMPORARY_CLASSES = frozenset({"08", "40", "53", "57"})
"""Connection exception, transaction rollback (deadlock), insufficient resources, operator intervention."""


IMPOSSIBLE_ID = frozenset({"22P02", "22003"})
"""Text that the id's type does not know; a number beyond its range."""


def check_dsn(dsn: str, key: str) -> str:
    """The DSN, if libpq can read it. Raises `ConfigurationError`; quotes none of it, any part may be a password's."""
    try:
        parts = extensions.parse_dsn(dsn)
    except psycopg2.ProgrammingError:
        parts = {"port": "unread"}
    ports, hosts = (parts.get(name, "").split(",") for name in ("port", "host"))
    # An @ leads an abstract socket's name. Anywhere else, the password had one, too, and the host begins in its middle.
    if all(re.fullmatch(r"[0-9]*", port) for port in ports) and not any("@" in host[1:] for host in hosts):
        return dsn
    raise ConfigurationError(
        f"{key} is neither a URL, postgresql://user:password@host:port/name, nor what libpq reads otherwise, host=… "
        "dbname=…: in a URL, percent-encode each % @ : / of the user's name and password"
    )


def connect(dsn: str, application_name: str) -> Connection:
    """A new connection. Raises `DatabaseUnavailableError`; ids of type uuid come and go as `uuid.UUID`."""
    with mapped_errors():
        made: Connection = psycopg2.connect(
            dsn,
            application_name=application_name,
            connect_timeout=CONNECT_TIMEOUT,
            client_encoding="UTF8",
            **KEEPALIVE,
        )
        psycopg2.extras.register_uuid(conn_or_curs=made)  # type: ignore[no-untyped-call]  # its stub says nothing
        return made


@contextmanager
def mapped_errors() -> Iterator[None]:
    """Turns psycopg2's errors into ours: one that may pass by itself, or one that will not."""
    try:
        yield
    except psycopg2.Error as error:
        kind = DatabaseUnavailableError if _may_pass(error) else DatabaseError
        raise kind(_message(error)) from error


@contextmanager
def savepoint(cursor: Cursor) -> Iterator[None]:
    """Runs a part of a transaction so that its failure leaves the rest of the transaction intact."""
    with mapped_errors():
        cursor.execute("SAVEPOINT part")
        try:
            yield
        except psycopg2.Error:
            cursor.execute("ROLLBACK TO SAVEPOINT part")
            raise
        cursor.execute("RELEASE SAVEPOINT part")


def _may_pass(error: psycopg2.Error) -> bool:
    if error.pgcode is None:
        # "invalid sslmode value" and its like: libpq refuses a parameter, and asked no server.
        refused = str(error).startswith("invalid ")
        return isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) and not refused
    return error.pgcode[:2] in TEMPORARY_CLASSES or error.pgcode in TEMPORARY_STATES


def _message(error: psycopg2.Error) -> str:
    primary = error.diag.message_primary
    return f"{primary} (SQLSTATE {error.pgcode})" if primary else str(error).strip()


@contextmanager
def named_ids() -> Iterator[None]:
    """Where an id comes from people: text that cannot be an id of this table is one that is not there."""
    try:
        yield
    except DatabaseError as error:
        if sqlstate(error) in IMPOSSIBLE_ID:
            raise ImpossibleIdError(f"there is no such image: {error}") from error
        raise


def text_of(kept: bytes | memoryview, cursor: Cursor) -> str:
    """A text of the users' that a statement gave as the bytes that the database keeps, so that none makes it fail.

    What is no text in the database's encoding stays, each byte a lone surrogate: a file is found by such a path all the
    same. SQL_ASCII takes any bytes for text.
    """
    name = cursor.connection.info.parameter_status("server_encoding") or "UTF8"
    codec = "utf_8" if name == "SQL_ASCII" else extensions.encodings.get(name, "utf_8")
    return bytes(kept).decode(codec, "surrogateescape")


def is_addressed(connection: Connection) -> bool:
    """Whether the server has said something to one that asked nothing: as a rule, that it is over."""
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    return bool(poller.poll(0))


def cut(connection: Connection) -> None:
    """Breaks a connection under whichever thread waits for it; that one closes it."""
    with suppress(OSError, psycopg2.Error), socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)


def connect_nonblocking(dsn: str, application_name: str) -> Connection:
    """Begins to connect; `progress` says what to wait for. Outside any transaction. Raises `DatabaseUnavailableError`.

    libpq looks the host's name up before it returns; all else is up to whoever waits.
    """
    with mapped_errors():
        made: Connection = psycopg2.connect(dsn, application_name=application_name, async_=1, **KEEPALIVE)
        return made


def progress(connection: Connection) -> Awaited:
    """Reads and writes what it can without blocking; gives what the connection, or its statement, waits for next."""
    with mapped_errors():
        match connection.poll():
            case extensions.POLL_OK:
                return Awaited.NOTHING
            case extensions.POLL_READ:
                return Awaited.READ
            case extensions.POLL_WRITE:
                return Awaited.WRITE
            case _:
                raise DatabaseUnavailableError("the connection broke")
