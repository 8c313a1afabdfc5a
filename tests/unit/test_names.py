"""Names in SQL: whatever they are, they stay names."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.db.names import MIGRATIONS, QUERIES, Names, load_queries, quote
from daemon.db.schema import SchemaOptions, print_sql

FILES = sorted(QUERIES.parent.glob("*.sql"))


@given(st.text(min_size=1).filter(lambda text: "\x00" not in text))
def test_a_quoted_name_is_one_name(name: str) -> None:
    quoted = quote(name)
    assert quoted[0] == quoted[-1] == '"'
    assert quoted[1:-1].replace('""', "").count('"') == 0
    assert quoted[1:-1].replace('""', '"') == name


def test_names_are_put_where_they_belong() -> None:
    names = Names(schema="mine", source_table="a.b.c", source_id='I"d', target_table="d.e.f", target_dimension="")
    assert names.quoted["job"] == '"mine".job'
    assert names.quoted["source"] == '"a"."b.c"'
    assert names.quoted["target"] == '"d"."e.f"'
    assert (names.quoted["source_schema"], names.quoted["target_schema"]) == ('"a"', '"d"')
    assert names.quoted["source_id"] == '"I""d"'
    assert names.channel == "mine"


def test_the_dimension_is_written_where_there_is_a_column_for_it_only() -> None:
    fields = ("target_dimension", "and_dimension", "and_dimension_value", "and_set_dimension")
    bare, wide = (Names(target_dimension=column).quoted for column in ("", 'di"m'))
    assert [bare[field] for field in fields] == [""] * 4
    assert [wide[field] for field in fields] == [
        '"di""m"',
        ', "di""m"',
        ", %(dimension)s",
        ', "di""m" = EXCLUDED."di""m"',
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_statement_has_all_its_names(file: object) -> None:
    placeholders = {"stage": "s", "id_kind": "bigint", "lock_image": "", "lock_timeout": "1s", "missing": ""}
    assert isinstance(file, type(QUERIES))
    for name, text in load_queries(Names(), file, **placeholders).items():
        assert text.strip(), name
        assert not any(field for _, field, _, _ in string.Formatter().parse(text.replace("{}", "")) if field)


def test_a_statement_keeps_its_comment_and_loses_its_title() -> None:
    statements = load_queries(Names())
    assert statements["claim"].startswith("-- Leases due jobs")
    assert "-- name:" not in "".join(statements.values())


@pytest.mark.parametrize("trigger", [True, False])
@pytest.mark.parametrize("notify", [True, False])
def test_the_printed_script_has_all_its_names(trigger: bool, notify: bool) -> None:  # noqa: FBT001 - parameters of the test
    script = print_sql(Names(), SchemaOptions(trigger=trigger, notify=notify), role="it's")
    assert not re.search(r"\{\w", script)
    assert script.startswith("BEGIN;")
    assert ("CREATE OR REPLACE TRIGGER" in script) is trigger
    assert ('NOTIFY "vectord"' in script) is (trigger and notify)


def test_migrations_are_numbered_without_gaps() -> None:
    numbers = [int(path.name.split("_", 1)[0]) for path in sorted(MIGRATIONS.glob("[0-9]*.sql"))]
    assert numbers == list(range(1, len(numbers) + 1))
