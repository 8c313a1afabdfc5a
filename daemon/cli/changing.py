"""Commands that change what stands in the database, and leave the work to the daemons."""

from typing import Annotated

import typer

from daemon.cli.common import ConfigOption, JsonOption, console, open_tools, reason_of, say
from daemon.commands.plain import to_json
from daemon.errors import ConfigurationError
from daemon.telemetry.progress import Reporter


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
    chosen = reason_of(reason)
    with open_tools(config) as tools:
        if image_id is not None:
            count = tools.retries.one(image_id)
        else:
            count = tools.retries.all() if chosen is None else tools.retries.reason(chosen)
    in_vain = image_id is not None and not count
    hint = f"; nothing of {image_id} has failed for good, `why {image_id}` says more" if in_vain else ""
    say(to_json({"retried": count}) if as_json else f"due again: {count}{hint}")
    raise typer.Exit(int(in_vain))


def reprocess(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Have every vector made anew. Running daemons hear of it; each image keeps its old vector until then."""
    with open_tools(config) as tools:
        generation = tools.generations.raise_now("asked for by `reprocess`")
    told = f"generation {generation}: every vector is made anew; `status --watch` shows how far it is"
    say(to_json({"generation": generation}) if as_json else told)


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
    with open_tools(config) as tools:
        vectors = tools.index(memory_mb=memory_mb)
        if drop:
            dropped = vectors.drop()
            say("dropped: " + ", ".join(dropped) if dropped else "there was no index to drop")
            return
        with Reporter(console(), what="starting") as reporter:
            for seen in vectors.rebuild() if rebuild else vectors.build():
                reporter.show(seen.done, total=seen.total, what=seen.phase)
        say("the index is there")
