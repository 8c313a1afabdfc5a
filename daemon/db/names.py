"""Configured names as SQL: the statements of the `queries*.sql` with the users' tables and columns in them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

QUERIES = Path(__file__).with_name("queries.sql")
PARTS = QUERIES.with_name("parts.sql")
MIGRATIONS = Path(__file__).with_name("migrations")
TRIGGER_EVENTS = ("insert", "update", "delete", "truncate")
OWN_TABLES = ("job", "worker", "sweep", "setting", "reprocess", "run", "run_image", "bell", "shard", "backfill")
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Names:
    """The tables and columns of one installation, as `config.toml` gives them, unquoted.

    `source_table` and `target_table` are `schema.table`. `target_dimension` is empty where there is no such column.
    """

    schema: str = "vectord"
    source_table: str = "ecai.tb_image"
    source_id: str = "id"
    source_location: str = "url"
    target_table: str = "public.tb_hsx_img_value"
    target_id: str = "image_id"
    target_vector: str = "feature_vector"
    target_dimension: str = "vector_dimension"
    target_version: str = "model_version"

    @property
    def channel(self) -> str:
        """The channel of LISTEN and NOTIFY: the schema's name, so that two instances do not wake each other."""
        return self.schema

    @property
    def triggers(self) -> Mapping[str, str]:
        """The names of the triggers on the source table, unquoted: two instances may share that table."""
        return {event: f"vectord_{self.schema}_{event}" for event in TRIGGER_EVENTS}

    @cached_property
    def quoted(self) -> Mapping[str, str]:
        """What a statement's `{placeholders}` stand for."""
        columns = ("source_id", "source_location", "target_id", "target_vector", "target_version")
        schema = quote(self.schema)
        return {
            **_dimension_parts(self.target_dimension),
            **{f"trigger_{event}": quote(name) for event, name in self.triggers.items()},
            "schema": schema,
            "channel": quote(self.channel),
            "source": quote(*self.source_table.split(".", 1)),
            "source_schema": quote(self.source_table.split(".", 1)[0]),
            "target": quote(*self.target_table.split(".", 1)),
            "target_schema": quote(self.target_table.split(".", 1)[0]),
            **{table: f"{schema}.{table}" for table in OWN_TABLES},
            **{column: quote(getattr(self, column)) for column in columns},
        }


def _dimension_parts(column: str) -> Mapping[str, str]:
    """The dimension column, where there is one: its name, and its part of an INSERT, of its values, of DO UPDATE."""
    if not column:
        return dict.fromkeys(("target_dimension", "and_dimension", "and_dimension_value", "and_set_dimension"), "")
    name = quote(column)
    return {
        "target_dimension": name,
        "and_dimension": f", {name}",
        "and_dimension_value": ", %(dimension)s",
        "and_set_dimension": f", {name} = EXCLUDED.{name}",
    }


def quote(*parts: str) -> str:
    """A name of SQL, whatever is in it. Source: PostgreSQL manual, 4.1.1, quoted identifiers."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def load_queries(names: Names, path: Path = QUERIES, **others: str) -> Mapping[str, str]:
    """The statements of a file by name, each introduced by a line `-- name: …`.

    Names, the parts of `parts.sql` and `others` are filled in. A literal brace in the file is written twice.
    """
    values = dict(names.quoted)
    for name, text in _pieces(PARTS):
        values[name] = text.format_map(values)
    return {name: text.format_map(values | others) for name, text in _pieces(path)}


def _pieces(path: Path) -> Iterator[tuple[str, str]]:
    _, *pieces = _NAME.split(path.read_text(encoding="utf-8"))
    return ((name, text.strip()) for name, text in zip(pieces[::2], pieces[1::2], strict=True))
