"""health: a table of states, and what it is made from."""

from dataclasses import replace
from uuid import uuid4

import pytest

from daemon.errors import DatabaseUnavailableError
from daemon.events import Hindered, Settled, Worked
from daemon.health import STALLED_SECONDS, Facts, judge
from daemon.records import Claim, Released
from daemon.service.pulse import Pulse
from daemon.service.vitals import Vitals
from tests.clock import HandClock

WELL = Facts(
    warm=True, running=True, superseded=False, idle_seconds=0, in_flight=0, hindrances={}, listener="listening"
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
    assert Vitals(pulse).health().parts["store"] == "postgresql://***@db is away"
    assert Vitals(pulse).health_for_anybody().parts["store"] == "PostgreSQL is away"
    pulse(Worked(stage="store", items=1, seconds=1))
    assert pulse.hindrances == {}


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
