"""What the commands share: their options, the configuration, the database, the terminal."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from daemon.config import Settings, load
from daemon.errors import ConfigurationError, Reason
from daemon.service.signals import StopRequest, stop_on_signals
from daemon.telemetry import logs

if TYPE_CHECKING:
    from daemon.db.tools import Tools

DEFAULT_CONFIG = Path("config.toml")
WIDE = 120

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help=r"The configuration file. \[default: config.toml, where there is one]"),
]

JsonOption = Annotated[bool, typer.Option("--json", help="One line of JSON, for scripts.")]


def read_settings(config: Path | None) -> Settings:
    """Those of this file, or of config.toml where there is one. Raises `ConfigurationError`."""
    # Not Path.is_file: a working folder that may not be searched has no configuration in it.
    return load(config or (DEFAULT_CONFIG if os.path.isfile(DEFAULT_CONFIG) else None))  # noqa: PTH113 - as said


@contextmanager
def open_tools(config: Path | None) -> Iterator["Tools"]:
    """The database, for as long as the block lasts."""
    from daemon import ground  # noqa: PLC0415 - `--help` must not load what knows the database

    settings = read_settings(config)
    logs.configure(level="warning", form=settings.log.format)
    with ground.open_tools(settings) as tools:
        yield tools


def reason_of(label: str | None) -> Reason | None:
    """The reason that `--reason` names. Raises `ConfigurationError` when there is none such."""
    try:
        return None if label is None else Reason.from_label(label)
    except ValueError as error:
        raise ConfigurationError(f"--reason: {error}") from error


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Asked by SIGTERM or SIGINT for as long as the block lasts."""
    request = StopRequest()
    with stop_on_signals(request.ask):
        yield request


def console() -> Console:
    """Of the terminal's width; elsewhere wide enough for a path, since nobody can make a log file wider."""
    return Console() if sys.stdout.isatty() else Console(width=WIDE)


def configure_logs(settings: Settings) -> None:
    """For commands with a progress bar, which a line per image would tear: what failed stands in their summary."""
    logs.configure(level="warning" if settings.log.level == "info" else settings.log.level, form=settings.log.format)


def say(text: str) -> None:
    """One line of the output."""
    print(text, flush=True)  # noqa: T201 - the command's output
