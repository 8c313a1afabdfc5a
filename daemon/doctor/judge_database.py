"""What the facts about the database mean. Pure."""

from collections.abc import Iterator

from daemon.db.catalog import ID_TYPES, VECTOR_KINDS, other_ids
from daemon.db.inspection import Inspection, Server
from daemon.db.names import Names
from daemon.db.schema import SchemaOptions
from daemon.db.steps import SCRIPT, migrations
from daemon.doctor.findings import Finding, ok, problem, warning

OLDEST_SERVER = 130000
OLDEST_VECTOR = (0, 5, 0)
"""The first pgvector with HNSW indexes."""
OLDEST_HALFVEC = (0, 7, 0)
SKEW_SECONDS = 2.0
"""What dashboards and logs can take before they mislead. Leases go by the server's clock alone."""
SPARE_CONNECTIONS = 4
"""Of a daemon beyond `database.pool_size`: one for LISTEN, the API's two, and one to look at how things are."""
INIT = "run `python -m daemon init`"


def judge_database(seen: Inspection, names: Names, options: SchemaOptions, pool_size: int) -> Iterator[Finding]:
    """A finding for each thing, the most basic first."""
    yield _server(seen.server)
    yield _connections(seen.server, pool_size)
    yield _clock(seen.server)
    yield _extension(seen, names)
    yield from _tables(seen, names)
    yield from _rights(seen)
    yield from (warning("row security", one.says, one.remedy) for one in seen.veiled)
    yield _schema(seen, names)
    yield from _triggers(seen, names, options)
    yield from _index(seen, names, options)


def _server(server: Server) -> Finding:
    told = f"PostgreSQL {server.version}, reached as {server.role} in {server.seconds * 1000:.0f} ms"
    if server.number < OLDEST_SERVER:
        return problem("database", told, "vectord needs PostgreSQL 13 or newer")
    if server.read_only:
        return problem("database", f"{told}; it is read-only", "name the primary in database.dsn, not a standby")
    return ok("database", told)


def _connections(server: Server, pool_size: int) -> Finding:
    needed = pool_size + SPARE_CONNECTIONS
    told = f"{server.connections_left} connections are left, of which a daemon takes up to {needed}"
    if server.connections_left < needed:
        return warning("connections", told, "raise the server's max_connections, or lower database.pool_size")
    return ok("connections", told)


def _clock(server: Server) -> Finding:
    told = (
        f"the server's clock is {abs(server.skew):.2f} s {'ahead of' if server.skew > 0 else 'behind'} this machine's"
    )
    if abs(server.skew) > SKEW_SECONDS + server.seconds / 2:
        return warning("clock", told, "run an NTP client on both: ages in the metrics are wrong by so much")
    return ok("clock", told)


def _extension(seen: Inspection, names: Names) -> Finding:
    column = seen.target.columns.get(names.target_vector) if seen.target else None
    if column is not None and VECTOR_KINDS.get(column.type) == "real[]":
        return ok("pgvector", "not needed: the vectors are real[]")
    installed, available = seen.extension.installed, seen.extension.available
    if installed is not None:
        return _extension_version(installed, halfvec=column is not None and column.type == "halfvec")
    if available is None:
        return problem("pgvector", "it is not installed on the server", "install pgvector there, then CREATE EXTENSION")
    return warning("pgvector", f"{available} is on the server, but not in this database", f"{INIT}, as its owner")


def _extension_version(installed: str, *, halfvec: bool) -> Finding:
    wanted = OLDEST_HALFVEC if halfvec else OLDEST_VECTOR
    if _version(installed) < wanted:
        needed = ".".join(map(str, wanted))
        return problem("pgvector", f"{installed} is too old", f"upgrade to {needed} and ALTER EXTENSION vector UPDATE")
    return ok("pgvector", installed)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _tables(seen: Inspection, names: Names) -> Iterator[Finding]:
    for table, key, found in (
        (names.source_table, "source.table", seen.source),
        (names.target_table, "target.table", seen.target),
    ):
        if found is None:
            yield _missing_table(table, key, may_create=seen.may_create[table.split(".", 1)[0]])
    if seen.faults:
        yield problem("columns", seen.faults, "change the named key, or the column")
    elif seen.source and seen.target:
        yield ok("columns", f"{names.source_table} and {names.target_table} are as the model and config.toml want them")


def _missing_table(table: str, key: str, *, may_create: bool) -> Finding:
    told = f"there is no table {table}"
    if may_create:
        return warning("tables", told, f"correct {key} if it has another name; otherwise the first start makes it")
    return problem("tables", f"{told}, and the role may not make it", f"correct {key}, or {SCRIPT}")


def _rights(seen: Inspection) -> Iterator[Finding]:
    if seen.missing is None:
        return
    for right in seen.missing:
        told = f"the role lacks {right.privilege} on {right.on}"
        yield (
            warning("rights", f"{told}: a deletion while a vector is stored costs a second try", right.grant)
            if right.optional
            else problem("rights", told, right.grant)
        )
    if not seen.missing:
        yield ok("rights", f"{seen.server.role} has all that the daemon needs")


def _schema(seen: Inspection, names: Names) -> Finding:
    newest = max(migrations())
    may = seen.may_create[names.schema]
    if not seen.own:
        told = f"there is no schema {names.schema} of vectord's yet"
        return warning("schema", told, f"{INIT}, or just start it") if may else problem("schema", told, SCRIPT)
    if seen.version is None:
        return problem("schema", f"{names.schema}.setting cannot be read", "grant the rights above")
    column = seen.source.columns.get(names.source_id) if seen.source else None
    theirs = ID_TYPES.get(column.type) if column else None
    if theirs and seen.own_id_type and theirs != seen.own_id_type:
        return problem("schema", *other_ids(names, theirs, seen.own_id_type))
    told = f"{names.schema} has version {seen.version}, and this vectord knows {newest}"
    if seen.version > newest:
        return problem("schema", told, "a newer vectord made it: upgrade this one")
    if seen.version < newest:
        return warning("schema", told, f"{INIT}, or just start it") if may else problem("schema", told, SCRIPT)
    return ok("schema", f"{names.schema}, version {newest}")


def _triggers(seen: Inspection, names: Names, options: SchemaOptions) -> Iterator[Finding]:
    found = seen.triggers
    if found is None or not seen.own:
        return
    yield _unwanted(found.working) if not options.trigger else _wanted(seen, names)


def _unwanted(working: frozenset[str]) -> Finding:
    if working:
        return warning("triggers", "they are there, but queue.trigger is false", f"{INIT} to take them away")
    return ok("triggers", "none, as queue.trigger = false says: the sweep alone finds images")


def _wanted(seen: Inspection, names: Names) -> Finding:
    wanted, found = set(names.triggers.values()), seen.triggers
    if found is None or not found.working >= wanted:
        disabled = found.disabled if found else frozenset()
        absent = sorted(wanted - (found.working if found else frozenset()) - disabled)
        told = [f"disabled: {', '.join(sorted(disabled))}"] * bool(disabled) + [f"missing: {', '.join(absent)}"] * bool(
            absent
        )
        why = "; until then the sweep alone finds images, and changed locations go unnoticed"
        remedy = f"{INIT}, as a role with TRIGGER on {names.source_table} and CREATE on schema {names.schema}"
        return warning("triggers", "; ".join(told) + why, remedy)
    if not found.current:
        return warning("triggers", "they are of another version or other settings", f"{INIT}, or just start it")
    return ok("triggers", f"{len(wanted)} on {names.source_table}, all enabled")


def _index(seen: Inspection, names: Names, options: SchemaOptions) -> Iterator[Finding]:
    column = seen.target.columns.get(names.target_vector) if seen.target else None
    if column is None or VECTOR_KINDS.get(column.type) in {None, "real[]"}:
        return
    invalid = [name for name, valid in seen.indexes.items() if not valid]
    if invalid:
        yield warning(
            "index", f"{', '.join(invalid)} is not valid, and costs every write", "python -m daemon index --rebuild"
        )
    elif seen.indexes:
        yield ok("index", f"{', '.join(seen.indexes)}, valid")
    elif options.index == "none":
        yield ok("index", "none, as target.index says")
    else:
        remedy = "python -m daemon index --build, once a bulk load is over"
        yield warning("index", f"no HNSW index on {names.target_table}: searches read every row", remedy)
