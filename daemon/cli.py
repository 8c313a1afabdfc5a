"""The commands. Each reads the configuration, does one thing, and says by its exit status how it went.

0: done. 1: it failed. 2: the call or the configuration is wrong.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live

from daemon.commands import screen
from daemon.commands.plain import to_json
from daemon.config import Settings, load
from daemon.db.findings import rate
from daemon.db.similar import MOST
from daemon.errors import ConfigurationError, NotFoundError, Reason, VectordError
from daemon.service.signals import StopRequest, stop_on_signals
from daemon.telemetry import logs
from daemon.telemetry.progress import Reporter

if TYPE_CHECKING:
    from daemon.db.desk import Desk
    from daemon.db.similar import Neighbour

DEFAULT_CONFIG = Path("config.toml")
WIDE = 120
WATCH_SECONDS = 2.0

app = typer.Typer(
    name="vectord",
    help="Keeps a table of image vectors in step with a table of images in PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The configuration file. [default: config.toml, where there is one]"),
]

JsonOption = Annotated[bool, typer.Option("--json", help="One line of JSON, for scripts.")]


def main() -> None:
    """Runs the command line; errors of ours become one sentence on stderr and an exit status."""
    try:
        app(prog_name="python -m daemon")
    except ConfigurationError as error:
        _fail(error, 2)
    except VectordError as error:
        _fail(error, 1)


@app.command()
def run(config: ConfigOption = None) -> None:
    """Run the daemon until SIGTERM or SIGINT."""
    from daemon import foreground  # noqa: PLC0415 - `--help` must not load an engine

    raise typer.Exit(foreground.run(lambda: _settings(config)))


@app.command()
def init(
    config: ConfigOption = None,
    print_sql: Annotated[
        bool, typer.Option("--print-sql", help="Print what a DBA would run, and change nothing.")
    ] = False,
) -> None:
    """Create or migrate the schema; the users' tables only when they are missing."""
    from daemon import wiring  # noqa: PLC0415 - as above

    settings = _settings(config)
    if print_sql:
        _say(wiring.schema_script(settings))
        return
    wiring.migrate(settings)
    Console().print("the schema is there")


@app.command()
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Look at all that the daemon stands on, and say what to mend. Exit status 1 when something would stop it."""
    from daemon.doctor import examination, findings  # noqa: PLC0415 - `--help` must not load it
    from daemon.doctor import screen as checkup  # noqa: PLC0415 - as above

    logs.configure(level="error", form="console")
    try:
        found, status = examination.examine(_settings(config)), None
    except ConfigurationError as error:
        found, status = iter(findings.of_mistakes(str(error))), 2
    told = list(found) if as_json else checkup.show(found, _console())
    if as_json:
        _say(to_json({"findings": told}))
    raise typer.Exit(findings.exit_status(told) if status is None else status)


@app.command()
def status(
    config: ConfigOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds, until Ctrl-C.")] = False,
) -> None:
    """Show how things stand: what is done, what waits, what failed, who works."""
    with _desk(config) as desk:
        if as_json:
            _say(to_json(desk.reports.status()))
        elif watch:
            _watch(desk)
        else:
            _console().print(screen.status(desk.reports.status(), rate=None))


@app.command()
def failures(
    config: ConfigOption = None,
    reason: Annotated[str | None, typer.Option(help="Of this reason alone.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List the images that failed for good, and why."""
    chosen = _reason(reason)
    with _desk(config) as desk:
        found = desk.reports.failures(chosen, limit)
        if as_json:
            _say(to_json({"counts": desk.reports.dead(), "failures": found}))
        else:
            _console().print(screen.failures(found))


@app.command()
def why(image_id: str, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Tell all that is known of one image. Exit status 1 when there is no such image."""
    with _desk(config) as desk:
        found = desk.reports.why(image_id)
        if as_json:
            _say(to_json({"image_id": found.image_id, "verdict": found.verdict, "known": found}))
        else:
            _console().print(screen.why(found))
    raise typer.Exit(0 if found.exists else 1)


@app.command()
def retry(
    config: ConfigOption = None,
    image_id: Annotated[str | None, typer.Option("--id", help="This image.")] = None,
    reason: Annotated[str | None, typer.Option(help="All that failed of this reason.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that failed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Give images that failed for good another chance. Exit status 1 when a named image has no job to retry."""
    if sum((image_id is not None, reason is not None, everything)) != 1:
        raise ConfigurationError("retry: say one of --id ID, --reason REASON and --all")
    chosen = _reason(reason)
    with _desk(config) as desk:
        if image_id is not None:
            count = desk.retries.one(image_id)
        else:
            count = desk.retries.all() if chosen is None else desk.retries.reason(chosen)
    _say(to_json({"retried": count}) if as_json else f"due again: {count}")
    raise typer.Exit(1 if image_id is not None and not count else 0)


@app.command()
def reprocess(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Have every vector made anew. Running daemons hear of it; each image keeps its old vector until then."""
    with _desk(config) as desk:
        generation = desk.generations.raise_now("asked for by `reprocess`")
    told = f"generation {generation}: every vector is made anew; `status --watch` shows how far it is"
    _say(to_json({"generation": generation}) if as_json else told)


@app.command()
def similar(
    what: Annotated[str, typer.Argument(metavar="ID|PATH|URL", help="An image of the table, or any other picture.")],
    config: ConfigOption = None,
    k: Annotated[int, typer.Option("-k", min=1, max=MOST, help="How many.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """List the images nearest to one, by the cosine of their vectors. No daemon has to run."""
    with _desk(config) as desk:
        found = _nearest(desk, what, k, config)
    if as_json:
        _say(to_json(found))
    else:
        _console().print(screen.neighbours(found))


@app.command()
def index(
    config: ConfigOption = None,
    build: Annotated[bool, typer.Option("--build", help="Build it, if there is none.")] = False,
    drop: Annotated[bool, typer.Option("--drop", help="Drop it, before a bulk load.")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build it anew; the old one serves until then.")] = False,
    memory_mb: Annotated[int | None, typer.Option(min=1, help="maintenance_work_mem of the build.")] = None,
) -> None:
    """Build, drop or rebuild the HNSW index on the vectors, with nobody waiting for it."""
    if sum((build, drop, rebuild)) != 1:
        raise ConfigurationError("index: say one of --build, --drop and --rebuild")
    with _desk(config) as desk:
        vectors = desk.index(memory_mb=memory_mb)
        if drop:
            dropped = vectors.drop()
            _say("dropped: " + ", ".join(dropped) if dropped else "there was no index to drop")
            return
        with Reporter(_console(), what="starting") as reporter:
            for seen in vectors.rebuild() if rebuild else vectors.build():
                reporter.show(seen.done, total=seen.total, what=seen.phase)
        _say("the index is there")


@app.command()
def backfill(
    ray: Annotated[str, typer.Option("--ray", metavar="ADDRESS|local", help="The cluster; local: on this machine.")],
    config: ConfigOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print shards, images, bytes and hours; do nothing.")
    ] = False,
    shard_images: Annotated[int, typer.Option(min=1, help="Images of a shard.")] = 16_384,
    loaders: Annotated[int | None, typer.Option(min=1, help="[default: one for each CPU of the cluster]")] = None,
    embedders: Annotated[int | None, typer.Option(min=1, help="[default: one for each GPU, or node]")] = None,
    connections: Annotated[int, typer.Option(min=1, help="To the database, of all workers together.")] = 4,
    drop_index: Annotated[
        bool, typer.Option("--drop-index", help="Drop the vector index before, and build it afterwards.")
    ] = False,
    memory_mb: Annotated[int | None, typer.Option(min=1, help="maintenance_work_mem of that build.")] = None,
    loader_rate: Annotated[float | None, typer.Option(min=0.001, help="Images/s of a loader, not measured.")] = None,
    engine_rate: Annotated[float | None, typer.Option(min=0.001, help="Images/s of an engine, not measured.")] = None,
) -> None:
    """Make all missing vectors on a cluster, by Ray Data (requirements-ray.txt). Daemons may run beside it."""
    from daemon.backfill import run as filling  # noqa: PLC0415 - as above

    settings = _settings(config)
    logs.configure(level="warning" if settings.log.level == "info" else settings.log.level, form=settings.log.format)
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
    with _stop_request() as stop:
        raise typer.Exit(filling.run(settings, options, stop, _console()))


@app.command()
def demo(
    config: ConfigOption = None,
    images: Annotated[Path | None, typer.Option(help="A folder of pictures. [default: the demo draws some]")] = None,
    weights: Annotated[str | None, typer.Option(help="A Keras .h5 or .keras file of MobileNetV2.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many pictures.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Stay up afterwards, and say where.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON on stdout.")] = False,
) -> None:
    """Run the main job on an embedded PostgreSQL, and show what came of it."""
    from daemon.demo import run as demonstration  # noqa: PLC0415 - as above

    settings = _settings(config)
    # A line per image would tear the progress bar; what failed stands in the summary.
    logs.configure(level="warning" if settings.log.level == "info" else settings.log.level, form=settings.log.format)
    options = demonstration.Options(images=images, weights=weights, count=count, serve=serve, json=as_json)
    with _stop_request() as stop:
        raise typer.Exit(demonstration.run(settings, options, stop, _console()))


@contextmanager
def _desk(config: Path | None) -> Iterator["Desk"]:
    from daemon import wiring  # noqa: PLC0415 - `--help` must not load an engine

    settings = _settings(config)
    logs.configure(level="warning", form=settings.log.format)
    with wiring.open_desk(settings) as desk:
        yield desk


def _nearest(desk: "Desk", what: str, k: int, config: Path | None) -> "Sequence[Neighbour]":
    from daemon import wiring  # noqa: PLC0415 - as above
    from daemon.commands import likeness  # noqa: PLC0415 - as above

    if not likeness.is_picture(what):
        try:
            return desk.similar.to_image(what, k)
        except NotFoundError as error:
            raise likeness.unknown(what, error) from error
    settings = _settings(config)
    with wiring.open_embedder(settings) as make:
        vector = likeness.embed(what, make, most=settings.fetch.max_bytes)
    return desk.similar.to_vector(vector, k)


def _watch(desk: "Desk") -> None:
    before = desk.reports.status()
    with _stop_request() as stop, Live(screen.status(before, rate=None), console=_console()) as live:
        while not stop.wait(WATCH_SECONDS):
            now = desk.reports.status()
            live.update(screen.status(now, rate=rate(before, now)))
            before = now


def _reason(label: str | None) -> Reason | None:
    try:
        return None if label is None else Reason.from_label(label)
    except ValueError as error:
        raise ConfigurationError(f"--reason: {error}") from error


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the command's output


def _settings(config: Path | None) -> Settings:
    return load(config or (DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None))


@contextmanager
def _stop_request() -> Iterator[StopRequest]:
    request = StopRequest()
    with stop_on_signals(request.ask):
        yield request


def _console() -> Console:
    """Of the terminal's width; elsewhere wide enough for a path, since nobody can make a log file wider."""
    return Console() if sys.stdout.isatty() else Console(width=WIDE)


def _fail(error: Exception, status: int) -> None:
    Console(stderr=True).print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
    sys.exit(status)
