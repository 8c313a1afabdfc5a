from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, Event, Thread

from daemon.db.walk import Swept
from daemon.errors import DatabaseUnavailableError
from daemon.events import Event as Told
from daemon.events import Hindered, Worked
from daemon.wake.sweep import Sweeper

PATIENCE = 60.0
AGES = 3600.0


@dataclass
class Ticks:
    """A tick that does what it is told, time after time, and then what it did last."""

    script: list[Callable[[], Swept]]
    done: int = 0
    at_once: int = 0
    most_at_once: int = 0
    told: list[Told] = field(default_factory=list)
    defects: list[BaseException] = field(default_factory=list)
    changed: Condition = field(default_factory=Condition)

    def __call__(self) -> Swept:
        with self.changed:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return self.script[min(self.done, len(self.script) - 1)]()
        finally:
            with self.changed:
                self.at_once -= 1
                self.done += 1
                self.changed.notify_all()

    def tell(self, event: Told) -> None:
        with self.changed:
            self.told.append(event)
            self.changed.notify_all()

    def fail(self, error: BaseException) -> None:
        with self.changed:
            self.defects.append(error)
            self.changed.notify_all()

    def wait(self, until: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(until, PATIENCE)


@contextmanager
def sweeping(ticks: Ticks, interval: float) -> Iterator[Sweeper]:
    sweeper = Sweeper(ticks, interval_seconds=interval, emit=ticks.tell, on_failure=ticks.fail)
    sweeper.start()
    try:
        yield sweeper
    finally:
        sweeper.stop()


def away() -> Swept:
    raise DatabaseUnavailableError("away")


def nothing() -> Swept:
    return Swept(cycle_ended=True)


def some() -> Swept:
    return Swept(queued=10, cycle_found=10)


def test_it_ticks_at_once_and_then_every_interval() -> None:
    ticks = Ticks([nothing])
    with sweeping(ticks, 0.01):
        ticks.wait(lambda: ticks.done >= 5)


def test_it_goes_on_at_once_while_there_is_more() -> None:
    ticks = Ticks([some] * 20 + [nothing])
    with sweeping(ticks, AGES):
        ticks.wait(lambda: len(ticks.told) == 21)
    assert [event.items for event in ticks.told if isinstance(event, Worked)] == [10] * 20 + [0]


def test_after_a_cycle_it_waits_until_someone_calls() -> None:
    ticks = Ticks([nothing])
    with sweeping(ticks, AGES) as sweeper:
        ticks.wait(lambda: len(ticks.told) == 1)
        sweeper.soon()
        ticks.wait(lambda: len(ticks.told) == 2)
    assert ticks.done == 2


def test_no_tick_follows_the_end_and_the_end_waits_for_none() -> None:
    begun, answered = Event(), Event()

    def slow() -> Swept:
        begun.set()
        answered.wait(PATIENCE)
        return some()

    ticks = Ticks([slow])
    with sweeping(ticks, 0.01) as sweeper:
        assert begun.wait(PATIENCE)
        sweeper.end()
        answered.set()
        ticks.wait(lambda: len(ticks.told) == 1)
        sweeper.soon()
    assert ticks.done == 1


def test_a_fault_is_told_and_tried_again() -> None:
    ticks = Ticks([away, away, nothing])
    with sweeping(ticks, AGES):
        ticks.wait(lambda: len(ticks.told) == 3)
    first, second, third = ticks.told
    assert isinstance(first, Hindered)
    assert isinstance(second, Hindered)
    assert isinstance(third, Worked)
    assert first.stage == "sweep"
    assert first.pause < second.pause


def test_a_defect_is_handed_on_and_ends_the_sweep() -> None:
    def broken() -> Swept:
        raise ValueError("a defect")

    ticks = Ticks([broken])
    with sweeping(ticks, 0.01):
        ticks.wait(lambda: bool(ticks.defects))
    assert isinstance(ticks.defects[0], ValueError)
    assert ticks.done == 1


def test_no_two_ticks_run_at_a_time_whoever_calls() -> None:
    ticks = Ticks([some])
    with sweeping(ticks, 0.001) as sweeper:

        def call() -> None:
            for _ in range(100):
                sweeper.soon()

        callers = [Thread(target=call) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        ticks.wait(lambda: ticks.done > 50)
    assert ticks.most_at_once == 1
    assert not ticks.defects


def test_stop_waits_for_a_tick_that_runs_and_lets_no_other_follow() -> None:
    began, may_end, stopped = Event(), Event(), Event()

    def long() -> Swept:
        began.set()
        assert may_end.wait(PATIENCE)
        return some()

    ticks = Ticks([long])
    with sweeping(ticks, AGES) as sweeper:
        assert began.wait(PATIENCE)

        def stop() -> None:
            sweeper.stop()
            stopped.set()

        stopping = Thread(target=stop)
        stopping.start()
        assert not stopped.wait(0.1)
        may_end.set()
        assert stopped.wait(PATIENCE)
        stopping.join()
    assert ticks.done == 1


def test_it_can_be_stopped_before_it_was_started() -> None:
    ticks = Ticks([nothing])
    Sweeper(ticks, interval_seconds=1, emit=ticks.tell, on_failure=ticks.fail).stop()
    assert ticks.done == 0
