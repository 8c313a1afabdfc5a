"""Runs the demo: everything the daemon does, and somebody who writes images while it does."""

import json
import shlex
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from daemon import wiring
from daemon.config import Settings
from daemon.db.embedded import PSQL, EmbeddedServer
from daemon.demo import pictures as gallery
from daemon.demo.pictures import Picture
from daemon.demo.summary import SHOWN, Summary, accuracy, show
from daemon.demo.tables import Neighbour, Progress, Tables
from daemon.errors import ConfigurationError, EngineError
from daemon.service.signals import StopRequest
from daemon.telemetry.progress import Reporter
from daemon.wiring import Daemon

DRAWN = 96
"""Pictures that the demo draws when nobody names a folder or a number."""
NEIGHBOURS = 3
STALLED_SECONDS = 60.0
"""Nothing new for so long means that something is wrong: longer than the slowest fetch may take."""
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says."""

    images: Path | None = None
    weights: str | None = None
    count: int | None = None
    serve: bool = False
    json: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Where the demo's database and pictures are, and how many."""

    dsn: str
    base: str
    images: int


def run(settings: Settings, options: Options, stop: StopRequest, console: Console) -> int:
    """Runs it; gives the exit status: 1 when an image that should have a vector has none."""
    with tempfile.TemporaryDirectory(prefix="vectord-demo-") as scratch:
        _require_weights(options)
        found = _pictures(options, Path(scratch), console)
        with EmbeddedServer(Path(scratch) / "postgres") as server, gallery.serve(found) as base:
            settings = _with_weights(_settings(settings, options, server.dsn), console)
            console.print("starting the daemon: schema, model, loaders")
            with wiring.open_daemon(settings, allow_untrained=True) as daemon:
                locations = {number: gallery.url(base, number, picture) for number, picture in found.items()}
                summary = _work(daemon, locations, found, stop, console)
                show(summary, console)
                if options.serve:
                    _stay(daemon, Host(dsn=server.dsn, base=base, images=len(found)), stop, console)
    if options.json:
        print(json.dumps(summary.as_json()), flush=True)  # noqa: T201 - the command's output
    return 0 if summary.complete else 1


def _require_weights(options: Options) -> None:
    """A slip of the pen is told before anything is drawn or started. Raises `ConfigurationError`."""
    given = options.weights
    if given is not None and given not in (wiring.IMAGENET, wiring.UNTRAINED) and not Path(given).expanduser().exists():
        raise ConfigurationError(f"--weights: there is no file {given}")


def _pictures(options: Options, scratch: Path, console: Console) -> dict[int, Picture]:
    folder = options.images
    if folder is None:
        folder = scratch / "pictures"
        console.print(f"drawing {options.count or DRAWN} pictures")
        gallery.draw(folder, options.count or DRAWN)
    return dict(enumerate(gallery.find(folder.absolute(), options.count), start=1))


def _settings(settings: Settings, options: Options, dsn: str) -> Settings:
    """The user's settings, but for what makes it a demo: its own database, and pictures on loopback."""
    changes: dict[str, dict[str, object]] = {
        "database": {"dsn": dsn, "listen_dsn": ""},
        "fetch": {"allow_networks": ["127.0.0.0/8"], "allow_ports": [0]},
        "http": {"host": "127.0.0.1", "port": settings.http.port if options.serve else 0, "metrics_port": 0},
    }
    if options.weights is not None:
        changes["model"] = {"weights": options.weights}
    return settings.changed(changes)


def _with_weights(settings: Settings, console: Console) -> Settings:
    """Goes on with untrained weights when ImageNet's cannot be fetched; a file that someone named must be there."""
    try:
        wiring.find_weights(settings)
    except EngineError as error:
        if settings.model.weights != wiring.IMAGENET:
            raise
        console.print(f"{error}\ngoing on with untrained weights", style="yellow", highlight=False, soft_wrap=True)
        return settings.changed({"model": {"weights": wiring.UNTRAINED}})
    return settings


def _work(
    daemon: Daemon, locations: Mapping[int, str], found: Mapping[int, Picture], stop: StopRequest, console: Console
) -> Summary:
    tables = Tables(daemon.pool, daemon.names)
    began = time.monotonic()
    tables.insert(locations)
    with Reporter(console, total=len(locations)) as reporter:
        reached = _wait(daemon, tables, len(locations), stop, reporter.show)
    seconds = time.monotonic() - began
    info = daemon.engine.describe()
    nearest = tables.nearest(1)
    return Summary(
        images=len(locations),
        vectors=reached.vectors,
        failures=tables.failures(),
        seconds=seconds,
        signature=daemon.signature,
        trained=daemon.trained,
        engine=f"{info.backend} on {info.device}",
        accuracy=accuracy(nearest, found),
        neighbours=named(tables.nearest(NEIGHBOURS, _sample(found)), found),
    )


def _wait(
    daemon: Daemon, tables: Tables, total: int, stop: StopRequest, show_progress: Callable[[int], None]
) -> Progress:
    """Waits until every image has a vector or failed for good, until nothing moves any more, or until asked to stop."""
    reached, moved = tables.progress(), time.monotonic()
    while reached.vectors + reached.dead < total and time.monotonic() - moved < STALLED_SECONDS:
        if stop.wait(LOOK_SECONDS) or not daemon.health().healthy:
            break
        before, reached = reached, tables.progress()
        if reached != before:
            moved = time.monotonic()
            show_progress(reached.vectors + reached.dead)
    return reached


def _sample(found: Mapping[int, Picture]) -> list[int]:
    """One image of each of the first few folders, or the first few images."""
    first: dict[str, int] = {}
    for number, picture in found.items():
        first.setdefault(picture.label, number)
    return (list(first.values()) if len(first) > 1 else list(found))[:SHOWN]


def named(nearest: Sequence[Neighbour], found: Mapping[int, Picture]) -> list[tuple[str, list[tuple[str, float]]]]:
    """Each image's name with those of its neighbours. Several files may have the same."""
    others: dict[int, list[tuple[str, float]]] = {}
    for one in nearest:
        others.setdefault(one.image, []).append((found[one.other].name, one.similarity))
    return [(found[image].name, near) for image, near in others.items()]


def _stay(daemon: Daemon, host: Host, stop: StopRequest, console: Console) -> None:
    names = daemon.names
    insert = f"INSERT INTO {names.source_table} ({names.source_id}, {names.source_location})"
    for line in (
        "\nThe daemon stays up. Insert rows and watch; Ctrl-C ends it.",
        f"  {shlex.quote(str(PSQL))} '{host.dsn}'",
        f"  {insert} VALUES ({host.images + 1}, '{host.base}/1');",
        f"  pictures: {host.base}/1 to {host.base}/{host.images}",
        f"  commands: export VECTORD_DATABASE__DSN='{host.dsn}', then `python -m daemon status` and others",
        f"  API:      {daemon.address}/docs",
        f"  console:  {daemon.address}/",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    stop.wait()
