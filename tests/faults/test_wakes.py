"""Images that nobody announces, or nobody hears of: the next look, or the sweep, finds them."""

from contextlib import closing

import psycopg2
import pytest

from tests.faults.scene import Scene
from tests.faults.verdict import unsettled
from tests.proxy import Proxy

NEVER = "3600"
SOME = 30


def test_lost_notifications(scene: Scene) -> None:
    """All of them, as behind a pooler that says nothing: the daemon polls."""
    with Proxy(scene.dsn) as proxy:
        daemon = scene.start(VECTORD_DATABASE__LISTEN_DSN=proxy.dsn, VECTORD_SWEEP__INTERVAL_SECONDS=NEVER)
        daemon.wait_for("listener.changed", hearing="listening")
        proxy.deafen()
        with scene.fault(5, "notifications lost"):
            scene.insert(range(SOME))


def test_no_notifications_at_all(scene: Scene) -> None:
    """Told and heard of by nobody, nor is there a poll in time: the sweep's own daemon is woken by its find."""
    scene.start(VECTORD_QUEUE__NOTIFY="false", VECTORD_QUEUE__POLL_SECONDS=NEVER)
    with scene.fault(5, "the trigger dropped, and neither NOTIFY nor polling"):
        drop_triggers(scene)
        scene.insert(range(SOME))


def test_a_dropped_trigger(scene: Scene) -> None:
    scene.start()
    with scene.fault(5, "the trigger dropped"):
        drop_triggers(scene)
        scene.insert(range(SOME))
        # Below the highest id that the sweep has seen, and above.
        scene.insert(range(10**6, 10**6 + SOME))
        scene.wait(lambda: not unsettled(scene.tables), "the first ones")
        scene.insert(range(500_000, 500_000 + SOME))


def drop_triggers(scene: Scene) -> None:
    for (name,) in scene.tables.execute(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'ecai.tb_image'::regclass AND tgname LIKE 'vectord%'"
    ):
        scene.tables.execute(f'DROP TRIGGER "{name}" ON ecai.tb_image')


def test_rows_between_listen_and_the_first_look(scene: Scene) -> None:
    """While nobody could hear: neither poll nor sweep comes in time, so it is the look after LISTEN that finds them."""
    with Proxy(scene.dsn) as proxy:
        daemon = scene.start(
            VECTORD_DATABASE__LISTEN_DSN=proxy.dsn,
            VECTORD_QUEUE__POLL_SECONDS=NEVER,
            VECTORD_SWEEP__INTERVAL_SECONDS=NEVER,
        )
        daemon.wait_for("listener.changed", hearing="listening")
        scene.insert([1])
        scene.wait(lambda: not unsettled(scene.tables), "the first one, of which it heard")
        with scene.fault(5, "rows written while the listener was away"):
            proxy.hole()
            scene.end_sessions("vectord listener")
            scene.insert(range(2, SOME))
            proxy.cut()
            proxy.mend()


def test_late_commits(scene: Scene) -> None:
    scene.start()
    with scene.fault(5, "low ids committed late, with and without the trigger"):
        with closing(psycopg2.connect(scene.dsn)) as late, late, late.cursor() as cursor:
            for image in range(0, SOME, 2):
                location = scene.gallery.location(image)
                cursor.execute("INSERT INTO ecai.tb_image (id, url) VALUES (%s, %s)", (image, location))
            scene.insert(range(1, SOME, 2))
            scene.insert([10**12])
            scene.wait_for_vectors(SOME // 2 + 1)
        drop_triggers(scene)
        scene.insert(range(100, 100 + SOME))


MILLION = """
INSERT INTO ecai.tb_image (id, url)
SELECT n, CASE WHEN n %% 1000 = 0 THEN %s || '/' || (n / 1000 %% 12) || '.jpg?' || n ELSE %s || '/gone?' || n END
FROM generate_series(1, %s) n
"""


@pytest.mark.slow
@pytest.mark.timeout(3700)
def test_a_million_rows_in_one_transaction(scene: Scene) -> None:
    """A thousand pictures among as many locations that nothing can be fetched from (a scheme that is not allowed)."""
    scene.start()
    scene.start()
    scene.gallery.dead["/gone"] = "unsupported_scheme"
    with scene.fault(5, "a million rows in one transaction", within=3600.0) as fault:
        scene.tables.execute(MILLION, (scene.gallery.base, "nowhere://x", 10**6))
        fault.note = "a thousand pictures among them, the rest dead at once"
