"""Waiting for what other programs do to tables: PostgreSQL tells of each change, so nobody looks again and again."""

import select
import time
from collections.abc import Callable
from contextlib import closing

import psycopg2

CHANNEL = "vectord_test_change"
WATCHED = ("public.tb_hsx_img_value", "vectord.job")
TELL = f"""
CREATE OR REPLACE FUNCTION public.vectord_test_tell() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN NOTIFY {CHANNEL}; RETURN NULL; END $$
"""
WATCH = """
CREATE OR REPLACE TRIGGER vectord_test_tell AFTER INSERT OR UPDATE OR DELETE ON {}
FOR EACH STATEMENT EXECUTE FUNCTION public.vectord_test_tell()
"""


def watch(dsn: str) -> None:
    """Has the tables tell of their changes. The first time waits for all transactions that write to them."""
    with closing(psycopg2.connect(dsn)) as session, session, session.cursor() as cursor:
        # Two waits at once must not make the function under each other.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('vectord_test'))")
        cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgname = 'vectord_test_tell'")
        if cursor.fetchone() != (len(WATCHED),):
            cursor.execute(TELL)
            for table in WATCHED:
                cursor.execute(WATCH.format(table))


def wait_for_change(dsn: str, condition: Callable[[], object], seconds: float) -> bool:
    """Until the condition holds, looking after every change of a vector or a job. False when it did not in time."""
    deadline = time.monotonic() + seconds
    watch(dsn)
    with closing(psycopg2.connect(dsn)) as session:
        session.autocommit = True
        with session.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        while not condition():
            if not _notified(session, deadline):
                return bool(condition())
        return True


def _notified(session: psycopg2.extensions.connection, deadline: float) -> bool:
    """Waits for a notification; one of them stands for all that have come. False when the time is up."""
    while not session.notifies:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([session], [], [], left)[0]:
            return False
        session.poll()
    session.notifies.clear()
    return True
