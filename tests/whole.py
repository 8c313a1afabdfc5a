"""The whole daemon as tests use it: small models, pictures on loopback, and waiting for what the tables come to say."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from daemon.config import Settings
from tests.watching import wait_for_change

ROOT = Path(__file__).resolve().parents[1]
DEADLINE = 60.0
PATIENCE = 240

SMALL = {"alpha": 0.35, "input_size": 96, "weights": "untrained"}
"""The smallest MobileNetV2 there is; its vectors are 1280 long like the others'."""


def settings(dsn: str, state_dir: Path, **sections: Mapping[str, Any]) -> Settings:
    """Settings for a test: one loader, pictures on loopback allowed, a port of its own."""
    given: dict[str, dict[str, Any]] = {
        "database": {"dsn": dsn, "state_dir": state_dir},
        "loader": {"processes": 1},
        "fetch": {"allow_networks": ["127.0.0.0/8"], "allow_ports": [0], "connect_timeout": 1.0},
        "model": dict(SMALL),
        "http": {"port": 0},
        "sweep": {"interval_seconds": 1.0},
        "queue": {"retry_base_seconds": 0.05},
    }
    return Settings.model_validate(
        {name: given.get(name, {}) | dict(sections.get(name, {})) for name in {*given, *sections}}
    )


class Tables:
    """The users' two tables and the queue, seen by another program."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def execute(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """One statement in a transaction of its own."""
        session = psycopg2.connect(self._dsn)
        try:
            with session, session.cursor() as cursor:
                cursor.execute(sql, parameters)
                return cursor.fetchall() if cursor.description else []
        finally:
            session.close()

    def insert(self, images: Mapping[int, str]) -> None:
        for image, url in images.items():
            self.execute("INSERT INTO ecai.tb_image (id, url) VALUES (%s, %s)", (image, url))

    def vectors(self) -> dict[int, str]:
        """Each image's vector, as text."""
        return dict(self.execute("SELECT image_id, feature_vector::text FROM tb_hsx_img_value"))

    def jobs(self) -> dict[int, tuple[str, str | None, int]]:
        """What still waits or is dead: state, reason and attempts."""
        rows = self.execute("SELECT image_id, state, reason, attempts FROM vectord.job")
        return {image: (state, reason, attempts) for image, state, reason, attempts in rows}

    def nothing_leased_to(self, pid: int) -> bool:
        """Whether no job is leased to the daemon with this process id, not even one whose time is up."""
        sql = (
            "SELECT count(*) FROM vectord.job JOIN vectord.worker USING (worker) WHERE pid = %s AND lease_token NOTNULL"
        )
        return self.execute(sql, (pid,)) == [(0,)]

    def wait_for_work(self) -> None:
        """Until some daemon has an image in work."""
        self.wait(lambda: self.execute("SELECT 1 FROM vectord.job WHERE lease_token NOTNULL"), "a lease")

    def wait(self, condition: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
        """Until the condition, which vectors and jobs alone may decide, holds."""
        done = wait_for_change(self._dsn, condition, seconds)
        assert done, f"{what}; vectors {_some(sorted(self.vectors()))}, jobs {_some(list(self.jobs().items()))}"


def _some(rows: list[Any]) -> str:
    """The first of them: a million would hide what else there is to read."""
    return f"{len(rows)}: {rows[:20]}"


def call(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daemon", *arguments]
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@contextmanager
def daemon_process(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """`run`, until it says that it is ready; killed at the end if it still lives."""
    with subprocess.Popen(
        [sys.executable, "-m", "daemon", "run"], env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_for_line(process, "daemon.ready")
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def wait_for_line(process: "subprocess.Popen[str]", event: str) -> dict[str, object]:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("{") and json.loads(line)["event"] == event:
            found: dict[str, object] = json.loads(line)
            return found
    raise AssertionError(f"ended with status {process.wait(60)} before it said {event}")


def stop(process: "subprocess.Popen[str]", number: signal.Signals) -> int:
    process.send_signal(number)
    return end(process)


def end(process: "subprocess.Popen[str]") -> int:
    """Waits for it; gives its exit status."""
    process.communicate(timeout=PATIENCE)
    return process.returncode


def save_small_weights(path: Path) -> None:
    """A weights file as a user would have it, made by Keras in a process of its own."""
    code = (
        "import sys; from daemon.engine.quiet import import_keras; keras = import_keras();"
        "keras.applications.MobileNetV2(alpha=0.35, include_top=False, input_shape=(96, 96, 3), weights=None)"
        ".save_weights(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=True, capture_output=True)


def small_daemon(dsn: str, weights: Path) -> dict[str, str]:
    """Variables for `run` with the smallest model, short leases, and pictures on loopback allowed."""
    return {
        "VECTORD_DATABASE__DSN": dsn,
        "VECTORD_MODEL__WEIGHTS": str(weights),
        "VECTORD_MODEL__ALPHA": "0.35",
        "VECTORD_MODEL__INPUT_SIZE": "96",
        "VECTORD_FETCH__ALLOW_NETWORKS": '["127.0.0.0/8"]',
        "VECTORD_FETCH__ALLOW_PORTS": "[0]",
        "VECTORD_HTTP__PORT": "0",
        "VECTORD_LOADER__PROCESSES": "1",
        "VECTORD_QUEUE__LEASE_SECONDS": "2",
        "VECTORD_QUEUE__POLL_SECONDS": "0.5",
    }
