"""batch: when the images that wait are enough, or have waited enough. Pure: the time comes in as an argument."""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Batcher(Generic[T]):
    """Collects items until there are `limit` of them or the oldest has waited `wait_seconds`.

    Urgent items go first, in order, and wait for no company: what comes while the model runs is the next batch. How a
    batch is cut into the shapes that were compiled is the engine's business. `limit` and `wait_seconds` may be set anew
    at any time: an engine that ran out of memory wants less at once.
    """

    def __init__(self, *, limit: int, wait_seconds: float) -> None:
        self.limit = limit
        self.wait_seconds = wait_seconds
        self._urgent: deque[tuple[float, T]] = deque()
        self._ordinary: deque[tuple[float, T]] = deque()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._ordinary)

    @property
    def room(self) -> int:
        """How many more items fill a batch."""
        return max(0, self.limit - len(self))

    def add(self, item: T, now: float, *, urgent: bool = False) -> None:
        """`now`, in seconds of any clock that only goes forward, is when the item's wait begins."""
        (self._urgent if urgent else self._ordinary).append((now, item))

    def seconds_left(self, now: float) -> float | None:
        """Until a batch is to be taken: 0 when it is now, None when nothing waits."""
        if not len(self):
            return None
        if self._urgent or len(self) >= self.limit:
            return 0.0
        return max(0.0, self._ordinary[0][0] + self.wait_seconds - now)

    def take(self) -> list[T]:
        """The next batch, urgent items first. Empty when nothing waits."""
        size = min(len(self), self.limit)
        first = [self._urgent.popleft()[1] for _ in range(min(size, len(self._urgent)))]
        return first + [self._ordinary.popleft()[1] for _ in range(size - len(first))]
