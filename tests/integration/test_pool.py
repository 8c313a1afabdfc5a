"""Connections: one transaction at a time, replaced when they break, and their errors as ours."""

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg2
import pytest

from daemon.db.pool import Pool
from daemon.errors import DatabaseError, DatabaseUnavailableError, sqlstate
from tests.bouncer import bouncer
from tests.postgres import Server
from tests.proxy import Proxy


@pytest.fixture
def pool(empty_database: str) -> Iterator[Pool]:
    with closing(Pool(empty_database, size=2, application_name="test")) as made:
        yield made


def ask(pool: Pool, sql: str) -> object:
    with pool.transaction() as cursor:
        cursor.execute(sql)
        row = cursor.fetchone()
        assert row is not None
        return row[0]


def insert_and_fail(pool: Pool) -> None:
    with pool.transaction() as cursor:
        cursor.execute("INSERT INTO t VALUES (1)")
        raise ZeroDivisionError


def sessions(dsn: str, application_name: str) -> set[object]:
    """The server's processes for them."""
    # In a session of its own, since a transaction goes on to see what it saw first.
    with closing(psycopg2.connect(dsn)) as other, other.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s", (application_name,))
        return {row[0] for row in cursor.fetchall()}


def await_sessions(dsn: str, application_name: str, expected: set[object]) -> None:
    deadline = time.monotonic() + 60
    while (found := sessions(dsn, application_name)) != expected:
        assert time.monotonic() < deadline, f"there still are {found}"


def test_a_transaction_is_committed_or_rolled_back(pool: Pool) -> None:
    with pool.transaction() as cursor:
        cursor.execute("CREATE TABLE t (n int)")
    with pytest.raises(ZeroDivisionError):
        insert_and_fail(pool)
    with pytest.raises(DatabaseError, match="division by zero"):
        ask(pool, "INSERT INTO t VALUES (1); SELECT 1 / 0")
    with pool.transaction() as cursor:
        cursor.execute("INSERT INTO t VALUES (2)")
    assert ask(pool, "SELECT array_agg(n) FROM t") == [2]


def test_a_session_is_used_again(pool: Pool) -> None:
    assert ask(pool, "SELECT pg_backend_pid()") == ask(pool, "SELECT pg_backend_pid()")


def test_old_sessions_go_also_those_that_nobody_takes_any_more(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that stored has a temporary table, which holds back datfrozenxid for as long as the session lives."""
    now = 0.0
    monkeypatch.setattr("daemon.db.pool.monotonic", lambda: now)
    with closing(Pool(empty_database, size=2, application_name="old", oldest_seconds=3600)) as pool:
        with pool.transaction():
            under = ask(pool, "SELECT pg_backend_pid()")
        now = 3600.0
        over = ask(pool, "SELECT pg_backend_pid()")
        assert sessions(empty_database, "old") == {under, over}
        now = 3601.0
        assert ask(pool, "SELECT pg_backend_pid()") == over
        await_sessions(empty_database, "old", set())
        assert ask(pool, "SELECT pg_backend_pid()") not in {under, over}


def test_there_are_no_more_sessions_than_the_size(pool: Pool) -> None:
    inside, leave = threading.Semaphore(0), threading.Event()

    def hold() -> None:
        with pool.transaction():
            inside.release()
            leave.wait(60)

    threads = [threading.Thread(target=hold) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert inside.acquire(timeout=60)
    assert inside.acquire(timeout=60)
    assert not inside.acquire(timeout=0.1)
    leave.set()
    assert inside.acquire(timeout=60)
    for thread in threads:
        thread.join()


def end(pids: Iterable[object], dsn: str) -> None:
    """As an operator does, a restart, or idle_session_timeout; returns when they have ended."""
    with closing(psycopg2.connect(dsn)) as other, other, other.cursor() as cursor:
        for pid in pids:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))


def test_a_session_that_broke_is_replaced(pool: Pool) -> None:
    first = ask(pool, "SELECT pg_backend_pid()")
    with pytest.raises(DatabaseUnavailableError, match=r"57P01|closed the connection"):
        ask(pool, "SELECT pg_terminate_backend(pg_backend_pid())")
    assert ask(pool, "SELECT pg_backend_pid()") != first


def test_sessions_that_ended_while_they_idled_are_replaced_and_nobody_notices(pool: Pool, empty_database: str) -> None:
    with pool.transaction():
        under = ask(pool, "SELECT pg_backend_pid()")
    over = ask(pool, "SELECT pg_backend_pid()")
    end({under, over}, empty_database)
    assert ask(pool, "SELECT pg_backend_pid()") not in {under, over}


def test_a_session_bears_no_grudge(pool: Pool, empty_database: str) -> None:
    """What is set for a database holds for new sessions only: one that it hindered must not outlive the setting."""
    name = ask(pool, "SELECT quote_ident(current_database())")
    with closing(psycopg2.connect(empty_database)) as other, other.cursor() as cursor:
        other.autocommit = True
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        pool.close()
        with pytest.raises(DatabaseUnavailableError, match="25006"):
            ask(pool, "CREATE TABLE t (); SELECT 1")
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert ask(pool, "CREATE TABLE t (); SELECT 1") == 1


@pytest.mark.parametrize("fault", ["SELECT 1 / 0", "DO $$ BEGIN RAISE USING ERRCODE = '55P03'; END $$"])
def test_a_fault_of_a_row_or_a_lock_costs_no_session(pool: Pool, fault: str) -> None:
    first = ask(pool, "SELECT pg_backend_pid()")
    with pytest.raises((DatabaseError, DatabaseUnavailableError)):
        ask(pool, fault)
    assert ask(pool, "SELECT pg_backend_pid()") == first


def freeze(pool: Pool) -> None:
    with pool.transaction() as frozen:
        frozen.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        # Waits for the lock; there is nobody but the server to take it away.
        assert ask(pool, "SET LOCAL lock_timeout = '30s'; LOCK TABLE t; SELECT 2") == 2
        frozen.execute("SELECT 1")


def test_whoever_freezes_in_a_transaction_loses_it(empty_database: str) -> None:
    """A daemon that is stopped there, or whose machine went away, would keep what it has locked for ever."""
    with closing(Pool(empty_database, size=2, frozen_seconds=0.2)) as pool:
        ask(pool, "CREATE TABLE t (); SELECT 1")
        with pytest.raises(DatabaseUnavailableError):
            freeze(pool)


def test_what_it_sets_does_not_stay_on_a_session_that_others_share(empty_database: str) -> None:
    """Behind PgBouncer in transaction mode, anybody's next transaction comes to the same session of the server."""
    seen = "SELECT pg_backend_pid(), current_setting('idle_in_transaction_session_timeout')"
    with bouncer(empty_database) as way, closing(Pool(way, size=1)) as pool:
        with pool.transaction() as cursor:
            cursor.execute(seen)
            ours = cursor.fetchone()
        with closing(psycopg2.connect(way)) as other, other.cursor() as cursor:
            cursor.execute(seen)
            theirs = cursor.fetchone()
    assert ours is not None
    assert ours[1] == "1min"
    assert theirs == (ours[0], "0")


def test_whoever_freezes_behind_pgbouncer_loses_it_too(empty_database: str) -> None:
    with bouncer(empty_database) as way, closing(Pool(way, size=2, frozen_seconds=0.2)) as pool:
        ask(pool, "CREATE TABLE t (); SELECT 1")
        with pytest.raises(DatabaseUnavailableError):
            freeze(pool)


def test_a_connection_that_never_answers_is_cut_and_replaced(empty_database: str) -> None:
    """As through a pooler that hangs: it takes every byte, so TCP finds nothing wrong."""
    with Proxy(empty_database) as proxy, closing(Pool(proxy.dsn, size=1)) as pool, ThreadPoolExecutor(1) as threads:
        first = ask(pool, "SELECT pg_backend_pid()")
        assert pool.break_off(0.0) == 0
        proxy.hole()
        waiting = threads.submit(ask, pool, "SELECT 1")
        while pool.break_off(60.0) or not pool.break_off(0.0):
            assert not waiting.done()
        with pytest.raises(DatabaseUnavailableError):
            waiting.result(60)
        proxy.mend()
        assert ask(pool, "SELECT pg_backend_pid()") != first


def test_a_server_that_is_away_is_unavailable(tmp_path: object) -> None:
    with closing(Pool(f"host={tmp_path} dbname=x", size=1)) as pool, pytest.raises(DatabaseUnavailableError):
        ask(pool, "SELECT 1")


@pytest.mark.parametrize(
    ("sql", "passes"),
    [
        ("SELECT pg_terminate_backend(pg_backend_pid())", True),
        ("SET LOCAL statement_timeout = 10; SELECT pg_sleep(5)", True),
        ("SET TRANSACTION READ ONLY; CREATE TABLE t ()", True),
        ("SELECT 1 / 0", False),
        ("SELECT * FROM nowhere", False),
        ("SET ROLE pg_monitor; CREATE DATABASE x", False),
        ("SELECT 'x'::int", False),
    ],
)
def test_an_error_passes_by_itself_or_does_not(pool: Pool, sql: str, passes: bool) -> None:  # noqa: FBT001 - a parameter of the test
    kind = DatabaseUnavailableError if passes else DatabaseError
    with pytest.raises(kind) as error:
        ask(pool, sql)
    assert type(error.value) is kind


def test_what_postgresql_calls_an_error_is_known(pool: Pool) -> None:
    with pytest.raises(DatabaseError) as error:
        ask(pool, "SELECT 1 / 0")
    assert sqlstate(error.value) == "22012"
    assert sqlstate(DatabaseError("our own")) == ""


def test_it_reads_what_is_committed_whatever_the_server_thinks_best(server: Server, empty_database: str) -> None:
    with closing(psycopg2.connect(empty_database)) as other, other, other.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        ((name,),) = cursor.fetchall()
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    with closing(Pool(empty_database, size=1)) as pool:
        assert ask(pool, "SHOW transaction_isolation") == "read committed"


def test_autocommit_is_outside_any_transaction(pool: Pool) -> None:
    with pool.autocommit() as cursor:
        cursor.execute("CREATE TABLE t (n int)")
        cursor.execute("VACUUM t")
    assert ask(pool, "SELECT count(*) FROM t") == 0


def test_a_closed_pool_leaves_no_session_behind(empty_database: str) -> None:
    pool = Pool(empty_database, size=1, application_name="leaver")
    assert ask(pool, "SELECT pg_backend_pid()") in sessions(empty_database, "leaver")
    pool.close()
    await_sessions(empty_database, "leaver", set())
