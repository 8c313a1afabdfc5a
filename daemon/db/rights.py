"""Which rights the daemon's role lacks, and the GRANT that gives each."""

from collections.abc import Sequence
from dataclasses import dataclass

from daemon.db.catalog import QUERIES_CATALOG, Table
from daemon.db.driver import Cursor
from daemon.db.names import Names, load_queries
from daemon.errors import DatabaseError


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """A privilege that is missing: on what, what would give it, and whether the daemon can do without."""

    privilege: str
    on: str
    grant: str
    optional: bool


def missing_rights(cursor: Cursor, names: Names, source: Table, target: Table) -> list[Right]:
    """The rights that the connected role lacks of those that the daemon needs."""
    parameters = {
        "schema": names.schema,
        "source_schema": names.source_table.split(".", 1)[0],
        "target_schema": names.target_table.split(".", 1)[0],
        "source": source.oid,
        "target": target.oid,
        "source_id": names.source_id,
        "source_location": names.source_location,
    }
    cursor.execute(load_queries(names, QUERIES_CATALOG)["rights"], parameters)
    return [
        Right(privilege=privilege, on=on, grant=grant, optional=optional)
        for on, privilege, held, grant, optional in cursor.fetchall()
        if not held
    ]


def refuse(missing: Sequence[Right]) -> None:
    """Raises `DatabaseError` that names every right the daemon cannot do without, and how to give it."""
    needed = [right for right in missing if not right.optional]
    if needed:
        what = ", ".join(f"{right.privilege} on {right.on}" for right in needed)
        grants = " ".join(right.grant for right in needed)
        raise DatabaseError(f"the role lacks {what}. Somebody who may should run: {grants}")
