"""Commands that look: how things stand, what failed, what is known of an image, what is like it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live

from daemon.cli.common import ConfigOption, JsonOption, console, open_tools, read_settings, reason_of, say, stop_request
from daemon.commands import likeness, screen
from daemon.commands.plain import to_json
from daemon.db.findings import rate
from daemon.db.similar import MOST
from daemon.errors import NotFoundError
from daemon.records import Vectors

if TYPE_CHECKING:
    from daemon.db.similar import Neighbour
    from daemon.db.tools import Tools

WATCH_SECONDS = 2.0


def status(
    config: ConfigOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds, until Ctrl-C.")] = False,
) -> None:
    """Show how things stand: what is done, what waits, what failed, who works."""
    with open_tools(config) as tools:
        if as_json:
            say(to_json(tools.reports.status()))
        elif watch:
            _watch(tools)
        else:
            console().print(screen.status(tools.reports.status(), rate=None))


def failures(
    config: ConfigOption = None,
    reason: Annotated[str | None, typer.Option(help="Of this reason alone.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List the images that failed for good, and why."""
    chosen = reason_of(reason)
    with open_tools(config) as tools:
        found = tools.reports.failures(chosen, limit)
        if as_json:
            say(to_json({"counts": tools.reports.dead(), "failures": found}))
        else:
            console().print(screen.failures(found))


def why(image_id: str, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Tell all that is known of one image. Exit status 1 when there is no such image."""
    with open_tools(config) as tools:
        found = tools.reports.why(image_id)
        if as_json:
            say(to_json({"image_id": found.image_id, "verdict": found.verdict, "known": found}))
        else:
            console().print(screen.why(found))
    raise typer.Exit(0 if found.exists else 1)


def similar(
    what: Annotated[str, typer.Argument(metavar="ID|PATH|URL", help="An image of the table, or any other picture.")],
    config: ConfigOption = None,
    k: Annotated[int, typer.Option("-k", min=1, max=MOST, help="How many.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """List the images nearest to one, by the cosine of their vectors. No daemon has to run."""
    with open_tools(config) as tools:
        found = _nearest(tools, what, k, config)
    if as_json:
        say(to_json(found))
    else:
        console().print(screen.neighbours(found))


def _watch(tools: "Tools") -> None:
    before = tools.reports.status()
    with stop_request() as stop, Live(screen.status(before, rate=None), console=console()) as live:
        while not stop.wait(WATCH_SECONDS):
            now = tools.reports.status()
            live.update(screen.status(now, rate=rate(before, now)))
            before = now


def _nearest(tools: "Tools", what: str, k: int, config: Path | None) -> "Sequence[Neighbour]":
    if likeness.is_picture(what):
        return tools.similar.to_vector(_embed(what, config), k)
    try:
        return tools.similar.to_image(what, k)
    except NotFoundError as error:
        raise likeness.unknown(what, error) from error


def _embed(what: str, config: Path | None) -> Vectors:
    from daemon import wiring  # noqa: PLC0415 - an id needs no engine

    settings = read_settings(config)
    with wiring.open_embedder(settings) as make:
        return likeness.embed(what, make, most=settings.fetch.max_bytes)
