"""What several test files share: a PostgreSQL with pgvector, and a database of its own for every test."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import structlog

from daemon import wiring
from daemon.db.embedded import EmbeddedServer
from daemon.db.names import Names
from daemon.db.pool import Pool
from daemon.db.schema import SchemaOptions, migrate
from daemon.wiring import Daemon
from tests.pictures import Web, serving
from tests.postgres import DIMENSION, Database, MakeDatabase, Server
from tests.whole import ROOT, Tables, save_small_weights, settings, small_daemon

# A slow example is a busy machine; what is slow by itself shows in the benchmarks. In CI the same examples every time.
hypothesis.settings.register_profile("vectord", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("vectord")

TEMPLATE = "vectord_template"
DEFAULT_NAMES = Names()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """PostgreSQL with pgvector, for the whole session; made for speed, not for keeping."""
    folder = Path(tempfile.mkdtemp(prefix="vectord-test-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        embedded = stack.enter_context(EmbeddedServer(folder / "postgres"))
        made = Server(embedded.dsn)
        for setting in (
            "fsync = off",
            "synchronous_commit = off",
            "full_page_writes = off",
            "autovacuum_naptime = '5s'",
        ):
            made.execute(f"ALTER SYSTEM SET {setting}")
        made.execute("SELECT pg_reload_conf()")
        yield made


@pytest.fixture(scope="session")
def template(server: Server) -> str:
    """The name of a database with the default names migrated, for cloning."""
    server.execute(f'CREATE DATABASE "{TEMPLATE}"')
    with closing(Pool(server.dsn_of(TEMPLATE), size=1)) as pool:
        migrate(pool, DEFAULT_NAMES, SchemaOptions(dimension=DIMENSION))
    return TEMPLATE


@pytest.fixture
def database(server: Server, template: str) -> Iterator[Database]:
    """A database of this test's own, migrated with the default names, vectors of 4 dimensions, HNSW index, triggers."""
    with server.database(template) as dsn, closing(Pool(dsn, size=8)) as pool:
        yield Database(dsn, DEFAULT_NAMES, pool)


@pytest.fixture
def empty_database(server: Server) -> Iterator[str]:
    """The DSN of a database with nothing in it."""
    with server.database() as dsn:
        yield dsn


@pytest.fixture
def make_database(server: Server) -> Iterator[MakeDatabase]:
    """Makes databases with other names or options, or with tables that are there before `migrate` is."""
    with ExitStack() as stack:

        def make(names: Names = DEFAULT_NAMES, before: str = "", encoding: str = "", **options: Any) -> Database:
            dsn = stack.enter_context(server.database(encoding=encoding))
            pool = stack.enter_context(closing(Pool(dsn, size=8)))
            made = Database(dsn, names, pool)
            if before:
                made.execute(before)
            migrate(pool, names, SchemaOptions(**{"dimension": DIMENSION} | options))
            return made

        yield make


@pytest.fixture
def untriggered(make_database: MakeDatabase) -> Database:
    """A database whose table of images has no triggers."""
    return make_database(trigger=False)


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """What a test has logs written to is closed after it; daemons of later tests in this process would end by that."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run see: pytest-xdist gives each its own below it."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """A state folder for the whole session. Compiled models, which take long, are kept for all workers."""
    folder, models = tmp_path_factory.mktemp("state"), shared / "models"
    models.mkdir(exist_ok=True)
    (folder / "openvino").symlink_to(models)
    return folder


@pytest.fixture
def environment(compiled: Path) -> dict[str, str]:
    """The tester's, less what would be taken for configuration."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VECTORD_", "POSTGRES_"))}
    return kept | {"VECTORD_DATABASE__STATE_DIR": str(compiled), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def small_weights(shared: Path) -> Path:
    """A weights file of the smallest model, the same for all workers: their models are."""
    path = shared / "small.weights.h5"
    with (shared / "small.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if not path.exists():
            save_small_weights(path)
    return path


@pytest.fixture
def small(environment: dict[str, str], small_weights: Path, empty_database: str) -> dict[str, str]:
    """An environment for `run` with the smallest model, on an empty database."""
    return environment | small_daemon(empty_database, small_weights)


@pytest.fixture
def web() -> Iterator[Web]:
    """A server of pictures, which the test fills."""
    with serving() as web:
        yield web


@pytest.fixture
def tables(empty_database: str) -> Tables:
    """The users' tables, empty."""
    return Tables(empty_database)


@pytest.fixture
def daemon(empty_database: str, compiled: Path) -> Iterator[Daemon]:
    """One that works on those tables, in this process."""
    with wiring.open_daemon(settings(empty_database, compiled), allow_untrained=True) as daemon:
        yield daemon
