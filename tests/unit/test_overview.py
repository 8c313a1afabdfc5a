"""overview: what the console shows of the daemon, before it is up, while it is, and without its database."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from daemon.api.line import Line
from daemon.db.figures import Figure
from daemon.db.findings import Backlog, WorkerSeen
from daemon.db.glance import Glance
from daemon.errors import DatabaseUnavailableError
from daemon.health import Facts, Health, judge
from daemon.telemetry.history import History
from daemon.telemetry.organs import Organs
from daemon.telemetry.overview import STALE_SECONDS, Overview, Site
from tests.clock import HandClock

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
NONE = Figure(number=0)
GLANCE = Glance(
    taken_at=NOON,
    images=Figure(number=7),
    backlog=Backlog(pending=NONE, leased=0, due=0, waiting=0, oldest=None),
    dead={"gone": Figure(number=2)},
    workers=(
        WorkerSeen(
            worker="a:1", host="a", pid=1, signature="s", started_at=NOON, seen_at=NOON, ended_at=None, alive=True
        ),
    ),
    reprocess=None,
    writes=100,
)


class Inflight(list[int]):
    """Claims in work."""

    limit = 9


class Subject:
    """An overview whose surroundings the test decides."""

    def __init__(self) -> None:
        self.clock = HandClock(1000.0)
        self.glance: Glance | None = GLANCE
        self.looks = 0
        self.warm = False
        line = Line(places=2, waiting=3)
        self.overview = Overview(History(self.clock), self.health, line, self.clock)

    def health(self) -> Health:
        facts = Facts(
            warm=self.warm, running=True, superseded=False, idle_seconds=0, in_flight=0, hindrances={}, listener="off"
        )
        return judge(facts)

    def look(self) -> Glance:
        self.looks += 1
        if self.glance is None:
            raise DatabaseUnavailableError("away")
        return self.glance

    def up(self) -> None:
        self.warm = True
        busy, pool = SimpleNamespace(in_progress=1), {"waiting": 2, "loading": 3, "loaders": 1, "wanted": 1}
        stages: Any = SimpleNamespace(
            inflight=Inflight([1, 2]),
            loaded=[1],
            results=[],
            embed=busy,
            store=busy,
        )
        engine = dict.fromkeys(("backend", "version", "device", "device_name", "precision", "fallback"), "x")
        numbers = {"dimension": 1280, "batch_limit": 32, "out_of_memory": 0}
        organs = SimpleNamespace(
            stages=stages,
            loaders=lambda: SimpleNamespace(**pool, hosts_left_alone=0),
            engine=lambda: SimpleNamespace(**engine, **numbers),
        )
        site = Site(organs=cast("Organs", organs), worker="a:1", signature=lambda: "s", trained=True, glance=self.look)
        self.overview.up(site)

    def shown(self) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(json.dumps(self.overview.snapshot(), allow_nan=False))
        return shown


@pytest.fixture
def subject() -> Subject:
    return Subject()


def test_before_the_daemon_is_up_it_says_so(subject: Subject) -> None:
    subject.overview.look()
    shown = subject.shown()
    assert (shown["health"]["state"], shown["daemon"], shown["database"], shown["rate"]) == ("starting", None, None, 0)
    assert subject.looks == 0


def test_a_daemon_that_is_up_shows_its_parts(subject: Subject) -> None:
    subject.up()
    subject.overview.look()
    shown = subject.shown()
    assert shown["daemon"]["stages"][0] == {"stage": "load", "waiting": 2, "working": 3}
    assert (shown["daemon"]["in_flight"], shown["daemon"]["limit"]) == (2, 9)
    assert shown["database"]["images"] == {"number": 7, "certainty": "exact"}
    (worker,) = shown["database"]["daemons"]
    assert (worker["seen_at"], worker["ended_at"]) == (NOON.timestamp(), None)
    assert shown["database"]["writes_a_second"] is None
    subject.glance = replace(GLANCE, taken_at=NOON + timedelta(seconds=2), writes=150)
    subject.overview.look()
    assert subject.shown()["database"]["writes_a_second"] == 25


def test_what_is_old_or_cannot_be_seen_is_not_shown(subject: Subject) -> None:
    subject.up()
    subject.overview.look()
    subject.clock.now += STALE_SECONDS + 1
    assert subject.shown()["database"] is None
    subject.overview.look()
    assert subject.shown()["database"] is not None
    subject.glance = None
    subject.overview.look()
    assert subject.shown()["database"] is None


def test_at_the_end_the_database_is_left_alone(subject: Subject) -> None:
    subject.up()
    subject.overview.rest()
    subject.overview.look()
    assert subject.looks == 0
