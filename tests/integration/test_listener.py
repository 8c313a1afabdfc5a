from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from threading import Condition, Event
from time import monotonic

import pytest

from daemon.wake.listener import Hearing, Listener, ListenerState, Timing
from tests.postgres import Database
from tests.proxy import Pooler, Proxy

PATIENCE = 60.0
STEADY = Timing(heartbeat=0.2, answer=PATIENCE, poll_only=0.2)
"""A machine that stands still for a moment is not taken for a connection that is gone."""
QUICK = Timing(heartbeat=0.2, answer=1.0, poll_only=0.2)
"""Where it is waited for that no answer comes."""
STOP_SECONDS = 30.0


@dataclass
class Heard:
    """What a listener called."""

    wakes: int = 0
    sweeps: int = 0
    states: list[ListenerState] = field(default_factory=list)
    changed: Condition = field(default_factory=Condition)

    def wake(self) -> None:
        with self.changed:
            self.wakes += 1
            self.changed.notify_all()

    def sweep(self) -> None:
        with self.changed:
            self.sweeps += 1
            self.changed.notify_all()

    def become(self, state: ListenerState) -> None:
        with self.changed:
            self.states.append(state)
            self.changed.notify_all()

    @property
    def hearings(self) -> list[Hearing]:
        return [state.hearing for state in self.states]

    def wait(self, until: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(until, PATIENCE)


@contextmanager
def listening(dsn: str, timing: Timing = STEADY) -> Iterator[tuple[Listener, Heard]]:
    heard = Heard()
    listener = Listener(dsn, "vectord", heard.wake, sweep=heard.sweep, changed=heard.become, timing=timing)
    listener.start()
    try:
        yield listener, heard
    finally:
        assert listener.stop(STOP_SECONDS)


def is_listening(heard: Heard) -> Callable[[], bool]:
    return lambda: heard.hearings[-1:] == [Hearing.LISTENING]


def notify(database: Database, payload: str = "") -> None:
    database.execute("SELECT pg_notify('vectord', %s)", (payload,))


def backends(database: Database) -> list[int]:
    return [
        row[0]
        for row in database.execute(
            "SELECT pid FROM pg_stat_activity "
            "WHERE application_name = 'vectord listener' AND datname = current_database() ORDER BY backend_start"
        )
    ]


def test_it_looks_once_when_it_listens_and_again_when_called(database: Database) -> None:
    with listening(database.dsn) as (_, heard):
        heard.wait(is_listening(heard))
        assert (heard.wakes, heard.sweeps) == (1, 0)
        notify(database)
        heard.wait(lambda: heard.wakes == 2)
        notify(database, "sweep")
        heard.wait(lambda: heard.sweeps == 1)
        assert heard.wakes == 3


def test_an_insert_wakes_it(database: Database) -> None:
    with listening(database.dsn) as (_, heard):
        heard.wait(is_listening(heard))
        database.insert([1, 2, 3])
        heard.wait(lambda: heard.wakes == 2)


def test_another_instances_channel_does_not(database: Database) -> None:
    with listening(database.dsn) as (_, heard):
        heard.wait(is_listening(heard))
        database.execute("SELECT pg_notify('other', 'sweep')")
        # Notifications arrive in the order of their commits, so by now the other one's would have been heard.
        notify(database)
        heard.wait(lambda: heard.wakes == 2)
        assert heard.sweeps == 0


def test_a_storm_comes_to_a_few_wakes_and_leaves_nothing_behind(database: Database) -> None:
    held = Event()

    def slow_wake() -> None:
        heard.wake()
        held.wait(PATIENCE)

    heard = Heard()
    listener = Listener(database.dsn, "vectord", slow_wake, changed=heard.become, timing=STEADY)
    listener.start()
    try:
        heard.wait(lambda: heard.wakes == 1)
        with closing(database.connect()) as other, other.cursor() as cursor:
            other.autocommit = True
            for number in range(2000):
                cursor.execute("SELECT pg_notify('vectord', %s)", (str(number),))
        held.set()
        heard.wait(is_listening(heard))
        before = heard.wakes
        notify(database)
        heard.wait(lambda: heard.wakes > before)
        assert heard.wakes < 200
    finally:
        held.set()
        assert listener.stop(STOP_SECONDS)


def test_its_heart_beats(database: Database) -> None:
    with listening(database.dsn) as (listener, heard):
        heard.wait(is_listening(heard))
        beats: set[datetime | None] = set()
        deadline = monotonic() + PATIENCE
        while len(beats) < 4 and monotonic() < deadline:
            beats.add(listener.state.heartbeat_at)
            notify(database)
        assert len(beats) >= 4
        assert heard.hearings == [Hearing.LISTENING]


def test_a_killed_connection_is_made_again_and_work_is_looked_for(database: Database) -> None:
    with listening(database.dsn) as (listener, heard):
        heard.wait(is_listening(heard))
        since = listener.state.since
        database.execute("SELECT pg_terminate_backend(%s)", (backends(database)[0],))
        heard.wait(lambda: heard.hearings == [Hearing.LISTENING, Hearing.RECONNECTING, Hearing.LISTENING])
        assert heard.states[1].error
        assert heard.wakes >= 2
        assert listener.state.since > since
        before = heard.wakes
        notify(database)
        heard.wait(lambda: heard.wakes > before)


def test_a_connection_that_went_silent_is_noticed_and_replaced(database: Database) -> None:
    with Proxy(database.dsn) as proxy, listening(proxy.dsn, QUICK) as (_, heard):
        heard.wait(is_listening(heard))
        proxy.hole()
        heard.wait(lambda: heard.hearings[-1] is Hearing.RECONNECTING)
        assert "within" in heard.states[-1].error
        proxy.mend()
        heard.wait(is_listening(heard))
        before = heard.wakes
        notify(database)
        heard.wait(lambda: heard.wakes > before)


def test_it_waits_for_a_server_that_is_not_there_yet(database: Database) -> None:
    with Proxy(database.dsn) as first:
        dsn, port = first.dsn, first.port
    with listening(dsn) as (listener, heard):
        heard.wait(lambda: heard.hearings == [Hearing.RECONNECTING])
        assert listener.state.error
        with Proxy(database.dsn, port):
            heard.wait(is_listening(heard))
            assert heard.wakes == 1


def test_not_even_a_defect_ends_it(database: Database) -> None:
    heard = Heard()

    def broken() -> None:
        heard.wake()
        if heard.wakes == 1:
            raise ValueError("a defect of whoever is woken")

    listener = Listener(database.dsn, "vectord", broken, changed=heard.become, timing=STEADY)
    listener.start()
    try:
        heard.wait(lambda: heard.hearings == [Hearing.RECONNECTING, Hearing.LISTENING])
        assert heard.states[0].error == "a defect of whoever is woken"
    finally:
        assert listener.stop(STOP_SECONDS)


def test_a_pooler_that_swallows_notifications_is_found_out_and_told_once(database: Database) -> None:
    with Proxy(database.dsn) as proxy:
        proxy.deafen()
        with listening(proxy.dsn, QUICK) as (listener, heard):
            heard.wait(lambda: heard.hearings == [Hearing.POLL_ONLY])
            heard.wait(lambda: heard.wakes >= 3)
            assert heard.hearings == [Hearing.POLL_ONLY]
            assert listener.state.hearing is Hearing.POLL_ONLY
            proxy.mend()
            heard.wait(lambda: heard.hearings == [Hearing.POLL_ONLY, Hearing.LISTENING])


def test_a_pooler_in_transaction_mode_is_found_out(database: Database) -> None:
    with Pooler(database.dsn) as pooler, listening(pooler.dsn, QUICK) as (_, heard):
        heard.wait(lambda: bool(heard.hearings))
        assert heard.hearings == [Hearing.POLL_ONLY]
        assert heard.wakes >= 1


def test_a_listener_that_turns_deaf_is_found_out_too(database: Database) -> None:
    with Proxy(database.dsn) as proxy, listening(proxy.dsn, QUICK) as (_, heard):
        heard.wait(is_listening(heard))
        proxy.deafen()
        heard.wait(lambda: heard.hearings[-1] is Hearing.POLL_ONLY)
        assert heard.hearings[-3:] == [Hearing.LISTENING, Hearing.RECONNECTING, Hearing.POLL_ONLY]


@pytest.mark.parametrize("fault", ["hole", "deafen", "cut", "mend"])
def test_it_stops_at_once_whatever_it_waits_for(database: Database, fault: str) -> None:
    slow = Timing(heartbeat=0.1, answer=600.0, poll_only=600.0)
    with Proxy(database.dsn) as proxy:
        with listening(proxy.dsn, slow) as (_, heard):
            heard.wait(is_listening(heard))
            getattr(proxy, fault)()
        proxy.mend()


def test_it_leaves_no_connection_behind(database: Database) -> None:
    with listening(database.dsn) as (_, heard):
        heard.wait(is_listening(heard))
        assert len(backends(database)) >= 1
    deadline = monotonic() + PATIENCE
    while backends(database) and monotonic() < deadline:
        pass
    assert backends(database) == []
