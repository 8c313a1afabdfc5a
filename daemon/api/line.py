"""Who may ask the pipeline at a time, and how many may wait for that: what bounds the memory of many requests."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from daemon.api.problems import Problem

RETRY_SECONDS = 1
T = TypeVar("T")


class Line:
    """`places` at a time, first come first served; `waiting` more may stand in line, the next one is sent away.

    For one event loop; `leave` may be called from any thread once somebody has entered.
    """

    def __init__(self, *, places: int, waiting: int) -> None:
        self.places = places
        self.most_waiting = waiting
        self._free = places
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    @property
    def taken(self) -> int:
        return self.places - self._free

    async def enter(self) -> None:
        """Waits for a place. Raises `Problem` (429) when too many wait already."""
        self._loop = asyncio.get_running_loop()
        if self._free:
            self._free -= 1
            return
        if len(self._waiters) >= self.most_waiting:
            message = f"{self.most_waiting} requests wait already (http.max_waiting)"
            raise Problem(429, "too_busy", message, retry_after=RETRY_SECONDS)
        await self._wait()

    def leave(self) -> None:
        """Gives the place up."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._pass_on)

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # It was this one's turn just now.
            elif turn in self._waiters:  # Not so when a turn was passed on that it had just given up.
                self._waiters.remove(turn)
            raise

    def _pass_on(self) -> None:
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


MOST_ASKING = 64
"""The database at a time: more than threads and connections for it can be busy with."""
ASKING_THREADS = 40
"""As many as AnyIO has for all else."""


class Seats:
    """So many at a time, and no line. For one event loop. `what` is what all of them wait for, for people."""

    def __init__(self, number: int, what: str) -> None:
        self._number = number
        self._what = what
        self._taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """A seat while this lasts. Raises `Problem` (429) when all are taken."""
        if self._taken >= self._number:
            raise Problem(
                429, "too_busy", f"{self._number} callers wait for {self._what} already", retry_after=RETRY_SECONDS
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class Desk:
    """Where the database is asked: by so many, so that no number of them uses up memory, and in threads of its own, so
    that while it hangs nothing else waits for a thread. For one event loop.

    A question that was put keeps its seat and its thread until it is answered, even if nobody waits for that any more.
    """

    def __init__(self) -> None:
        self._seats = Seats(MOST_ASKING, "the database")
        self._threads = CapacityLimiter(ASKING_THREADS)

    async def ask(self, question: Callable[[], T]) -> T:
        """What it comes to. Raises `Problem` (429) when too many ask already."""
        return await asyncio.shield(self._seated(question))

    async def look(self, question: Callable[[], T]) -> T:
        """The same without a seat, for those whose number has a bound already."""
        return await asyncio.shield(self._in_a_thread(question))

    async def _seated(self, question: Callable[[], T]) -> T:
        with self._seats.one():
            return await self._in_a_thread(question)

    async def _in_a_thread(self, question: Callable[[], T]) -> T:
        return await to_thread.run_sync(question, limiter=self._threads)
