"""`backfill` on clusters of this machine's: the whole way, hurt in the middle, stopped and resumed, beside a daemon."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import psycopg2
import pytest

from daemon import wiring
from tests.pictures import Web, picture, serving
from tests.whole import DEADLINE, PATIENCE, ROOT, Tables, call, daemon_process, settings, stop

# Not imported here: Ray reads its variables once, when it is, and `_token` sets them.
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="requirements-ray.txt is not installed")

IMAGES, GONE = 400, 7
LEASE = {"VECTORD_QUEUE__LEASE_SECONDS": "4"}
UNANNOUNCED = LEASE | {"VECTORD_QUEUE__TRIGGER": "false"}
TOKEN = secrets.token_hex(32)
SAME = 1e-4
"""By which two engines' batches may differ in one component."""
AUDIT = """
CREATE TABLE written (image_id bigint);
CREATE FUNCTION tell_written() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN INSERT INTO written VALUES (NEW.image_id); RETURN NULL; END $$;
CREATE TRIGGER written AFTER INSERT OR UPDATE ON tb_hsx_img_value FOR EACH ROW EXECUTE FUNCTION tell_written();
"""


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch, small: dict[str, str]) -> None:
    """Clusters and drivers of a test know each other by a token, and leave none in anybody's home."""
    for name, value in {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, value)
        small[name] = value


@pytest.fixture
def tables(small: dict[str, str], empty_database: str, web: Web) -> Tables:
    """Images without jobs, one of which is not there. Each write of a vector is written down."""
    made = call(small | UNANNOUNCED, "init")
    assert made.returncode == 0, made.stderr
    tables = Tables(empty_database)
    tables.execute(AUDIT)
    rows = [(n, web.add(f"/{n}.jpg", picture(n))) for n in range(1, IMAGES + 1)]
    with closing(psycopg2.connect(empty_database)) as session, session, session.cursor() as cursor:
        cursor.executemany("INSERT INTO ecai.tb_image (id, url) VALUES (%s, %s)", rows)
    del web.files[f"/{GONE}.jpg"]
    return tables


@pytest.fixture
def judge(tables: Tables, small_weights: Path, compiled: Path, web: Web) -> Callable[[], None]:
    """Compares the tables row by row with what each image alone comes to."""

    def compare() -> None:
        wanted = set(range(1, IMAGES + 1)) - {GONE}
        assert tables.jobs() == {GONE: ("dead", "not_found", 1)}
        assert sorted(tables.execute("SELECT image_id FROM written")) == [(n,) for n in sorted(wanted)]
        found = tables.vectors()
        assert found.keys() == wanted
        given = settings("unused", compiled, model={"alpha": 0.35, "input_size": 96, "weights": str(small_weights)})
        with wiring.open_embedder(given) as make:
            for n in wanted:
                right = make(web.base + f"/{n}.jpg", None)
                stored = np.fromstring(found[n].strip("[]"), np.float32, sep=",")
                np.testing.assert_allclose(stored, right, atol=SAME, err_msg=f"image {n}")

    return compare


@pytest.fixture
def cluster(_token: None) -> Iterator[Any]:
    """Two nodes, each a raylet with a CPU and an object store of its own, on loopback.

    Not at 127.0.0.1: Ray takes that for the machine's outer address.
    """
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - optional

    node = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=node | {"node_ip_address": "127.0.0.2"})
    made.add_node(num_cpus=1, object_store_memory=100_000_000, node_ip_address="127.0.0.3")
    try:
        yield made
    finally:
        made.shutdown()


@contextmanager
def backfill(environment: dict[str, str], address: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "daemon", "backfill", "--ray", address, "--shard-images", "128", "--loaders", "2"]
    with subprocess.Popen(
        [*command, "--embedders", "2", "--connections", "2"],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def end_of(process: "subprocess.Popen[str]") -> tuple[int, str]:
    out, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, out


@contextmanager
def midway(tables: Tables, web: Web, first: int = 300) -> Iterator[None]:
    """The block begins with some vectors made, and the images from `first` on wait for its end."""
    held = {f"/{n}.jpg": Event() for n in range(first, IMAGES + 1)}
    web.held.update(held)
    try:
        tables.wait(lambda: len(tables.vectors()) > IMAGES // 10, "nothing was made", DEADLINE)
        yield
    finally:
        for event in held.values():
            event.set()
        web.held.clear()


def workers(stage: str) -> list[int]:
    """The processes of a stage's workers of the clusters that this process started."""
    titles = {int(path.parent.name): path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")}
    return [pid for pid, title in titles.items() if b"ray::" in title and stage.encode() in title and ours(pid)]


def ours(pid: int) -> bool:
    """Whether this process started that one, or one that did."""
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return False


def test_every_image_ends_with_a_vector_or_a_reason(
    small: dict[str, str], tables: Tables, judge: Callable[[], None]
) -> None:
    done = call(small | UNANNOUNCED, "backfill", "--ray", "local", "--shard-images", "100", "--drop-index")

    assert done.returncode == 0, done.stderr + done.stdout
    judge()
    assert tables.execute("SELECT count(*) FROM vectord.shard WHERE finished_at IS NOT NULL") == [(4,)]
    assert tables.execute("SELECT count(*) FROM vectord.backfill") == [(0,)]
    assert tables.execute("SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%hnsw%'") == [(1,)]


def test_a_dry_run_tells_the_plan_and_writes_nothing(small: dict[str, str], tables: Tables) -> None:
    done = call(small | UNANNOUNCED, "backfill", "--ray", "local", "--shard-images", "100", "--dry-run")

    assert done.returncode == 0, done.stderr + done.stdout
    assert "4 to do, of 4" in done.stdout
    assert f"{IMAGES:,} to do (estimated)" in done.stdout
    assert "measured on 256 images, 1 of which failed" in done.stdout
    assert (tables.vectors(), tables.jobs()) == ({}, {})
    assert tables.execute("SELECT count(*) FROM vectord.shard") == [(0,)]


@pytest.mark.filterwarnings("ignore")
def test_a_worker_and_a_node_that_die_cost_nothing(
    small: dict[str, str], tables: Tables, web: Web, cluster: Any, judge: Callable[[], None]
) -> None:
    with backfill(small | UNANNOUNCED, cluster.address) as process:
        with midway(tables, web):
            victims = workers("_Load")
            assert victims
            os.kill(victims[0], signal.SIGKILL)
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        status, out = end_of(process)

    assert status == 0, out
    judge()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_and_resumed(
    small: dict[str, str],
    tables: Tables,
    web: Web,
    cluster: Any,
    number: signal.Signals,
) -> None:
    with backfill(small | UNANNOUNCED, cluster.address) as process:
        with midway(tables, web):
            process.send_signal(number)
        assert end_of(process)[0] != 0
    assert 0 < len(tables.vectors()) < IMAGES - 1
    if number == signal.SIGKILL:
        # Nobody gave back what was leased: the leases have to run out.
        tables.execute("UPDATE vectord.job SET lease_until = now() WHERE lease_until IS NOT NULL")

    with backfill(small | UNANNOUNCED, cluster.address) as process:
        status, out = end_of(process)

    assert status == 0, out
    assert tables.execute("SELECT count(*) FROM vectord.shard WHERE finished_at IS NULL") == [(0,)]
    once = [(n,) for n in range(1, IMAGES + 1) if n != GONE]
    assert tables.execute("SELECT image_id FROM written ORDER BY image_id") == once
    assert [(n, state) for n, (state, _, _) in tables.jobs().items()] == [(GONE, "dead")]


@pytest.mark.filterwarnings("ignore")
def test_beside_a_daemon_each_vector_is_written_once(
    small: dict[str, str], tables: Tables, cluster: Any, judge: Callable[[], None]
) -> None:
    environment = small | UNANNOUNCED | {"VECTORD_QUEUE__HIGH_WATER": "100", "VECTORD_SWEEP__INTERVAL_SECONDS": "1"}
    with backfill(environment, cluster.address) as process, daemon_process(environment) as daemon:
        status, out = end_of(process)
        tables.wait(lambda: len(tables.vectors()) == IMAGES - 1, "the daemon had some of them")
        stop(daemon, signal.SIGTERM)

    assert status == 0, out
    judge()
