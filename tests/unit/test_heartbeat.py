"""The heartbeat: what it renews, and that it is never so slow that a living daemon is taken for a dead one."""

from collections.abc import Sequence
from threading import Event, Thread

import numpy as np
import pytest

from daemon.clock import SystemClock
from daemon.db import generation, reports
from daemon.errors import DatabaseUnavailableError
from daemon.events import Event as Happening
from daemon.events import Hindered, Worked
from daemon.pipeline.channel import Channel
from daemon.pipeline.heartbeat import Heartbeat, beat_seconds
from daemon.pipeline.inflight import Inflight
from daemon.pipeline.store import StoreStage
from daemon.policy import RetryPolicy
from daemon.records import (
    Claim,
    Embedded,
    Outcome,
    Result,
)
from daemon.service.pulse import Pulse
from tests.stages import (
    DEADLINE,
    FakeWriter,
    FakeWritten,
    Heard,
    Leases,
    make_claim,
    running,
)


@pytest.mark.parametrize(("lease", "beat"), [(1.0, 1 / 3), (3.0, 1.0), (60.0, 20.0), (3600.0, 20.0)])
def test_it_beats_three_times_a_lease_or_every_twenty_seconds(lease: float, beat: float) -> None:
    assert beat_seconds(lease) == pytest.approx(beat)


@pytest.mark.parametrize("alive", [reports.ALIVE_SECONDS, generation.ALIVE_SECONDS])
def test_a_daemon_that_lost_two_beats_of_the_longest_is_still_alive(alive: float) -> None:
    assert alive >= 3 * beat_seconds(24 * 3600)


def test_it_renews_what_is_in_flight_again_and_again() -> None:
    renewed: list[list[Claim]] = []
    twice = Event()

    class Leases:
        def renew(self, claims: Sequence[Claim]) -> int:
            renewed.append(list(claims))
            if len(renewed) == 1:
                raise DatabaseUnavailableError("away")
            twice.set()
            return len(claims)

    inflight, heard, claim = Inflight(4), Heard(), make_claim(1)
    inflight.add([claim])
    beat = Heartbeat(Leases(), inflight, lease_seconds=0.03, emit=heard)
    with running(beat.run, beat.stop):
        assert twice.wait(DEADLINE)
    assert renewed[0] == [claim]
    assert len(heard.of(Hindered)) == 1


def test_a_long_lease_is_not_renewed_all_the_time() -> None:
    heard = Heard()
    beat = Heartbeat(Leases(), Inflight(4), lease_seconds=60 * DEADLINE, emit=heard)
    with running(beat.run, beat.stop) as thread:
        heard.wait(lambda events: len(events) == 1)
        thread.join(0.05)
    told = [event for event in heard.events if isinstance(event, Worked)]
    assert len(told) == 1
    assert told[0].seconds < DEADLINE


def test_a_beat_that_reaches_the_database_again_ends_the_hindrance() -> None:
    """Or a daemon that PostgreSQL was away from would wait, and be not ready, until it is restarted."""
    pulse, told = Pulse(SystemClock()), Event()
    hindered: list[bool] = []

    class Away(Leases):
        def renew(self, claims: Sequence[Claim]) -> int:
            if not hindered:
                raise DatabaseUnavailableError("away")
            return super().renew(claims)

    def hear(happening: Happening) -> None:
        pulse(happening)
        hindered.append(bool(pulse.hindrances))
        if len(hindered) == 2:
            told.set()

    beat = Heartbeat(Away(), Inflight(4), lease_seconds=0.03, emit=hear)
    with running(beat.run, beat.stop):
        assert told.wait(DEADLINE)
    assert hindered[:2] == [True, False]


def test_a_beat_that_failed_is_made_up_for_long_before_the_next() -> None:
    """Two lost beats in a row are a lease's end, and a daemon that says for 20 s that PostgreSQL is away."""
    beats: list[bool] = []
    again = Event()

    class Away(Leases):
        def renew(self, claims: Sequence[Claim]) -> int:
            beats.append(len(beats) < 2)
            if beats[-1]:
                raise DatabaseUnavailableError("away")
            again.set()
            return super().renew(claims)

    heard = Heard()
    beat = Heartbeat(Away(), Inflight(4), lease_seconds=24 * 3600, emit=heard)
    with running(beat.run, beat.stop):
        assert again.wait(DEADLINE)
    first, second = (event.pause for event in heard.of(Hindered) if isinstance(event, Hindered))
    assert first < second < beat_seconds(24 * 3600)


def test_renewing_and_writing_take_turns() -> None:
    """Each passes over the rows that the other has locked, and an outcome passed over would have to wait."""
    inflight, writing, waiting, done = Inflight(5), Event(), Event(), Event()
    renewed: list[bool] = []
    lock = inflight.settling

    class Watched:
        def __enter__(self) -> None:
            if not lock.acquire(blocking=False):
                waiting.set()
                lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()

    inflight.settling = Watched()  # type: ignore[assignment]

    class SlowWriter(FakeWriter):
        def write(self, outcomes: Sequence[Outcome]) -> FakeWritten:
            writing.set()
            done.wait(DEADLINE)
            return super().write(outcomes)

    class SeenLeases(Leases):
        def renew(self, claims: Sequence[Claim]) -> int:
            renewed.append(done.is_set())
            return super().renew(claims)

    results: Channel[Result] = Channel()
    results.put(Embedded(claim=make_claim(1), vector=np.ones(2, np.float32)))
    results.close()
    store = StoreStage(
        SlowWriter(), inflight, results, RetryPolicy(), lambda: None, lambda *_: None, clock=SystemClock(), emit=Heard()
    )
    heartbeat = Heartbeat(SeenLeases(), inflight, lease_seconds=0.01, emit=Heard())
    threads = [Thread(target=store.run), Thread(target=heartbeat.run)]
    threads[0].start()
    assert writing.wait(DEADLINE)
    threads[1].start()
    assert waiting.wait(DEADLINE)
    assert renewed == []
    heartbeat.stop()
    done.set()
    threads[0].join(DEADLINE)
    threads[1].join(DEADLINE)
    assert renewed == [True]
