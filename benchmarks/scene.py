"""What the benchmarks of the whole way share: photographs behind a server, PostgreSQL with the users' tables, a daemon.

The photographs, their server, PostgreSQL and whatever is measured share the machine. Tables are cloned from a template
that holds some vectors already, so that nobody starts with an empty index; they are another program's, which vectord
leaves alone.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import IO, Any, Literal

import psycopg2
from psycopg2.extensions import make_dsn
from psycopg2.extras import execute_values

from benchmarks.pictures import make_pictures, make_weights
from benchmarks.postgres import execute, server
from benchmarks.processes import parent
from daemon.db.names import Names
from daemon.db.pool import Pool
from daemon.db.schema import SchemaOptions, migrate

IndexChoice = Literal["hnsw", "none"]

KEPT = Path(".bench")
"""Photographs and converted models, kept from one run to the next."""
FILES = "the files' server"
BASE = 2000
DIMENSION = 1280
PATIENCE = 1800.0
READY = "daemon.ready"
MOST_COMPLAINTS = 1 << 20
FILL = """
INSERT INTO ecai.tb_image (id, url) SELECT n, 'http://example.test/' FROM generate_series(1, {base}) n;
SELECT setseed(0.5);
INSERT INTO tb_hsx_img_value (image_id, feature_vector, model_version)
SELECT n, l2_normalize(ARRAY(SELECT random() - 0.5 FROM generate_series(1, {dimension} + 0 * n))::vector({dimension})),
    'MobileNetV2' FROM generate_series(1, {base}) n
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """Where everything is. `helpers` are the processes beside the one that is measured, by name."""

    server_dsn: str
    urls: Sequence[str]
    weights: Path
    state_dir: Path
    helpers: Mapping[str, int]

    @contextmanager
    def tables(self, template: str = "scene") -> Iterator["Tables"]:
        """A clone of the users' tables, for as long as the block lasts."""
        name = "clone"
        execute(self.server_dsn, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        execute(self.server_dsn, f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        execute(self.server_dsn, "CHECKPOINT")
        try:
            yield Tables(make_dsn(self.server_dsn, dbname=name), self.urls)
        finally:
            execute(self.server_dsn, f'DROP DATABASE "{name}" WITH (FORCE)')


class Tables:
    """The users' tables, as an application writes and reads them."""

    def __init__(self, dsn: str, urls: Sequence[str]) -> None:
        self.dsn = dsn
        self._urls = urls
        self._session = psycopg2.connect(dsn)
        self._session.autocommit = True

    def insert(self, number: int, first: int = BASE + 1) -> None:
        """So many images with ids from `first` on, in one transaction."""
        rows = [(first + n, self._urls[n % len(self._urls)]) for n in range(number)]
        with closing(psycopg2.connect(self.dsn)) as session, session, session.cursor() as cursor:
            execute_values(cursor, "INSERT INTO ecai.tb_image (id, url) VALUES %s", rows, page_size=1000)

    def query(self, sql: str) -> Any:
        """The first column of the first row."""
        with self._session.cursor() as cursor:
            cursor.execute(sql)
            row = cursor.fetchone()
            return row and row[0]

    def rows(self, sql: str) -> list[Any]:
        """All of them."""
        with self._session.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def vectors(self, above: int = BASE) -> int:
        """Those of images with ids above this one."""
        return int(self.query(f"SELECT count(*) FROM tb_hsx_img_value WHERE image_id > {above}"))

    def wait_for(self, vectors: int, above: int = BASE) -> None:
        """Until there are so many."""
        enough = f"SELECT count(*) >= {vectors} FROM tb_hsx_img_value WHERE image_id > {above}"
        self.wait_until(enough, f"no {vectors} vectors were made")

    def wait_until(self, question: str, otherwise: str, seconds: float = PATIENCE) -> None:
        """Until the answer is yes; asked twenty times a second, and less often as time goes by."""
        began = time.monotonic()
        while not self.query(question):
            waited = time.monotonic() - began
            if waited > seconds:
                raise SystemExit(f"{otherwise} within {seconds:.0f} s")
            time.sleep(max(0.05, waited / 200))


@contextmanager
def scene(pictures: int, *, shape: str = "", pause: float = 0.0, servers: int = 1) -> Iterator[Scene]:
    """Everything that is to be there before anything is measured. `pause`: seconds that a source takes to answer."""
    folder = KEPT.resolve() / (shape or "mix")
    names = make_pictures(folder, pictures, shape=shape)
    with ExitStack() as stack:
        files = [
            stack.enter_context(program("benchmarks.file_server", str(folder), str(pause))) for _ in range(servers)
        ]
        sources = [f"http://127.0.0.1:{int(one.hear())}/" for one in files]
        dsn = stack.enter_context(server())
        make_template(dsn)
        named = {f"{FILES}{'' if number == 0 else f' {number + 1}'}": one.pid for number, one in enumerate(files)}
        yield Scene(
            server_dsn=dsn,
            urls=[source + name for source, name in zip(cycle(sources), names, strict=False)],
            weights=make_weights(KEPT),
            state_dir=KEPT.resolve() / "state",
            helpers={**named, "PostgreSQL": postmaster(dsn)},
        )


def make_template(dsn: str, name: str = "scene", *, base: int = BASE, index: IndexChoice = "hnsw") -> None:
    """The users' tables, with so many random vectors, and nothing of vectord's."""
    execute(dsn, f'CREATE DATABASE "{name}"')
    made = make_dsn(dsn, dbname=name)
    with closing(Pool(made, size=1)) as pool:
        migrate(pool, Names(), SchemaOptions(dimension=DIMENSION, index=index))
    execute(made, "DROP SCHEMA vectord CASCADE")
    execute(made, FILL.format(base=base, dimension=DIMENSION))


def postmaster(dsn: str) -> int:
    """The process id of the server that all its others descend from."""
    with closing(psycopg2.connect(dsn)) as session:
        return parent(session.info.backend_pid)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A running program, and what it complains about."""

    process: "subprocess.Popen[str]"
    errors: IO[str]

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Its next line. Ends the benchmark when there is none."""
        assert self.process.stdout is not None
        if line := self.process.stdout.readline():
            return line.strip()
        raise SystemExit(f"it ended with status {self.process.wait()}")

    def complaints(self) -> str:
        return os.pread(self.errors.fileno(), MOST_COMPLAINTS, 0).decode(errors="replace")


@contextmanager
def program(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Program]:
    """A Python program, ended with the block. Its complaints are shown when something goes wrong meanwhile."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=os.environ | dict(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        made = Program(process=process, errors=errors)
        try:
            yield made
        except BaseException:
            sys.stderr.write(made.complaints()[-3000:])
            raise
        finally:
            end(process)


def end(process: "subprocess.Popen[str]") -> None:
    """Asks it to go, and sees to it."""
    process.terminate()
    try:
        process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()


@contextmanager
def vectord(scene: Scene, dsn: str, **variables: str) -> Iterator[Program]:
    """`python -m daemon run` with the defaults, once it is ready. `variables`: settings, such as LOADER__THREADS."""
    environment = {
        "VECTORD_DATABASE__DSN": dsn,
        "VECTORD_DATABASE__STATE_DIR": str(scene.state_dir),
        "VECTORD_MODEL__WEIGHTS": str(scene.weights),
        "VECTORD_FETCH__ALLOW_NETWORKS": '["127.0.0.0/8"]',
        "VECTORD_FETCH__ALLOW_PORTS": "[0]",
        "VECTORD_HTTP__PORT": "0",
        **{f"VECTORD_{name}": value for name, value in variables.items()},
    }
    with program("daemon", "run", environment=environment) as started:
        wait_until_ready(started)
        yield started


def wait_until_ready(started: Program, seconds: float = 300.0) -> None:
    """Until the daemon says so. The first start converts the model, which takes ten seconds or so."""
    deadline = time.monotonic() + seconds
    while READY not in started.complaints():
        if started.process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the daemon did not start (status {started.process.returncode})")
        time.sleep(0.1)
    # Its loaders and its listener are up a moment later.
    time.sleep(1.0)
