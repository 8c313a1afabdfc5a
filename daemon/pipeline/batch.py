"""batch: when the images that wait are enough, or have waited enough. Pure: the time comes in as an argument."""

from collections import deque
from typing import Generic, TypeVar

from daemon.fairness import FAIR_EVERY

T = TypeVar("T")

LONGEST_WAIT = 0.1
"""Seconds that an image waits at most where a whole batch is on its way: a batch of ten or more costs the engine and
PostgreSQL much less for each image, and while there is a backlog nobody misses a tenth of a second."""


class Batcher(Generic[T]):
    """Collects items until there are `limit` of them or the oldest has waited long enough.

    How long that is depends on what else is on its way: not at all for nobody, up to `LONGEST_WAIT` for what will fill
    the batch, `wait_seconds` for anything between.

    Urgent items go first, in order, and wait for no company: what comes while the model runs is the next batch. Of the
    ordinary ones, those of a backfill come last. Where `portion` is not 0, a batch is taken in portions of so many
    items, and urgent ones that come meanwhile go between two of them. How a portion is cut into the shapes that were
    compiled is the engine's business. `limit` and `wait_seconds` may be set anew at any time: an engine that ran out of
    memory wants less at once.
    """

    def __init__(self, *, limit: int, wait_seconds: float, portion: int = 0) -> None:
        self.limit = limit
        self.wait_seconds = wait_seconds
        self._portion = portion
        self._left = 0
        self._passed = 0
        self._urgent: deque[tuple[float, T]] = deque()
        self._fresh: deque[tuple[float, T]] = deque()
        self._backfill: deque[tuple[float, T]] = deque()

    def __len__(self) -> int:
        return len(self._urgent) + self._ordinary()

    @property
    def room(self) -> int:
        """How many more items fill a batch."""
        return max(0, self.limit - len(self))

    def add(self, item: T, now: float, *, urgent: bool = False, backfill: bool = False) -> None:
        """`now`, in seconds of any clock that only goes forward, is when the item's wait begins."""
        line = self._urgent if urgent else self._backfill if backfill else self._fresh
        line.append((now, item))

    def seconds_left(self, now: float, coming: int) -> float | None:
        """Until a batch is to be taken, with `coming` items on their way: 0 for now, None when nothing waits."""
        if not len(self):
            return None
        if self._urgent or self._left or len(self) >= self.limit or coming <= 0:
            return 0.0
        wait = max(self.wait_seconds, LONGEST_WAIT) if coming >= self.room else self.wait_seconds
        oldest = min(line[0][0] for line in (self._fresh, self._backfill) if line)
        return max(0.0, oldest + wait - now)

    @property
    def left(self) -> int:
        """Ordinary items of the batch that was begun, which the next portions bring."""
        return self._left

    def take(self) -> list[T]:
        """The next portion: urgent items, if there are any, with little company. Empty when nothing waits."""
        most = min(self._portion or self.limit, self.limit)
        if not self._urgent:
            self._left = self._left or min(self._ordinary(), self.limit)
            return self._take_ordinary(min(self._left, most))
        urgent = [self._urgent.popleft()[1] for _ in range(min(len(self._urgent), most))]
        self._passed += len(urgent)
        return urgent + self._take_ordinary(self._company())

    def _ordinary(self) -> int:
        return len(self._fresh) + len(self._backfill)

    def _company(self) -> int:
        if not self._ordinary() or self._passed < FAIR_EVERY:
            return 0
        self._passed = 0
        return 1

    def _take_ordinary(self, count: int) -> list[T]:
        self._left = max(0, self._left - count)
        return [(self._fresh or self._backfill).popleft()[1] for _ in range(count)]
