"""What lies between two stages that run on their own threads."""

from collections import deque
from threading import Condition
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Sink(Protocol[T_contra]):
    """Where a stage puts what it made: a `Channel`, or what sorts things before one."""

    def put(self, item: T_contra) -> None: ...


class Channel(Generic[T]):
    """Items from one stage to the next, in order. It never blocks who puts: `Inflight` bounds what is under way."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._closed = False
        self._changed = Condition()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        with self._changed:
            self._items.append(item)
            self._changed.notify()

    def close(self) -> None:
        """Says that nothing more comes. What lies here is still taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def finished(self) -> bool:
        """Closed, and all of it taken."""
        return self._closed and not self._items

    def take(self, most: int, timeout: float | None = None) -> list[T]:
        """Up to `most` items; waits for the first one, `timeout` seconds at most. Empty when none came or will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout)
            return [self._items.popleft() for _ in range(min(most, len(self._items)))]
