"""batch: when the images that wait are enough, or have waited enough. Pure: the time comes in as an argument."""

from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_PADDING = 0.25
"""Of a batch, at most: beyond that a smaller full batch now and the rest later costs less than computing on padding."""


class Batcher(Generic[T]):
    """Collects items until the largest of `sizes` is full or the oldest has waited `wait_seconds`.

    `sizes` are the batch sizes that the engine runs without padding, ascending. Urgent items go first, in order.
    """

    def __init__(self, *, sizes: Sequence[int], wait_seconds: float) -> None:
        self._sizes = tuple(sizes)
        self._wait_seconds = wait_seconds
        self._urgent: deque[tuple[float, T]] = deque()
        self._ordinary: deque[tuple[float, T]] = deque()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._ordinary)

    @property
    def room(self) -> int:
        """How many more items fill a batch."""
        return max(0, self._sizes[-1] - len(self))

    def add(self, item: T, now: float, *, urgent: bool = False) -> None:
        """`now`, in seconds of any clock that only goes forward, is when the item's wait begins."""
        (self._urgent if urgent else self._ordinary).append((now, item))

    def seconds_left(self, now: float) -> float | None:
        """Until a batch is to be taken: 0 when it is now, None when nothing waits."""
        if not len(self):
            return None
        if len(self) >= self._sizes[-1]:
            return 0.0
        oldest = min(waiting[0][0] for waiting in (self._urgent, self._ordinary) if waiting)
        return max(0.0, oldest + self._wait_seconds - now)

    def take(self) -> list[T]:
        """The next batch, urgent items first. Empty when nothing waits."""
        size = best_size(len(self), self._sizes)
        first = [self._urgent.popleft()[1] for _ in range(min(size, len(self._urgent)))]
        return first + [self._ordinary.popleft()[1] for _ in range(size - len(first))]


def best_size(waiting: int, sizes: Sequence[int]) -> int:
    """How many of the waiting to take: all, unless padding them to the next size would waste too much."""
    if waiting >= sizes[-1]:
        return sizes[-1]
    above = next(size for size in sizes if size >= waiting)
    below = max((size for size in sizes if size <= waiting), default=waiting)
    return waiting if above - waiting <= MOST_PADDING * above else below
