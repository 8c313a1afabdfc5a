"""The commands. Each reads the configuration, does one thing, and says by its exit status how it went.

0: done. 1: it failed. 2: the call or the configuration is wrong.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from daemon.config import Settings, load
from daemon.errors import ConfigurationError, VectordError
from daemon.service.signals import StopRequest, stop_on_signals
from daemon.telemetry import logs

DEFAULT_CONFIG = Path("config.toml")
WIDE = 120

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

    settings = _settings(config)
    logs.configure(level=settings.log.level, form=settings.log.format)
    with _stop_request() as stop:
        raise typer.Exit(foreground.run(settings, stop))


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
        print(wiring.schema_script(settings))  # noqa: T201 - the command's output
        return
    wiring.migrate(settings)
    Console().print("the schema is there")


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
