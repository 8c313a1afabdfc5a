"""health: a table of states, and what it is made from."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast
from uuid import uuid4

import pytest

from daemon.config import Settings
from daemon.errors import DatabaseUnavailableError
from daemon.events import Hindered, Settled, Worked
from daemon.health import STALLED_SECONDS, Facts, State, judge
from daemon.loader.pool import PoolStatus
from daemon.options import stalled_seconds
from daemon.records import Claim, Released
from daemon.service.presence import Presence
from daemon.service.pulse import Pulse
from daemon.service.vitals import Organs, Vitals
from tests.clock import HandClock

WELL = Facts(
    warm=True, running=True, superseded=False, idle_seconds=0, in_flight=0, hindrances={}, listener="listening"
)
LOADERS = PoolStatus(
    loaders=2,
    wanted=2,
    start_failures=0,
    broken=False,
    last_words="",
    waiting=0,
    loading=0,
    hosts_left_alone=0,
    hosts_failing=0,
    free=8,
    slots=8,
)
AWAY = {"store": "the server is away"}


@pytest.mark.parametrize(
    ("changes", "healthy", "ready", "status"),
    [
        ({}, True, True, "idle"),
        ({"in_flight": 3}, True, True, "working on 3 images"),
        ({"warm": False, "running": False}, True, False, "starting"),
        ({"running": False}, False, False, "a stage has ended"),
        # An end that was asked for is no fault, though stages end one by one.
        ({"stopping": True}, True, False, "stopping: 0 images"),
        ({"stopping": True, "running": False, "in_flight": 3}, True, False, "stopping: 3 images"),
        ({"in_flight": 3, "idle_seconds": STALLED_SECONDS + 1}, False, True, "stalled"),
        ({"in_flight": 3, "idle_seconds": STALLED_SECONDS - 1}, True, True, "working"),
        ({"hindrances": AWAY}, True, False, "waiting: store: the server is away"),
        # Who lets a fetch and a decode take so long is not to be killed over it.
        ({"in_flight": 3, "idle_seconds": 700.0, "stalled_seconds": 800.0}, True, True, "working"),
        ({"in_flight": 3, "idle_seconds": 900.0, "stalled_seconds": 800.0}, False, True, "stalled"),
        # Nothing moves because PostgreSQL is away: a restart would not bring it back.
        ({"hindrances": AWAY, "in_flight": 3, "idle_seconds": STALLED_SECONDS + 1}, True, False, "waiting"),
        ({"superseded": True}, True, False, "superseded"),
        # The hosts of some images are no fault of the daemon, and others may answer.
        ({"hosts_failing": 1}, True, True, "waiting: load: 1 host is left alone for a while"),
        ({"hosts_failing": 3, "in_flight": 2}, True, True, "working on 2 images; load: 3 hosts are left alone"),
        ({"hosts_failing": 3, "hindrances": AWAY}, True, False, "waiting: store: the server is away"),
    ],
)
def test_health(changes: dict[str, object], *, healthy: bool, ready: bool, status: str) -> None:
    health = judge(replace(WELL, **changes))  # type: ignore[arg-type] # a table of changes has no one type
    assert (health.healthy, health.ready) == (healthy, ready)
    assert health.status.startswith(status)


def test_the_parts_say_what_hinders_whom() -> None:
    assert judge(replace(WELL, hindrances=AWAY)).parts == {"listener": "listening", "store": "the server is away"}


def test_the_pulse_knows_how_long_nothing_moved_while_something_should() -> None:
    clock = HandClock()
    pulse = Pulse(clock)
    clock.now = 50.0
    assert pulse.idle_seconds(in_flight=0) == 0
    clock.now = 60.0
    assert pulse.idle_seconds(in_flight=2) == 10
    claim = Claim(image_id=1, revision=1, token=uuid4(), location="x")
    pulse(Settled(outcome=Released(claim=claim), seconds=None))
    assert pulse.idle_seconds(in_flight=2) == 0


def test_a_hindrance_lasts_until_that_stage_works_again_and_hides_credentials() -> None:
    pulse = Pulse(HandClock())
    pulse(Hindered(stage="store", error=DatabaseUnavailableError("postgresql://bob:pw@db is away"), pause=1))
    pulse(Worked(stage="claim", items=1, seconds=1))
    assert pulse.hindrances["store"].words == "postgresql://***@db is away"
    vitals = Vitals(pulse, stalled_seconds=STALLED_SECONDS)
    assert vitals.health().parts["store"] == "postgresql://***@db is away"
    assert vitals.health_for_anybody().parts["store"] == "PostgreSQL is away"
    pulse(Worked(stage="store", items=1, seconds=1))
    assert pulse.hindrances == {}


def vitals(loaders: PoolStatus) -> Vitals:
    """Those of a daemon in which all but the loaders is well."""
    made = Vitals(Pulse(HandClock()), stalled_seconds=STALLED_SECONDS)
    organs = Organs(
        stages=SimpleNamespace(alive=lambda: True),
        inflight=(),
        presence=cast("Presence", SimpleNamespace(superseded=False)),
        listener=lambda: "listening",
        loaders=lambda: loaders,
    )
    made.up(organs)
    return made


@pytest.mark.parametrize(
    ("last_words", "shown"),
    [
        ("Traceback\n  ...\nOSError: postgresql://bob:pw@db: no\n\n", "OSError: postgresql://***@db: no"),
        ("", "the daemon's log says why"),
    ],
)
def test_a_daemon_without_loaders_waits_for_them_and_is_not_ready(last_words: str, shown: str) -> None:
    broken = vitals(replace(LOADERS, loaders=0, free=0, broken=True, last_words=last_words))
    health, for_anybody = broken.health(), broken.health_for_anybody()
    assert (health.healthy, health.ready, health.state) == (True, False, State.WAITING)
    assert health.status == f"waiting: load: no loader can be started: {shown}"
    assert for_anybody.status == "waiting: load: no loader can be started: the daemon's log says why"


def test_a_daemon_with_loaders_takes_work_though_some_once_failed_to_start() -> None:
    health = vitals(replace(LOADERS, last_words="OSError: no")).health()
    assert (health.ready, health.status) == (True, "idle")


def test_a_stall_is_longer_than_what_fetch_and_decode_may_take() -> None:
    assert stalled_seconds(Settings()) == STALLED_SECONDS
    patient = Settings().changed({"fetch": {"total_timeout": 500.0}, "loader": {"timeout_seconds": 100.0}})
    assert stalled_seconds(patient) == 1200.0


def test_hindrances_of_several_stages_at_once_are_all_kept_and_all_ended() -> None:
    pulse = Pulse(HandClock())

    class SlowError(DatabaseUnavailableError):
        """Another stage's recovery comes while this fault is put into words."""

        def __str__(self) -> str:
            pulse(Worked(stage="store", items=1, seconds=1))
            return "away"

    pulse(Hindered(stage="store", error=DatabaseUnavailableError("away"), pause=1))
    pulse(Hindered(stage="claim", error=SlowError(), pause=1))
    assert set(pulse.hindrances) == {"claim"}
