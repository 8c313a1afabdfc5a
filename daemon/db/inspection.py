"""What `check` wants to know of the database, read in one read-only transaction; the doctor says what it means."""

import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, time
from typing import Any

from daemon.db.catalog import QUERIES_CATALOG, Catalog, Table, faults
from daemon.db.driver import Cursor, savepoint, text_of
from daemon.db.index import QUERIES_INDEX
from daemon.db.names import QUERIES, Names, load_queries
from daemon.db.pool import Pool
from daemon.db.reports import ALIVE_SECONDS
from daemon.db.rights import Right, Veiled, missing_rights, veiled_tables
from daemon.db.schema import SchemaOptions
from daemon.db.steps import TRIGGERS_KEY, VERSION_KEY, schemas_of, triggers_step
from daemon.errors import DatabaseError
from daemon.records import ImageId

QUERIES_CHECK = QUERIES.with_name("queries_check.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The server. `skew` is by how many seconds its clock is ahead of ours, known to within half of `seconds`, which
    is what the answer took.
    """

    version: str
    number: int
    role: str
    read_only: bool
    connections_left: int
    skew: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """pgvector's version in this database, and the one that lies ready on the server. None: it is not there."""

    installed: str | None
    available: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """The image with the highest id. `location` is None where the row has none."""

    image_id: ImageId
    location: str | bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggers:
    """Ours on the images: those that work, those that are switched off, and whether their text is that of today."""

    working: frozenset[str]
    disabled: frozenset[str]
    current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """All of it. What could not be read, for want of a table or a right, is None; `unread` says why `newest` could not.

    `own_id_type` is what vectord's own id columns are; `faults` says why the tables do not fit; `may_create` has each
    schema in which something may have to be made; `indexes` are the HNSW indexes on the vectors, by name, and whether
    each is valid; `lives_here` is whether some daemon of this machine, which is alive, works on this database.
    """

    server: Server
    extension: Extension
    source: Table | None
    target: Table | None
    own: bool
    own_id_type: str | None
    faults: str
    missing: tuple[Right, ...] | None
    may_create: Mapping[str, bool]
    version: int | None
    triggers: Triggers | None
    indexes: Mapping[str, bool]
    newest: Newest | None
    unread: str
    veiled: tuple[Veiled, ...] = ()
    lives_here: bool | None = None


def inspect(pool: Pool, names: Names, options: SchemaOptions) -> Inspection:
    """Looks, and changes nothing. Raises `DatabaseUnavailableError` and `DatabaseError`."""
    with pool.transaction() as cursor:
        return _Look(cursor, names, options).all()


class _Look:
    """One look, in the transaction of this cursor."""

    def __init__(self, cursor: Cursor, names: Names, options: SchemaOptions) -> None:
        self._cursor = cursor
        self._names = names
        self._options = options
        self._queries = {
            name: text
            for file in (QUERIES_CATALOG, QUERIES_INDEX, QUERIES_CHECK)
            for name, text in load_queries(names, file).items()
        }

    def all(self) -> Inspection:
        self._run("read_only")
        catalog, names = Catalog(self._cursor, self._names), self._names
        source, target = catalog.table(names.source_table), catalog.table(names.target_table)
        unfit = self._faults(source, target)
        own = catalog.table(f"{names.schema}.setting") is not None
        newest, unread = self._newest() if source and not unfit else (None, "")
        return Inspection(
            server=self._server(),
            extension=Extension(**self._one("extension")),
            source=source,
            target=target,
            own=own,
            own_id_type=catalog.own_id_type(),
            faults=unfit,
            missing=self._missing(source, target) if not unfit else None,
            may_create=dict(self._rows("may_create", schemas=sorted(schemas_of(names)))),
            version=self._version(),
            triggers=self._triggers(source),
            indexes=self._indexes(target),
            veiled=tuple(veiled_tables(self._cursor, names, source, target)),
            newest=newest,
            unread=unread,
            lives_here=self._lives_here() if own else False,
        )

    def _server(self) -> Server:
        began = monotonic()
        found = self._one("server")
        seconds, now = monotonic() - began, time()
        # The server looked at its clock about in the middle.
        skew = found.pop("clock") - (now - seconds / 2)
        return Server(skew=skew, seconds=seconds, **found)

    def _faults(self, source: Table | None, target: Table | None) -> str:
        return "" if source is None else faults(source, target, self._names, self._options.dimension)

    def _missing(self, source: Table | None, target: Table | None) -> tuple[Right, ...] | None:
        if source is None:
            return None
        return tuple(missing_rights(self._cursor, self._names, source, target))

    def _settings(self) -> dict[str, str]:
        """Empty where they may not be read, or are not there."""
        with suppress(DatabaseError), savepoint(self._cursor):
            return dict(self._rows("settings", keys=[VERSION_KEY, TRIGGERS_KEY]))
        return {}

    def _version(self) -> int | None:
        version = self._settings().get(VERSION_KEY)
        return None if version is None else int(version)

    def _triggers(self, source: Table | None) -> Triggers | None:
        if source is None:
            return None
        values = {"oid": source.oid, "names": list(self._names.triggers.values()), "schema": self._names.schema}
        digest = triggers_step(self._names, self._options).digest
        return Triggers(
            working=frozenset(row[0] for row in self._rows("installed_triggers", **values)),
            disabled=frozenset(row[0] for row in self._rows("disabled_triggers", **values)),
            current=self._settings().get(TRIGGERS_KEY) in {None, digest},
        )

    def _indexes(self, target: Table | None) -> dict[str, bool]:
        if target is None:
            return {}
        return dict(self._rows("vector_indexes", oid=target.oid, column=self._names.target_vector))

    def _lives_here(self) -> bool | None:
        with suppress(DatabaseError), savepoint(self._cursor):
            return bool(self._rows("lives_here", host=platform.node(), seconds=ALIVE_SECONDS)[0][0])
        return None

    def _newest(self) -> tuple[Newest | None, str]:
        """The image, where there is one, and why it could not be read."""
        try:
            with savepoint(self._cursor):
                rows = self._rows("newest")
        except DatabaseError as error:
            return None, str(error)
        for image_id, kept, picture in rows:
            location = text_of(kept, self._cursor) if kept is not None else None if picture is None else bytes(picture)
            return Newest(image_id=image_id, location=location), ""
        return None, ""

    def _run(self, query: str, **values: Any) -> None:
        self._cursor.execute(self._queries[query], values)

    def _rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        self._run(query, **values)
        return self._cursor.fetchall()

    def _one(self, query: str) -> dict[str, Any]:
        rows = self._rows(query)
        return dict(zip((column.name for column in self._cursor.description or ()), rows[0], strict=True))
