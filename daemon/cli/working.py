"""Commands that work themselves: the daemon, the schema, the checks, a backfill, the demonstration.

What only one of them needs is imported there: `--help` must not load an engine.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from daemon.cli.common import ConfigOption, JsonOption, configure_logs, console, read_settings, say, stop_request
from daemon.commands.plain import to_json
from daemon.errors import ConfigurationError
from daemon.telemetry import logs

IdType = Literal["bigint", "integer", "smallint", "uuid", "text"]


def run(config: ConfigOption = None) -> None:
    """Run the daemon until SIGTERM or SIGINT."""
    from daemon import foreground  # noqa: PLC0415 - for this command alone

    raise typer.Exit(foreground.run(lambda: read_settings(config)))


def init(
    config: ConfigOption = None,
    print_sql: Annotated[
        bool, typer.Option("--print-sql", help="Print what a DBA would run, and change nothing.")
    ] = False,
    id_type: Annotated[
        IdType | None,
        typer.Option(help=r"With --print-sql: the images' ids. \[default: as in the database, or bigint]"),
    ] = None,
    role: Annotated[str | None, typer.Option(help="With --print-sql: grant this role what the daemon needs.")] = None,
) -> None:
    """Create or migrate the schema; the users' tables only when they are missing."""
    from daemon import ground  # noqa: PLC0415 - for this command alone

    settings = read_settings(config)
    if print_sql:
        say(ground.schema_script(settings, id_type=id_type, role=role))
        return
    if id_type or role:
        raise ConfigurationError("init: --id-type and --role go with --print-sql")
    ground.migrate(settings)
    say("the schema is there")


def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Look at all that the daemon stands on, and say what to mend. Exit status 1 when something would stop it."""
    from daemon.doctor import examination, findings  # noqa: PLC0415 - for this command alone
    from daemon.doctor import screen as checkup  # noqa: PLC0415 - for this command alone

    logs.configure(level="error", form="console")
    try:
        found, status = examination.examine(read_settings(config)), None
    except ConfigurationError as error:
        found, status = iter(findings.of_mistakes(str(error))), 2
    told = list(found) if as_json else checkup.show(found, console())
    if as_json:
        say(to_json({"findings": told}))
    raise typer.Exit(findings.exit_status(told) if status is None else status)


def backfill(
    ray: Annotated[str, typer.Option("--ray", metavar="ADDRESS|local", help="The cluster; local: on this machine.")],
    config: ConfigOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print shards, images, bytes and hours; do nothing.")
    ] = False,
    shard_images: Annotated[int, typer.Option(min=1, help="Images of a shard.")] = 16_384,
    loaders: Annotated[
        int | None, typer.Option(min=1, help=r"Fetch and decode. \[default: one for each CPU of the cluster]")
    ] = None,
    embedders: Annotated[
        int | None, typer.Option(min=1, help=r"Run the model. \[default: one for each GPU, or node]")
    ] = None,
    connections: Annotated[int, typer.Option(min=1, help="To the database, of all workers together.")] = 4,
    drop_index: Annotated[
        bool, typer.Option("--drop-index", help="If a vector is missing, drop their index before, and build it after.")
    ] = False,
    memory_mb: Annotated[int | None, typer.Option(min=1, help="maintenance_work_mem of that build.")] = None,
    loader_rate: Annotated[float | None, typer.Option(min=0.001, help="Images/s of a loader, not measured.")] = None,
    engine_rate: Annotated[float | None, typer.Option(min=0.001, help="Images/s of an engine, not measured.")] = None,
) -> None:
    """Make all missing vectors on a cluster, by Ray Data (requirements-ray.txt). Daemons may run beside it."""
    from daemon.backfill import run as filling  # noqa: PLC0415 - for this command alone

    settings = read_settings(config)
    configure_logs(settings)
    options = filling.Options(
        address=ray,
        dry_run=dry_run,
        shard_images=shard_images,
        loaders=loaders,
        embedders=embedders,
        connections=connections,
        drop_index=drop_index,
        memory_mb=memory_mb,
        loader_rate=loader_rate,
        engine_rate=engine_rate,
    )
    with stop_request() as stop:
        raise typer.Exit(filling.run(settings, options, stop, console()))


def demo(
    config: ConfigOption = None,
    images: Annotated[Path | None, typer.Option(help=r"A folder of pictures. \[default: the demo draws some]")] = None,
    weights: Annotated[str | None, typer.Option(help="A Keras .h5 or .keras file of MobileNetV2.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many pictures.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Stay up afterwards, and say where.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON on stdout.")] = False,
) -> None:
    """Run the main job on an embedded PostgreSQL, and show what came of it."""
    from daemon.demo import run as demonstration  # noqa: PLC0415 - for this command alone

    settings = read_settings(config)
    configure_logs(settings)
    options = demonstration.Options(images=images, weights=weights, count=count, serve=serve, json=as_json)
    with stop_request() as stop:
        raise typer.Exit(demonstration.run(settings, options, stop, console()))
