"""What the console shows, as server-sent events: a snapshot a second for each listener, and the end when all ends.

Listeners are coroutines of the server's one loop. What is slow, the look at the database, is done in a thread for all
of them, and only while somebody listens.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from starlette.concurrency import run_in_threadpool

from daemon.api.problems import Problem
from daemon.errors import NotServingError

MOST_LISTENERS = 32
"""Pages that may be open at a time. Each costs a connection, and a few milliseconds of a core every second."""
SECONDS = 1.0
"""Between two snapshots."""
LOOK_SECONDS = 2.0
"""Between two looks at the database."""
FIRST_LOOK_SECONDS = 0.5
"""What the first snapshot waits for such a look at most."""
RETRY_SECONDS = 10


class Point(Protocol):
    """A tuple that begins with its moment, in seconds of the epoch: `telemetry.history.Point`."""

    @property
    def at(self) -> float: ...


class Overview(Protocol):
    """How the daemon is: `telemetry.overview.Overview`."""

    def snapshot(self) -> Mapping[str, object]:
        """As JSON can hold it. Never waits."""

    def points(self, after: float) -> Sequence[Point]:
        """Those of the charts that began later than this."""

    def look(self) -> None:
        """Looks at the database, and may take its time. Raises nothing."""


class Feed:
    """`close` may be called from any thread; all else belongs to the server's loop."""

    def __init__(self, overview: Overview, *, most: int = MOST_LISTENERS) -> None:
        self.listeners = 0
        self._overview = overview
        self._most = most
        self._over = False
        self._bell: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._look: asyncio.Task[None] | None = None
        self._looked = 0.0

    @contextmanager
    def seat(self) -> Iterator[None]:
        """For one listener. Raises `Problem` (429) when there are too many, `NotServingError` at the end."""
        if self._over:
            raise NotServingError("the daemon is stopping")
        if self.listeners >= self._most:
            message = f"{self._most} listeners are the most; close a page of the console"
            raise Problem(429, "too_busy", message, retry_after=RETRY_SECONDS)
        self.listeners += 1
        try:
            yield
        finally:
            self.listeners -= 1

    async def messages(self, admitted: Callable[[], bool]) -> AsyncIterator[bytes]:
        """A snapshot every second, the first with all points of the charts, the others with new ones.

        Until `close`, or until the listener is not `admitted` any more: a token may be replaced meanwhile.
        """
        bell, after = self._listen(), 0.0
        await self._first_look()
        while not self._over and admitted():
            self._look_if_due()
            points = self._overview.points(after)
            after = points[-1].at if points else after
            yield _message("snapshot", {**self._overview.snapshot(), "points": points})
            with suppress(TimeoutError):
                await asyncio.wait_for(bell.wait(), SECONDS)

    def close(self) -> None:
        """Every stream ends now, so that none keeps the server from ending."""
        self._over = True
        if self._bell is not None:
            loop, bell = self._bell
            with suppress(RuntimeError):  # The loop has ended by itself.
                loop.call_soon_threadsafe(bell.set)

    def _listen(self) -> asyncio.Event:
        if self._bell is None:
            self._bell = asyncio.get_running_loop(), asyncio.Event()
        return self._bell[1]

    async def _first_look(self) -> None:
        """So that whoever comes first sees all of it at once, where the database is quick."""
        self._look_if_due()
        if self._look is not None:
            await asyncio.wait({self._look}, timeout=FIRST_LOOK_SECONDS)

    def _look_if_due(self) -> None:
        now = asyncio.get_running_loop().time()
        busy = self._look is not None and not self._look.done()
        if not busy and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._look = asyncio.ensure_future(run_in_threadpool(self._overview.look))


def _message(name: str, content: Mapping[str, object]) -> bytes:
    """Source: HTML Living Standard, 9.2.6."""
    return f"event: {name}\ndata: {json.dumps(content, separators=(',', ':'))}\n\n".encode()
