"""Places in the daemon's transactions where it is made to wait: triggers that want a lock that the test holds."""

from types import TracebackType
from typing import Self

import psycopg2

from tests.postgres import wait_until_blocked
from tests.whole import Tables

KEY = 8_150_722
WAIT = f"""
CREATE OR REPLACE FUNCTION public.faults_wait() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared({KEY}); RETURN NEW; END $$;
"""
CLAIM = """CREATE TRIGGER faults_wait BEFORE UPDATE ON vectord.job FOR EACH ROW
WHEN (NEW.lease_token IS NOT NULL AND OLD.lease_token IS NULL) EXECUTE FUNCTION public.faults_wait()"""
STORE = """CREATE TRIGGER faults_wait BEFORE INSERT ON public.tb_hsx_img_value FOR EACH ROW
EXECUTE FUNCTION public.faults_wait()"""
COMMIT = """CREATE CONSTRAINT TRIGGER faults_wait AFTER INSERT ON public.tb_hsx_img_value DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION public.faults_wait()"""
SWEEP = (
    """CREATE TRIGGER faults_wait BEFORE UPDATE ON vectord.sweep FOR EACH ROW EXECUTE FUNCTION public.faults_wait()"""
)


class Barrier:
    """While it is up, whoever comes to this place waits there. `where` is one of the triggers above.

    To be made before any daemon starts, since it locks a table.
    """

    def __init__(self, dsn: str, where: str) -> None:
        self._dsn = dsn
        self._tables = Tables(dsn)
        self._tables.execute(WAIT)
        self._tables.execute(where)

    def __enter__(self) -> Self:
        self._session = psycopg2.connect(self._dsn)
        with self._session.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (KEY,))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def wait_for_someone(self) -> None:
        """Until a session waits here."""
        wait_until_blocked(self._tables, by=self._session, seconds=60.0)

    def break_off(self) -> int:
        """Ends the sessions that wait here, as a crash of the server would; gives how many."""
        sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
        return len(self._tables.execute(sql, (self._session.info.backend_pid,)))
