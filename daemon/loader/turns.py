"""Who decodes next: one at a time in each loader, urgent pictures first."""

from collections import deque
from threading import Event, Lock

from daemon.fairness import FAIR_EVERY


class Turns:
    """One turn at a time. Within a kind, first come first served."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._taken = False
        self._passed = 0
        self._waiting: dict[bool, deque[Event]] = {True: deque(), False: deque()}

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    def try_take(self) -> bool:
        """Takes the turn, if nobody has it."""
        with self._lock:
            taken, self._taken = self._taken, True
            return not taken

    def wait(self, *, urgent: bool) -> None:
        """Takes the turn when it comes."""
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            mine = Event()
            self._waiting[urgent].append(mine)
        mine.wait()

    def pass_on(self) -> None:
        """Gives the turn to whoever is next."""
        with self._lock:
            heir = self._heir()
            self._taken = heir is not None
        if heir is not None:
            heir.set()

    def _heir(self) -> Event | None:
        urgent, others = self._waiting[True], self._waiting[False]
        if urgent and others:
            self._passed += 1
            return (others if self._passed % FAIR_EVERY == 0 else urgent).popleft()
        waiting = urgent or others
        return waiting.popleft() if waiting else None
