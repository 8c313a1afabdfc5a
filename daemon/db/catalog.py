"""What the users' tables are, read from PostgreSQL's catalog, and whether vectord can work with them."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from daemon.db.driver import Cursor
from daemon.db.encode import VectorColumn, VectorKind
from daemon.db.names import QUERIES, Names, load_queries, quote
from daemon.errors import DatabaseError

QUERIES_CATALOG = QUERIES.with_name("queries_catalog.sql")

ID_TYPES = {"int2": "smallint", "int4": "integer", "int8": "bigint", "uuid": "uuid", "text": "text", "varchar": "text"}
"""Types of an id column by their name in the catalog, and what vectord's own id columns then are."""
VECTOR_KINDS: Mapping[str, VectorKind] = {"vector": "vector", "halfvec": "halfvec", "_float4": "real[]"}
INTEGERS = frozenset({"int2", "int4", "int8"})
DEFAULT_COLLATION = 'pg_catalog."default"'
STRING_CATEGORY = "S"
"""pg_type.typcategory of text, varchar, char, citext and their like."""
TABLE_KINDS = frozenset({"r", "p"})
"""pg_class.relkind of a table and of a partitioned one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column as it is. `length` is the type modifier: for a vector its dimension. `collation` is SQL, and empty where
    it is the database's.
    """

    name: str
    type: str
    category: str
    type_schema: str
    length: int | None
    collation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One of the users' tables. `unique` holds the columns that identify a row alone."""

    oid: int
    kind: str
    columns: Mapping[str, Column]
    unique: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the rest of the daemon needs to know of the users' tables.

    `id_type` is the SQL type of vectord's own id columns, with its collation; `stored_bytes` says that the location
    column holds the picture itself; `may_lock` that this role may lock images, which makes a deletion in mid-store cost
    nothing; `notes` are sentences for the operator about what works less well than it could.
    """

    id_type: str
    stored_bytes: bool
    vector_column: VectorColumn
    may_lock: bool = True
    notes: tuple[str, ...] = ()


class Catalog:
    """The catalog, read in one transaction."""

    def __init__(self, cursor: Cursor, names: Names) -> None:
        self._cursor = cursor
        self._names = names
        self._queries = load_queries(names, QUERIES_CATALOG)

    def table(self, qualified: str) -> Table | None:
        """The table `schema.table`, or None where there is none."""
        schema, name = qualified.split(".", 1)
        self._cursor.execute(self._queries["relation"], {"schema": schema, "table": name})
        if (found := self._cursor.fetchone()) is None:
            return None
        oid, kind = found
        self._cursor.execute(self._queries["columns"], {"oid": oid})
        columns = [
            Column(
                name=name,
                type=type_name,
                category=category,
                type_schema=type_schema,
                length=length,
                collation=collation,
            )
            for name, type_name, category, type_schema, length, collation in self._cursor.fetchall()
        ]
        self._cursor.execute(self._queries["unique_columns"], {"oid": oid})
        unique = {row[0] for row in self._cursor.fetchall()}
        return Table(oid=oid, kind=kind, columns={one.name: one for one in columns}, unique=unique)

    def schemas(self, wanted: Collection[str]) -> set[str]:
        """Which of these schemas there are."""
        self._cursor.execute(self._queries["schemas"], {"schemas": list(wanted)})
        return {row[0] for row in self._cursor.fetchall()}

    def own_id_type(self) -> str | None:
        """What vectord's own id columns are; None where they have not been made yet."""
        job = self.table(f"{self._names.schema}.job")
        return ID_TYPES.get(job.columns["image_id"].type) if job else None

    def vector_schema(self) -> str | None:
        """Where pgvector's types are; None where the extension is missing."""
        self._cursor.execute(self._queries["vector_extension"])
        row = self._cursor.fetchone()
        return row[0] if row else None


def layout(source: Table, target: Table, names: Names, dimension: int) -> Layout:
    """What the daemon has to do with; `dimension` is the model's. Raises `DatabaseError`, all faults at once."""
    if found := faults(source, target, names, dimension):
        raise DatabaseError(found)
    vector = target.columns[names.target_vector]
    kind = VECTOR_KINDS[vector.type]
    return Layout(
        id_type=id_type(source.columns[names.source_id]),
        stored_bytes=source.columns[names.source_location].type == "bytea",
        vector_column=VectorColumn(kind=kind, dimension=None if kind == "real[]" else vector.length),
    )


def id_type(column: Column) -> str:
    """What vectord's own columns for these ids are, as SQL: under another collation their indexes could not be used."""
    return ID_TYPES[column.type] + (f" COLLATE {column.collation}" if column.collation else "")


def collation_note(table: str, column: Column, source: Column) -> str:
    """What is to be said of a table, quoted, whose ids are sorted unlike the source's; empty where they are not."""
    if column.collation == source.collation:
        return ""
    length = f"({column.length - 4})" if column.type == "varchar" and column.length else ""
    return (
        f"{table}.{column.name} has another collation than the images' ids, so its index cannot be used to find them: "
        f"ALTER TABLE {table} ALTER COLUMN {quote(column.name)} TYPE {column.type}{length} "
        f"COLLATE {source.collation or DEFAULT_COLLATION}; locks it and builds the index anew"
    )


def other_ids(names: Names, id_type: str, ours: str) -> tuple[str, str]:
    """Says that vectord's own ids are not of the images' type, so that its triggers would fail; and the remedy."""
    return (
        f"{names.source_table}.{names.source_id} is {id_type}, and vectord's own ids are {ours}",
        f"DROP SCHEMA {names.quoted['schema']} CASCADE, and start again; all vectors stay",
    )


def faults(source: Table, target: Table | None, names: Names, dimension: int) -> str:
    """Why the daemon cannot work with them; empty where it can. What is not there is made as it has to be."""
    of_target = _target_faults(source, target, names, dimension) if target else ()
    return "; ".join([*_source_faults(source, names), *of_target])


def _source_faults(table: Table, names: Names) -> Iterator[str]:
    name = names.source_table
    if table.kind not in TABLE_KINDS:
        yield f"{name} is no table (a view or a foreign table has no triggers): set source.table to a table"
        return
    if (column := table.columns.get(names.source_id)) is None:
        yield _missing(name, names.source_id, "source.id_column", table)
    elif column.type not in ID_TYPES:
        yield f"{name}.{column.name} is {column.type}: an id must be bigint, integer, uuid or text"
    elif column.name not in table.unique:
        yield f"{name}.{column.name} is not unique: add a primary key, or set source.id_column to a column that is"
    if (column := table.columns.get(names.source_location)) is None:
        yield _missing(name, names.source_location, "source.location_column", table)
    elif column.category != STRING_CATEGORY and column.type != "bytea":
        yield f"{name}.{column.name} is {column.type}: a location must be text or bytea"


def _target_faults(source: Table, table: Table, names: Names, dimension: int) -> Iterator[str]:
    name = names.target_table
    keys = {
        "target.id_column": names.target_id,
        "target.vector_column": names.target_vector,
        "target.version_column": names.target_version,
        "target.dimension_column": names.target_dimension,
    }
    missing = {key: column for key, column in keys.items() if column and column not in table.columns}
    yield from (_missing(name, column, key, table) for key, column in missing.items())
    if "target.id_column" not in missing:
        yield from _target_id_faults(source, table, names)
    if "target.vector_column" not in missing:
        yield from _vector_faults(table.columns[names.target_vector], name, dimension)
    if "target.version_column" not in missing:
        yield from _version_faults(table.columns[names.target_version], name)


def _target_id_faults(source: Table, table: Table, names: Names) -> Iterator[str]:
    ours, theirs = table.columns[names.target_id], source.columns.get(names.source_id)
    if ours.name not in table.unique:
        yield (
            f"{names.target_table}.{ours.name} has no unique index, without which a vector cannot be replaced: "
            f"CREATE UNIQUE INDEX CONCURRENTLY ON {names.target_table} ({ours.name})"
        )
    if theirs is not None and not _comparable(ours.type, theirs.type):
        yield (
            f"{names.target_table}.{ours.name} is {ours.type}, but {names.source_table}.{theirs.name} is "
            f"{theirs.type}: they must be of one type"
        )
    elif theirs is not None and ours.collation and theirs.collation and ours.collation != theirs.collation:
        yield (
            f"{names.target_table}.{ours.name} is of collation {ours.collation}, but "
            f"{names.source_table}.{theirs.name} of {theirs.collation}: PostgreSQL compares no such two"
        )


def _comparable(one: str, other: str) -> bool:
    return {one, other} <= INTEGERS or ID_TYPES.get(one, one) == ID_TYPES.get(other, other)


def _vector_faults(column: Column, table: str, dimension: int) -> Iterator[str]:
    if column.type not in VECTOR_KINDS:
        yield f"{table}.{column.name} is {column.type}: a vector must be vector, halfvec or real[]"
    elif column.type != "_float4" and column.length not in {None, dimension}:
        yield (
            f"{table}.{column.name} takes {column.length} dimensions, but the model makes {dimension}: set model.alpha "
            f"to what made the table, or target.table to another, or change the column to {column.type}({dimension})"
        )


def _version_faults(column: Column, table: str) -> Iterator[str]:
    # The type modifier of varchar counts four bytes of header.
    if column.category != STRING_CATEGORY or (column.length is not None and column.length - 4 < 50):
        yield f"{table}.{column.name} cannot hold a signature: make it varchar(50) or text"


def _missing(table: str, column: str, key: str, found: Table) -> str:
    return f"{table} has no column {column}; it has {', '.join(found.columns)}: set {key}"
