"""Daemons that are killed, stopped and continued while rows come, change and go; then the tables, row by row.

The rule is always the same: every image ends with exactly one vector of the present signature, made from its present
location, or with one dead job and the right reason; nothing stays pending; nobody has to help.
"""

import json
import random
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import psycopg2
import pytest

from daemon import wiring
from tests.pictures import Web, picture, serving
from tests.watching import watch
from tests.whole import Tables, daemon_process, settings

PICTURES = 12
GONE = "/gone.jpg"
CALM_SECONDS = 90.0


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as web:
        for number in range(PICTURES):
            web.add(f"/{number}.jpg", picture(number))
        yield web


@pytest.fixture
def right(server: object, compiled: Path, small_weights: Path, web: Web) -> Mapping[str, np.ndarray]:
    """The vector of each picture's path, made by a daemon that nobody disturbs."""
    with server.database() as dsn:  # type: ignore[attr-defined] # the session's server, whose type conftest knows
        model = {"alpha": 0.35, "input_size": 96, "weights": str(small_weights)}
        tables = Tables(dsn)
        with wiring.open_daemon(settings(dsn, compiled, model=model)):
            tables.insert({n: f"{web.base}/{n}.jpg" for n in range(PICTURES)})
            tables.wait(lambda: len(tables.vectors()) == PICTURES, "the right vectors")
        return {f"/{n}.jpg": np.array(json.loads(vector)) for n, vector in tables.vectors().items()}


class Herd:
    """Several daemons on one database, each a process that may be hurt."""

    def __init__(self, variables: dict[str, str], stack: ExitStack) -> None:
        self._variables = variables
        self._stack = stack
        self.running: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        process = self._stack.enter_context(daemon_process(self._variables))
        # Somebody has to read the log, or the pipe fills and the daemon waits.
        threading.Thread(target=process.communicate, daemon=True).start()
        self.running.append(process)

    def kill(self, process: "subprocess.Popen[str]") -> None:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        self.running.remove(process)


@pytest.fixture
def herd(small: dict[str, str]) -> Iterator[Herd]:
    with ExitStack() as stack:
        yield Herd(small | {"VECTORD_SWEEP__INTERVAL_SECONDS": "1"}, stack)


class Users:
    """The application: writes, moves and deletes images at random, and remembers what should be there."""

    def __init__(self, dsn: str, base: str, seed: int) -> None:
        self._dsn = dsn
        self._base = base
        self._random = random.Random(seed)
        self.paths: dict[int, str] = {}
        self._next = 0

    def act(self) -> None:
        """One transaction with a few changes."""
        with psycopg2.connect(self._dsn) as session, session.cursor() as cursor:
            for _ in range(self._random.randint(1, 8)):
                self._change(cursor)
        session.close()

    def _change(self, cursor: "psycopg2.extensions.cursor") -> None:
        deed = self._random.random()
        if deed < 0.6 or not self.paths:
            self._next += self._random.randint(1, 5)
            self._write(cursor, "INSERT INTO ecai.tb_image (url, id) VALUES (%s, %s)", self._next)
        elif deed < 0.85:
            self._write(cursor, "UPDATE ecai.tb_image SET url = %s WHERE id = %s", self._some())
        else:
            image = self._some()
            cursor.execute("DELETE FROM ecai.tb_image WHERE id = %s", (image,))
            del self.paths[image]

    def _write(self, cursor: "psycopg2.extensions.cursor", sql: str, image: int) -> None:
        path = GONE if self._random.random() < 0.1 else f"/{self._random.randrange(PICTURES)}.jpg"
        # The query makes every location new, so that each change counts as one.
        cursor.execute(sql, (f"{self._base}{path}?{self._random.random()}", image))
        self.paths[image] = path

    def _some(self) -> int:
        return self._random.choice(list(self.paths))


def compare(tables: Tables, paths: Mapping[int, str], right: Mapping[str, np.ndarray]) -> list[str]:
    """What is not as it should be, image by image."""
    wrong = []
    vectors, jobs = tables.vectors(), tables.jobs()
    for image, path in paths.items():
        if path == GONE:
            if jobs.get(image, ("", None, 0))[:2] != ("dead", "not_found"):
                wrong.append(f"image {image} should be dead: job {jobs.get(image)}")
        elif image not in vectors or image in jobs:
            wrong.append(f"image {image}: vector {image in vectors}, job {jobs.get(image)}")
        elif np.abs(np.array(json.loads(vectors[image])) - right[path]).max() > 1e-5:
            wrong.append(f"image {image}: the vector of another picture")
    orphans = (set(vectors) | set(jobs)) - set(paths)
    return wrong + [f"image {image} is gone, but not its vector or job" for image in orphans]


def wait_until_right(tables: Tables, paths: Mapping[int, str], right: Mapping[str, np.ndarray]) -> None:
    tables.wait(lambda: not compare(tables, paths, right), "the tables as they should be", CALM_SECONDS)
    versions = tables.execute("SELECT count(DISTINCT model_version) FROM tb_hsx_img_value")
    assert versions == [(1,)]


def test_the_right_vectors_tell_the_pictures_apart(right: Mapping[str, np.ndarray]) -> None:
    paths = list(right)
    assert min(np.abs(right[a] - right[b]).max() for a in paths for b in paths if a < b) > 1e-4


def test_killed_stopped_and_continued_daemons_lose_and_double_nothing(
    herd: Herd, web: Web, right: Mapping[str, np.ndarray], empty_database: str
) -> None:
    herd.start()
    herd.start()
    tables, users = Tables(empty_database), Users(empty_database, web.base, seed=7)
    for turn in range(6):
        for _ in range(12):
            users.act()
        if turn % 3 == 0:
            herd.kill(herd.running[0])
            herd.start()
        elif turn % 3 == 1:
            # Until the other daemon has taken its claims over: its late store is refused.
            stopped = herd.running[0]
            stopped.send_signal(signal.SIGSTOP)
            users.act()
            tables.wait(partial(tables.nothing_leased_to, stopped.pid), "its claims taken over")
            stopped.send_signal(signal.SIGCONT)
    wait_until_right(tables, users.paths, right)


def test_without_the_trigger_and_with_late_commits_the_sweep_finds_all(
    herd: Herd, web: Web, right: Mapping[str, np.ndarray], empty_database: str
) -> None:
    herd.start()
    tables = Tables(empty_database)
    watch(empty_database)
    late = psycopg2.connect(empty_database)
    with late.cursor() as cursor:
        # A low id that is committed when the sweep's cursor has long passed it.
        cursor.execute("INSERT INTO ecai.tb_image (id, url) VALUES (3, %s)", (web.base + "/3.jpg",))
        paths = {number: f"/{number % PICTURES}.jpg" for number in (1, 2, 100, 7, 10**12, 50)}
        tables.insert({number: web.base + path for number, path in paths.items()})
        tables.wait(lambda: len(tables.vectors()) == len(paths), "the early ones")
        late.commit()
    late.close()
    paths[3] = "/3.jpg"
    wait_until_right(tables, paths, right)
    tables.execute("ALTER TABLE ecai.tb_image DISABLE TRIGGER USER")
    hidden = {number: f"/{number % PICTURES}.jpg" for number in (4, 5, 200, 10**12 + 1)}
    tables.insert({number: web.base + path for number, path in hidden.items()})
    wait_until_right(tables, paths | hidden, right)


@pytest.mark.parametrize(
    ("deed", "reason"),
    [("abort", "decoder_crash"), ("segfault", "decoder_crash"), ("hog", "decoder_memory"), ("loop", "decoder_timeout")],
)
def test_a_picture_that_kills_its_loader_dies_alone(
    empty_database: str, compiled: Path, monkeypatch: pytest.MonkeyPatch, deed: str, reason: str
) -> None:
    monkeypatch.setenv("LOADER_TEST_PLUGIN", "loader_plugin")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    tables = Tables(empty_database)
    # Short where the deadline is what is tested; else a busy machine would take it for the fault.
    timeout = 2.0 if deed == "loop" else 30.0
    given = settings(empty_database, compiled, loader={"processes": 2, "timeout_seconds": timeout, "memory_mb": 512})
    with serving() as web, wiring.open_daemon(given, allow_untrained=True):
        good = {number: web.add(f"/{number}.jpg", picture(number)) for number in range(63)}
        tables.insert(good | {99: web.add("/bad.jpg", f"FAULT:{deed}".encode())})
        tables.wait(lambda: set(tables.vectors()) == set(good) and len(tables.jobs()) == 1, "63 vectors and one job")
        tables.wait(lambda: tables.jobs()[99] == ("dead", reason, 2), f"dead of {reason}")
