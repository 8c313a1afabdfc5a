"""Turns in a loader: one at a time, urgent ones first, nobody for ever last."""

import threading
from queue import SimpleQueue

from daemon.fairness import FAIR_EVERY
from daemon.loader.turns import Turns


class Waiters:
    """Threads that each take one turn and say so."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.came: SimpleQueue[str] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def add(self, name: str, *, urgent: bool) -> None:
        waiting = len(self._turns)
        thread = threading.Thread(target=self._take, args=(name, urgent))
        thread.start()
        self._threads.append(thread)
        while len(self._turns) == waiting:
            pass

    def _take(self, name: str, urgent: bool) -> None:  # noqa: FBT001 - a thread's argument
        self._turns.wait(urgent=urgent)
        self.came.put(name)
        self._turns.pass_on()

    def order(self) -> list[str]:
        found = [self.came.get(timeout=60) for _ in self._threads]
        for thread in self._threads:
            thread.join()
        return found


def test_a_free_turn_is_taken_at_once_and_by_one() -> None:
    turns = Turns()
    assert turns.try_take()
    assert not turns.try_take()
    turns.pass_on()
    turns.wait(urgent=False)
    assert not turns.try_take()


def test_urgent_ones_come_first_and_the_others_in_order() -> None:
    turns = Turns()
    waiters = Waiters(turns)
    assert turns.try_take()
    for name in ("a", "b"):
        waiters.add(name, urgent=False)
    for name in ("x", "y"):
        waiters.add(name, urgent=True)
    turns.pass_on()
    assert waiters.order() == ["x", "y", "a", "b"]
    assert turns.try_take()


def test_nobody_is_kept_out_for_ever() -> None:
    turns = Turns()
    waiters = Waiters(turns)
    assert turns.try_take()
    waiters.add("a", urgent=False)
    for number in range(2 * FAIR_EVERY):
        waiters.add(f"x{number}", urgent=True)
    turns.pass_on()
    assert waiters.order().index("a") == FAIR_EVERY - 1
