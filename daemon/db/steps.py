"""What is to be made in the database, as SQL: the files of `migrations/` with names and types filled in. Pure."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from daemon.db.names import MIGRATIONS, Names, quote

VERSION_KEY = "schema_version"
TRIGGERS_KEY = "triggers"
SCRIPT = "run as a DBA what `python -m daemon init --print-sql --role ROLE` prints, ROLE being the daemon's"
"""What helps where the daemon's role may not make something."""
RENEWED = (
    "revision = j.revision OPERATOR(pg_catalog.+) 1, state = 'pending', priority = 0, attempts = 0, "
    "not_before = pg_catalog.now(), lease_token = NULL, lease_until = NULL, worker = NULL, suspect = false, "
    "reason = NULL, last_error = NULL, enqueued_at = pg_catalog.now(), failed_at = NULL"
)
"""A job that is there already, for an image that changed: as good as new, and no claim of it holds any more."""


_PUT = """INSERT INTO {setting} (key, value) VALUES {row}
ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value;"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaOptions:
    """`queue.trigger`, `queue.notify`, `target.index`, and the length of the model's vectors."""

    trigger: bool = True
    notify: bool = True
    index: Literal["hnsw", "none"] = "hnsw"
    dimension: int = 1280


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something to be made: what, in words that also tell whether it is there; its SQL; and what to do if it fails.

    `digest` identifies the SQL of a step that is made again when it changes.
    """

    makes: str
    sql: str
    remedy: str
    digest: str = ""


def users_steps(names: Names, options: SchemaOptions, id_type: str, vector_schema: str | None) -> Iterator[Step]:
    """Pgvector and the users' two tables with their schemas. `vector_schema` is where pgvector is, where known."""
    yield Step(
        makes="extension vector",
        sql="CREATE EXTENSION IF NOT EXISTS vector;",
        remedy="install pgvector on the server, and let the database's owner run CREATE EXTENSION vector",
    )
    yield from (_schema_step(schema) for schema in sorted(schemas_of(names) - {names.schema}))
    values = {
        "id_type": id_type,
        "dimension": str(options.dimension),
        "vector_type": quote(vector_schema, "vector") if vector_schema else "vector",
        "dimension_definition": _dimension_definition(names, options),
        "index_statement": _index_statement(names, options, vector_schema),
        "touch_function": quote(*(f"{names.target_table}_touch".split(".", 1))),
        "touch_trigger": quote(f"{names.target_table.split('.', 1)[1]}_update_time"),
    }
    refers = (
        f", USAGE ON SCHEMA {_schema_of(names.source_table)}"
        f" and REFERENCES ({names.quoted['source_id']}) ON {names.quoted['source']}"
    )
    for table, file, more in (
        (names.source_table, "users_source.sql", ""),
        (names.target_table, "users_target.sql", refers),
    ):
        grant = f"GRANT CREATE ON SCHEMA {_schema_of(table)}{more}"
        yield Step(makes=f"table {table}", sql=_fill(file, names, values), remedy=f"make it, or {grant}")


def own_steps(names: Names, id_type: str) -> Iterator[Step]:
    """Vectord's schema and its migrations, each named by its number."""
    yield _schema_step(names.schema)
    for number, file in migrations().items():
        yield Step(
            makes=f"migration {number}",
            sql=f"{_fill(file, names, {'id_type': id_type})}\n{_put(names, VERSION_KEY, str(number))}",
            remedy=f"connect as the owner of schema {quote(names.schema)}",
        )


def migrations() -> Mapping[int, str]:
    """The numbered files, in order."""
    return {int(path.name.split("_", 1)[0]): path.name for path in sorted(MIGRATIONS.glob("[0-9]*.sql"))}


def triggers_step(names: Names, options: SchemaOptions) -> Step:
    """The triggers as the options want them; their text's digest goes into `setting`, to tell what is installed."""
    file = "repeatable_triggers.sql" if options.trigger else "repeatable_no_triggers.sql"
    ring = _fill("ring.sql", names, {}) if options.notify else ""
    sql = _fill(file, names, {"renewed": RENEWED, "ring": ring.strip()})
    digest = hashlib.sha256(sql.encode()).hexdigest()[:16]
    return Step(
        makes=f"the triggers on {names.source_table}",
        sql=f"{sql}\n{_put(names, TRIGGERS_KEY, digest)}",
        digest=digest,
        remedy=f"GRANT TRIGGER ON {names.quoted['source']} and CREATE ON SCHEMA {names.quoted['schema']}",
    )


def grants_step(names: Names, role: str) -> Step:
    """What a role needs that owns none of it."""
    return Step(makes=f"the rights of {role}", sql=_fill("grants.sql", names, {"role": quote(role)}), remedy="")


def schemas_of(names: Names) -> set[str]:
    """The schemas of vectord's tables and of the users'."""
    return {names.schema, *(table.split(".", 1)[0] for table in (names.source_table, names.target_table))}


def _schema_of(table: str) -> str:
    return quote(table.split(".", 1)[0])


def _schema_step(schema: str) -> Step:
    return Step(
        makes=f"schema {schema}",
        sql=f"CREATE SCHEMA IF NOT EXISTS {quote(schema)};",
        remedy="GRANT CREATE on the database",
    )


def _fill(file: str, names: Names, values: Mapping[str, str]) -> str:
    text = (MIGRATIONS / file).read_text(encoding="utf-8")
    return text.format_map({**names.quoted, "target_literal": _literal(names.quoted["target"]), **values})


def _put(names: Names, key: str, value: str) -> str:
    row = f"({_literal(key)}, {_literal(value)})"
    return _PUT.format(setting=names.quoted["setting"], row=row)


def _literal(text: str) -> str:
    """A string of SQL. Source: PostgreSQL manual, 4.1.2.1, with standard_conforming_strings on."""
    return "'" + text.replace("'", "''") + "'"


def _dimension_definition(names: Names, options: SchemaOptions) -> str:
    column = names.quoted["target_dimension"]
    return f"{column} integer NOT NULL DEFAULT {options.dimension}," if column else ""


def _index_statement(names: Names, options: SchemaOptions, vector_schema: str | None) -> str:
    if options.index == "none":
        return ""
    return index_sql(names, vector_schema, "vector") + ";"


def index_sql(names: Names, vector_schema: str | None, vector_type: str, *, concurrently: bool = False) -> str:
    """The statement that makes the HNSW index over cosine distances, by the name `index_name`."""
    operators = quote(*([vector_schema] if vector_schema else []), f"{vector_type}_cosine_ops")
    how = "CONCURRENTLY " if concurrently else ""
    return (
        f"CREATE INDEX {how}{quote(index_name(names))} ON {names.quoted['target']} "
        f"USING hnsw ({names.quoted['target_vector']} {operators})"
    )


def index_name(names: Names) -> str:
    """The HNSW index's name, within PostgreSQL's 63 bytes."""
    return f"{names.target_table.split('.', 1)[1]}_{names.target_vector}"[:58] + "_hnsw"
