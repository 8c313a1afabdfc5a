"""The commands. Each reads the configuration, does one thing, and says by its exit status how it went.

0: done. 1: it failed. 2: the call or the configuration is wrong.
"""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from daemon import VERSION
from daemon.cli.changing import index, reprocess, retry
from daemon.cli.looking import failures, similar, status, why
from daemon.cli.working import backfill, check, demo, init, run
from daemon.errors import ConfigurationError, DatabaseError, DatabaseUnavailableError, VectordError, sqlstate
from daemon.redact import redact

REMEDY = "see that database.dsn leads to a server that runs; `python -m daemon check` looks at all the rest"
"""Where PostgreSQL is away."""
REFUSED = "`python -m daemon check` says what is missing or not allowed, and its remedy"
"""Where PostgreSQL refuses, and nobody has put it into other words."""

app = typer.Typer(
    name="vectord",
    help="Keeps a table of image vectors in step with a table of images in PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(*, wanted: bool) -> None:
    if wanted:
        print(f"vectord {VERSION}")  # noqa: T201 - the command's output
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options of no command."""


for command in (run, init, check, status, failures, why, retry, reprocess, similar, index, backfill, demo):
    app.command()(command)


def main() -> None:
    """Runs the command line; errors of ours become one sentence on stderr and an exit status."""
    try:
        app(prog_name="python -m daemon")
    except ConfigurationError as error:
        _fail(error, 2)
    except VectordError as error:
        _fail(_with_remedy(error), 1)


def _with_remedy(error: VectordError) -> VectordError:
    remedy = _remedy(error)
    return type(error)(f"{error}\n→ {remedy}") if remedy else error


def _remedy(error: VectordError) -> str:
    """What libpq and PostgreSQL say names no key; what is made of them elsewhere says enough."""
    if type(error) is DatabaseUnavailableError:
        return REMEDY
    return REFUSED if type(error) is DatabaseError and sqlstate(error) else ""


def _fail(error: Exception, status: int) -> None:
    # Text, not markup: what stands in brackets in a message is part of it.
    Console(stderr=True).print(Text.assemble(("error:", "red"), f" {redact(str(error))}"), soft_wrap=True)
    sys.exit(status)
