"""PostgreSQL that goes away, comes back, refuses, runs out of something: the daemon waits, says so, and goes on."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psycopg2
import pytest

from tests.faults.scene import END_SESSIONS, Scene
from tests.faults.seams import frozen_loaders
from tests.faults.server import OwnServer

IMAGES = 300
SOME = 20
"""So many are done when the fault begins: work is under way at every stage."""
INJECT = """
CREATE FUNCTION public.faults_raise() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER faults_raise BEFORE INSERT OR UPDATE ON {} EXECUTE FUNCTION public.faults_raise()
"""


def under_load(scene: Scene) -> None:
    scene.gallery.pause = 0.05
    scene.insert(range(IMAGES))
    scene.wait_for_vectors(SOME)


def stopped(server: OwnServer) -> None:
    server.stop("fast")


def crashed(server: OwnServer) -> None:
    server.stop("immediate")


def killed(server: OwnServer) -> None:
    server.kill()


@pytest.mark.parametrize("end", [*(pytest.param(end, marks=pytest.mark.slow) for end in (stopped, crashed)), killed])
def test_restarted(own_scene: Scene, own_server: OwnServer, end: Callable[[OwnServer], None]) -> None:
    daemons = [own_scene.start(), own_scene.start()]
    with own_scene.fault(2, f"PostgreSQL {end.__name__} and started again, under load") as fault:
        under_load(own_scene)
        end(own_server)
        for daemon in daemons:
            daemon.wait_for("stage.hindered")
        assert all(daemon.health()["healthy"] for daemon in daemons)
        own_server.start()
        fault.note = "two daemons"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_away_for_a_minute(own_scene: Scene, own_server: OwnServer) -> None:
    daemon = own_scene.start()
    with own_scene.fault(2, "PostgreSQL stopped for a minute, under load"):
        under_load(own_scene)
        own_server.stop("fast")
        time.sleep(60.0)
        assert not daemon.health("/ready")["ready"]
        own_server.start()


def test_started_after_the_daemon(own_scene: Scene, own_server: OwnServer) -> None:
    own_scene.insert(range(SOME))
    own_server.stop()
    daemon = own_scene.launch()
    with own_scene.fault(2, "PostgreSQL started after the daemon"):
        assert daemon.wait_for("database.unavailable")["key"] == "database.dsn"
        own_server.start()


def test_read_only(scene: Scene) -> None:
    """As after a failover to a standby, and back: the daemon's sessions outlive both changes."""
    daemon = scene.start()
    with scene.fault(2, "the database read-only for a while"):
        under_load(scene)
        scene.tables.execute(f"ALTER DATABASE {scene.database} SET default_transaction_read_only = on")
        scene.end_sessions()
        daemon.wait_for("stage.hindered", stage="store", error="25006")
        scene.operator.execute(f"ALTER DATABASE {scene.database} RESET default_transaction_read_only")


def take_all(dsn: str, stack: ExitStack) -> None:
    while True:
        stack.enter_context(closing(psycopg2.connect(dsn)))


def test_out_of_connections(own_scene: Scene, own_server: OwnServer) -> None:
    daemon = own_scene.start()
    with own_scene.fault(2, "no connection to be had"), ExitStack() as stack:
        under_load(own_scene)
        ours = stack.enter_context(closing(psycopg2.connect(own_server.dsn)))
        ours.autocommit = True  # One transaction sees the same sessions for ever.
        ender = stack.enter_context(ours.cursor())
        # The daemon is as quick as this test in taking what becomes free, and then needs no more for a while.
        while not daemon.heard("stage.hindered", "too many clients"):
            ender.execute(END_SESSIONS, (own_scene.database, "vectord%"))
            with pytest.raises(psycopg2.OperationalError, match="too many clients"):
                take_all(own_server.dsn, stack)


@pytest.mark.parametrize("table", ["public.tb_hsx_img_value", pytest.param("vectord.job", marks=pytest.mark.slow)])
def test_a_full_disk(scene: Scene, table: str) -> None:
    daemon = scene.start()
    with scene.fault(2, f"the disk full for {table}"):
        under_load(scene)
        scene.tables.execute(INJECT.format(table))
        daemon.wait_for("stage.hindered", error="53100")
        scene.tables.execute("DROP FUNCTION public.faults_raise() CASCADE")


@pytest.mark.slow
def test_statement_timeouts(scene: Scene) -> None:
    daemon = scene.start()
    with scene.fault(2, "statements cancelled after 1 ms for a while"):
        under_load(scene)
        scene.tables.execute(f"ALTER DATABASE {scene.database} SET statement_timeout = '1ms'")
        scene.end_sessions()
        daemon.wait_for("stage.hindered", stage="store", error="57014")
        scene.operator.execute(f"ALTER DATABASE {scene.database} RESET statement_timeout")


BULK = """
UPDATE ecai.tb_image SET url = %s || (id %% 12) || '.jpg?' || id || '-%s'
WHERE id IN (SELECT id FROM ecai.tb_image ORDER BY random() LIMIT 100)
"""


def test_a_bulk_update_in_no_order(scene: Scene) -> None:
    """Its rows are locked in whatever order they come, and in a deadlock it is never the application that loses."""
    scene.start()
    scene.start()
    with scene.fault(2, "bulk updates of random rows, all the while"):
        scene.insert(range(IMAGES))
        for turn in range(30):
            scene.tables.execute(BULK, (f"{scene.gallery.base}/", turn))


def test_jobs_locked_in_mid_store(scene: Scene) -> None:
    """What only a lock kept from being written is written when the lock ends, and not left to its lease."""
    daemon = scene.start(VECTORD_QUEUE__LEASE_SECONDS="3600")
    with scene.fault(2, "the jobs locked by a user while their outcomes are stored") as fault:
        with closing(psycopg2.connect(scene.dsn)) as user, user.cursor() as cursor:
            with frozen_loaders(daemon):
                scene.insert(range(SOME))
                scene.wait(lambda: scene.number("FROM vectord.job WHERE lease_token NOTNULL") == SOME, "all claimed")
                cursor.execute("SELECT FROM vectord.job FOR UPDATE")
            daemon.wait_for("store.locked")
            assert scene.number("FROM tb_hsx_img_value") == 0
            user.rollback()
        fault.note = "leases of an hour"
    assert scene.gallery.twice() == 0


@pytest.fixture
def small_disk(own_server: OwnServer) -> Iterator[Path]:
    """A disk of a few MB with the tablespace `small` on it. Skips where nothing may be mounted."""
    folder = Path(tempfile.mkdtemp(prefix="vectord-disk-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", folder], check=False)
    if mounted.returncode != 0:
        folder.rmdir()
        pytest.skip("mounting a small disk takes root, and a kernel that lets it")
    own_server.ensure()
    shutil.chown(folder, own_server.user)
    own_server.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
    try:
        yield folder
    finally:
        own_server.execute("DROP TABLESPACE small")
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_tablespace(small_disk: Path, own_scene: Scene) -> None:
    own_scene.tables.execute("ALTER TABLE tb_hsx_img_value SET TABLESPACE small")
    daemon = own_scene.start()
    with own_scene.fault(2, "the tablespace of the vectors really full"):
        under_load(own_scene)
        fill(small_disk / "filler")
        daemon.wait_for("stage.hindered", stage="store", error="53100")
        (small_disk / "filler").unlink()


def fill(file: Path) -> None:
    """Until nothing more fits."""
    with suppress(OSError), file.open("wb", buffering=0) as end:
        while end.write(bytes(8192)):
            pass
