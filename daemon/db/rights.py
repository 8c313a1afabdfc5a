"""Which rights the daemon's role lacks, and what would give each."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Veiled:
    """A table under row-level security that holds for the daemon's role: what that may cost, and the remedy."""

    table: str
    says: str
    remedy: str


def veiled_tables(cursor: Cursor, names: Names, source: Table | None, target: Table | None) -> list[Veiled]:
    """Those of the users' tables, the source first. Whether the policies hide anything cannot be known."""
    tables = {
        table.oid: (name, costs)
        for table, name, costs in (
            (source, names.source_table, "images that its policies hide count as gone; deletions cost a second try"),
            (target, names.target_table, "vectors that its policies hide or refuse are not written"),
        )
        if table is not None
    }
    cursor.execute(load_queries(names, QUERIES_CATALOG)["row_security"], {"tables": list(tables)})
    remedies = dict(cursor.fetchall())
    return [
        Veiled(
            table=name,
            says=f"row-level security on {name} holds for this role: {costs}",
            remedy=f"{remedies[oid]} or give it policies that show and take all rows",
        )
        for oid, (name, costs) in tables.items()
        if oid in remedies
    ]


def missing_rights(cursor: Cursor, names: Names, source: Table, target: Table | None) -> list[Right]:
    """The rights that the connected role lacks of those that the daemon needs: without a target also to make one."""
    parameters = {
        "schema": names.schema,
        "source_schema": names.source_table.split(".", 1)[0],
        "target_schema": names.target_table.split(".", 1)[0],
        "source": source.oid,
        "target": target.oid if target else None,
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
