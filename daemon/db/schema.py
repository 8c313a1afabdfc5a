"""Makes what is missing: the users' tables, vectord's own schema, the triggers. Nothing that is there is altered.

`migrate` does it from the daemon's connection, `print_sql` says it for a DBA; both take the same steps.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from daemon.db.catalog import (
    ID_TYPES,
    QUERIES_CATALOG,
    Catalog,
    Column,
    Layout,
    Table,
    collation_note,
    id_type,
    layout,
    other_ids,
)
from daemon.db.driver import INSUFFICIENT_PRIVILEGE, Cursor, mapped_errors
from daemon.db.names import Names, load_queries
from daemon.db.pool import Pool
from daemon.db.rights import missing_rights, refuse, veiled_tables
from daemon.db.steps import (
    SCRIPT,
    TRIGGERS_KEY,
    VERSION_KEY,
    SchemaOptions,
    Step,
    grants_step,
    migrations,
    own_steps,
    schemas_of,
    triggers_step,
    users_steps,
)
from daemon.errors import DatabaseError, DatabaseUnavailableError, sqlstate

__all__ = ["DEFAULT_ID_TYPE", "Layout", "SchemaOptions", "look_up_id_type", "migrate", "print_sql", "require"]

LOCK_TIMEOUT = "5s"
"""CREATE TRIGGER waits for every transaction that writes to the table, and makes every other writer wait behind it."""
DEFAULT_ID_TYPE = "bigint"
WITHOUT_TRIGGERS = "Until then the sweep alone finds new images, and a changed location goes unnoticed"
WITH_TRIGGERS = "Until then the triggers that are there go on to work"


def migrate(pool: Pool, names: Names, options: SchemaOptions) -> Layout:
    """Makes what is missing, in one transaction that one daemon at a time is in, and checks what is there.

    Raises `DatabaseError` that says what is missing and which right would make it, or what does not fit, and
    `DatabaseUnavailableError` when a table stays locked for `LOCK_TIMEOUT`.
    """
    with pool.transaction() as cursor:
        return _Migration(cursor, names, options).run()


def look(pool: Pool, names: Names, options: SchemaOptions) -> Layout:
    """What is there; nothing is made. Raises `DatabaseError` with the remedy where something is missing."""
    with pool.transaction() as cursor:
        return _Migration(cursor, names, options).look()


def require(pool: Pool, names: Names) -> None:
    """Raises `DatabaseError` with the remedy where vectord's tables have not been made yet."""
    with pool.transaction() as cursor:
        if Catalog(cursor, names).table(f"{names.schema}.setting") is None:
            raise DatabaseError(
                f"this database has no schema {names.schema} of vectord's: run `python -m daemon init` first, "
                "or name the right ones with database.dsn and queue.schema"
            )


def look_up_id_type(pool: Pool, names: Names) -> str | None:
    """The type of the source's id; None where there is no such table or column yet."""
    with pool.transaction() as cursor:
        return _id_type(Catalog(cursor, names), names)


def print_sql(names: Names, options: SchemaOptions, id_type: str = DEFAULT_ID_TYPE, role: str | None = None) -> str:
    """The script that a DBA runs with psql, or anything else, instead of `migrate`; it may be run again.

    `id_type` is the type of the source's id; `role` is whom to grant what the daemon needs.
    """
    steps = [
        *users_steps(names, options, id_type, None),
        *own_steps(names, id_type),
        triggers_step(names, options),
        *([grants_step(names, role)] if role else []),
    ]
    return "\n\n".join(["BEGIN;", *(f"-- {step.makes}\n{step.sql.strip()}" for step in steps), "COMMIT;"]) + "\n"


def _id_type(catalog: Catalog, names: Names) -> str | None:
    source = catalog.table(names.source_table)
    column = source.columns.get(names.source_id) if source else None
    return id_type(column) if column and column.type in ID_TYPES else None


class _Migration:
    """One run of `migrate`, in the transaction of this cursor."""

    def __init__(self, cursor: Cursor, names: Names, options: SchemaOptions) -> None:
        self._cursor = cursor
        self._names = names
        self._options = options
        self._queries = load_queries(names, QUERIES_CATALOG)
        self._catalog = Catalog(cursor, names)

    def run(self) -> Layout:
        names, options = self._names, self._options
        self._cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; SET LOCAL client_min_messages = warning")
        self._cursor.execute(self._queries["lock_migration"])
        ids = _id_type(self._catalog, names) or DEFAULT_ID_TYPE
        self._make(users_steps(names, options, ids, self._catalog.vector_schema()), self._users_present())
        source, target = self._table(names.source_table), self._table(names.target_table)
        found = layout(source, target, names, options.dimension)
        missing = missing_rights(self._cursor, names, source, target)
        refuse(missing)
        veiled = veiled_tables(self._cursor, names, source, target)
        self._make(own_steps(names, found.id_type), self._own_present())
        self._check_id_type(source)
        notes = [
            *self._make_triggers(source),
            *(f"{right.grant} would make deletions cheaper" for right in missing),
            *(f"{one.says}. Remedy: {one.remedy}" for one in veiled),
            *self._collation_notes(source, target),
        ]
        # FOR KEY SHARE would pass over what no policy for UPDATE shows, as if somebody had it locked.
        may_lock = not missing and names.source_table not in {one.table for one in veiled}
        return replace(found, may_lock=may_lock, notes=tuple(notes))

    def look(self) -> Layout:
        names = self._names
        if f"migration {max(migrations())}" not in self._own_present():
            raise DatabaseError(
                f"this database has no schema {names.schema} of vectord's, or an older one: "
                "run `python -m daemon init` first"
            )
        return layout(self._table(names.source_table), self._table(names.target_table), names, self._options.dimension)

    def _make(self, steps: Iterable[Step], present: set[str]) -> None:
        for step in steps:
            if step.makes not in present:
                self._execute(step)

    def _execute(self, step: Step) -> None:
        try:
            with mapped_errors():
                self._cursor.execute(step.sql)
        except DatabaseError as error:
            sentence = f"cannot make {step.makes}: {error}. Either {step.remedy}, or {SCRIPT}"
            raise DatabaseError(sentence) from error.__cause__
        except DatabaseUnavailableError as error:
            raise DatabaseUnavailableError(f"cannot make {step.makes} just now: {error}") from error.__cause__

    def _users_present(self) -> set[str]:
        tables = {f"table {name}" for name in self._users_tables() if self._catalog.table(name) is not None}
        # How existing tables came to be, and whether they need pgvector, is none of our business.
        if self._catalog.vector_schema() or f"table {self._names.target_table}" in tables:
            tables.add("extension vector")
        return tables | self._schemas_present()

    def _own_present(self) -> set[str]:
        """The schema, and the migrations up to the version that it says it has."""
        version = int(self._settings().get(VERSION_KEY, 0))
        if version > max(migrations()):
            raise DatabaseError(f"schema {self._names.schema} was made by a newer vectord: upgrade this one")
        return self._schemas_present() | {f"migration {number}" for number in range(1, version + 1)}

    def _schemas_present(self) -> set[str]:
        return {f"schema {name}" for name in self._catalog.schemas(schemas_of(self._names))}

    def _users_tables(self) -> tuple[str, str]:
        return self._names.source_table, self._names.target_table

    def _table(self, name: str) -> Table:
        found = self._catalog.table(name)
        if found is None:
            raise DatabaseError(f"{name} cannot be made, nor found: {SCRIPT}")
        return found

    def _settings(self) -> dict[str, str]:
        if self._catalog.table(f"{self._names.schema}.setting") is None:
            return {}
        self._cursor.execute(self._queries["settings"], {"keys": [VERSION_KEY, TRIGGERS_KEY]})
        return dict(self._cursor.fetchall())

    def _check_id_type(self, source: Table) -> None:
        """An id column that was widened since would overflow ours, and fail the users' own statements."""
        ours, theirs = self._catalog.own_id_type(), ID_TYPES[source.columns[self._names.source_id].type]
        if ours is not None and ours != theirs:
            told, remedy = other_ids(self._names, theirs, ours)
            raise DatabaseError(f"{told}: {remedy}")

    def _collation_notes(self, source: Table, target: Table) -> Iterator[str]:
        """Of tables that were there before. Those that are made have the ids' collation."""
        names = self._names
        ids = {
            **{names.quoted[table]: self._own_id(table) for table in ("job", "run_image")},
            names.quoted["target"]: target.columns[names.target_id],
        }
        notes = (collation_note(table, column, source.columns[names.source_id]) for table, column in ids.items())
        return filter(None, notes)

    def _own_id(self, table: str) -> Column:
        return self._table(f"{self._names.schema}.{table}").columns["image_id"]

    def _make_triggers(self, source: Table) -> Iterator[str]:
        """Puts the triggers in place, or takes them away. Gives what is to be said when the role may not."""
        step = triggers_step(self._names, self._options)
        if self._triggers_are_right(source, step):
            return
        self._cursor.execute("SAVEPOINT triggers")
        try:
            self._execute(step)
        except DatabaseError as error:
            if sqlstate(error) != INSUFFICIENT_PRIVILEGE:
                raise
            self._cursor.execute("ROLLBACK TO SAVEPOINT triggers")
            yield f"{error}. {WITHOUT_TRIGGERS if self._options.trigger else WITH_TRIGGERS}"

    def _triggers_are_right(self, source: Table, step: Step) -> bool:
        wanted = set(self._names.triggers.values())
        values = {"oid": source.oid, "names": list(wanted), "schema": self._names.schema}
        self._cursor.execute(self._queries["installed_triggers"], values)
        installed = {row[0] for row in self._cursor.fetchall()}
        if not self._options.trigger:
            return not installed
        return installed == wanted and self._settings().get(TRIGGERS_KEY) == step.digest
