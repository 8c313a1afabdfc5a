"""What everything stands on: the database, with the schema in it.

Commands that only ask or change the tables need nothing else, and load no more than this.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import structlog

from daemon import options
from daemon.config import Settings
from daemon.db import schema
from daemon.db.driver import check_dsn
from daemon.db.embedded import EmbeddedServer
from daemon.db.names import Names
from daemon.db.pool import Pool
from daemon.db.tools import Tools
from daemon.errors import DatabaseError, DatabaseUnavailableError

_log = structlog.get_logger("vectord")


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The database with the schema in it, for whoever works on it."""

    dsn: str
    pool: Pool
    layout: schema.Layout


@contextmanager
def open_ground(settings: Settings) -> Iterator[Ground]:
    """Makes what is missing in the database first. Raises `DatabaseError` that says which right is lacking."""
    with database(settings) as dsn, closing(_pool(settings, dsn)) as pool:
        yield Ground(dsn=dsn, pool=pool, layout=_migrate(settings, pool))


@contextmanager
def open_as_it_is(settings: Settings) -> Iterator[Ground]:
    """For who only looks. Raises `DatabaseError` with the remedy where something would have to be made first."""
    with database(settings) as dsn, closing(_pool(settings, dsn)) as pool:
        seen = schema.look(pool, options.names(settings), options.schema_options(settings))
        yield Ground(dsn=dsn, pool=pool, layout=seen)


@contextmanager
def open_tools(settings: Settings) -> Iterator[Tools]:
    """The database for a command. Raises `DatabaseError` with the remedy where nobody has made the schema yet."""
    with database(settings) as dsn, closing(_pool(settings, dsn)) as pool:
        yield Tools(pool, options.names(settings), notify=settings.queue.notify)


def migrate(settings: Settings) -> None:
    """Makes what is missing in the database. Raises `DatabaseError` that says which right is lacking."""
    with open_ground(settings):
        pass


def schema_script(settings: Settings, *, id_type: str | None = None, role: str | None = None) -> str:
    """What a DBA would run instead. `role` is whom to grant what the daemon needs.

    Where nobody says of which type the images' ids are, the database is asked, if there is one and it answers.
    """
    names, known = options.names(settings), ""
    if id_type is None:
        id_type, known = _ask_id_type(settings, names)
    return known + schema.print_sql(names, options.schema_options(settings), id_type, role)


def _ask_id_type(settings: Settings, names: Names) -> tuple[str, str]:
    """The type of the images' ids, and a comment of SQL that says how it is known."""
    table, why = names.source_table, "database.dsn names no database"
    if dsn := _configured(settings):
        try:
            with closing(_pool(settings, dsn)) as pool:
                if found := schema.look_up_id_type(pool, names):
                    return found, f"-- The ids of {table} are {found}, as they are in the database.\n"
            why = f"there is no {table} yet"
        except (DatabaseError, DatabaseUnavailableError) as error:
            why = " ".join(str(error).split())
    supposed = schema.DEFAULT_ID_TYPE
    return supposed, f"-- The ids of {table} are taken to be {supposed} (see --id-type): {why}.\n"


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """The DSN: the configured one, or that of the embedded PostgreSQL, which runs while this lasts.

    Raises `ConfigurationError` for one that cannot be read.
    """
    if dsn := _configured(settings):
        yield dsn
        return
    with EmbeddedServer(settings.database.state_dir / "postgres") as server:
        yield server.dsn


def _configured(settings: Settings) -> str:
    own = settings.database
    check_dsn(own.listen_dsn.get_secret_value(), "database.listen_dsn")
    return check_dsn(own.dsn.get_secret_value(), "database.dsn")


def _pool(settings: Settings, dsn: str) -> Pool:
    """The pipeline's connections. What a daemon that froze has locked is free when its leases are."""
    return Pool(dsn, size=settings.database.pool_size, frozen_seconds=settings.queue.lease_seconds)


def _migrate(settings: Settings, pool: Pool) -> schema.Layout:
    layout = schema.migrate(pool, options.names(settings), options.schema_options(settings))
    for note in layout.notes:
        _log.warning("schema.note", note=note)
    return layout
