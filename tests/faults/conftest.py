"""What the fault tests share: pictures over HTTP, their right vectors, scenes, and a PostgreSQL that may be stopped."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import astuple
from pathlib import Path

import pytest

from tests.faults.daemons import Running
from tests.faults.gallery import PICTURES, Gallery
from tests.faults.report import PROPERTY
from tests.faults.scene import Scene
from tests.faults.server import OwnServer
from tests.faults.verdict import Right
from tests.postgres import Server
from tests.watching import watch
from tests.whole import ROOT, Tables, call, small_daemon


@pytest.fixture
def gallery() -> Iterator[Gallery]:
    with Gallery().open() as gallery:
        yield gallery


@pytest.fixture(scope="session")
def variables(compiled: Path, small_weights: Path) -> dict[str, str]:
    """The tester's environment less what would be taken for configuration, and the smallest model."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VECTORD_", "POSTGRES_"))}
    own = {"VECTORD_DATABASE__STATE_DIR": str(compiled), "PYTHONPATH": str(ROOT)}
    return kept | small_daemon("", small_weights) | own


@pytest.fixture(scope="session")
def rights(server: Server, variables: dict[str, str]) -> Callable[[Mapping[str, str]], Right]:
    """The vector of each picture under these variables, made by a daemon that nobody disturbs; once for each."""
    known: dict[frozenset[tuple[str, str]], Right] = {}

    def rights(model: Mapping[str, str]) -> Right:
        key = frozenset(model.items())
        if key not in known:
            known[key] = undisturbed(server, variables | dict(model))
        return known[key]

    return rights


def undisturbed(server: Server, variables: Mapping[str, str]) -> Right:
    with server.database() as dsn, Gallery().open() as gallery:
        tables = Tables(dsn)
        with Running({**variables, "VECTORD_DATABASE__DSN": dsn}) as daemon:
            daemon.ready()
            tables.insert({number: gallery.location(number) for number in range(PICTURES)})
            tables.wait(lambda: len(tables.vectors()) == PICTURES, "the right vectors")
        return tables.vectors()


@pytest.fixture
def make_scene(
    gallery: Gallery,
    variables: dict[str, str],
    rights: Callable[[Mapping[str, str]], Right],
    record_property: Callable[[str, object], None],
) -> Iterator[Callable[[str], Scene]]:
    """Makes a scene on the database of this DSN."""
    with ExitStack() as stack:
        yield lambda dsn: Scene(
            dsn, variables, gallery, rights, lambda row: record_property(PROPERTY, astuple(row)), stack
        )


PREPARED = "faults_template"
"""The name of a database that `prepare` made: a scene's own is a copy of it."""


def prepare(server: Server, variables: dict[str, str]) -> str:
    """Has the daemon make its schema, and the tables tell of their changes. Gives the database's name."""
    server.execute(f'CREATE DATABASE "{PREPARED}"')
    dsn = server.dsn_of(PREPARED)
    made = call(variables | {"VECTORD_DATABASE__DSN": dsn}, "init")
    assert made.returncode == 0, made.stderr
    watch(dsn)
    return PREPARED


@pytest.fixture(scope="session")
def prepared(server: Server, variables: dict[str, str]) -> str:
    return prepare(server, variables)


@pytest.fixture
def scene(make_scene: Callable[[str], Scene], server: Server, prepared: str) -> Iterator[Scene]:
    """A scene on the session's PostgreSQL, with vectord's schema in its database."""
    with server.database(prepared) as dsn:
        yield make_scene(dsn)


@pytest.fixture(scope="module")
def own_server() -> Iterator[OwnServer]:
    """A PostgreSQL for this module alone. Who stops it starts it again."""
    folder = Path(tempfile.mkdtemp(prefix="vectord-faults-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield stack.enter_context(OwnServer(folder / "postgres"))


@pytest.fixture(scope="module")
def own_prepared(own_server: OwnServer, variables: dict[str, str]) -> str:
    return prepare(own_server, variables)


@pytest.fixture
def own_scene(make_scene: Callable[[str], Scene], own_server: OwnServer, own_prepared: str) -> Iterator[Scene]:
    """A scene on the PostgreSQL that may be stopped."""
    own_server.ensure()
    with own_server.database(own_prepared) as dsn:
        yield make_scene(dsn)
