"""Which slots of the arena are free, and how many images the pool has promised to hold. Safe to ask from any thread."""

import heapq
import threading


class Slots:
    """Promises are made at `submit` and kept until the image failed or its pixels were released.

    A slot is lent when the image goes to a loader; there is one for each promise. The lowest comes first, so that only
    as much of the arena is ever touched as was needed at once.
    """

    def __init__(self, *, common: int, urgent: int) -> None:
        self._common = common
        self._all = common + urgent
        self._free = list(range(self._all))
        self._lent: set[int] = set()
        self._promised = 0
        self._lock = threading.Lock()

    def room(self, *, urgent: bool = False) -> int:
        """How many more promises may be made."""
        with self._lock:
            return max(0, (self._all if urgent else self._common) - self._promised)

    @property
    def promised(self) -> int:
        """Promises that are not over."""
        return self._promised

    def promise(self) -> None:
        """Raises `RuntimeError` when there is nothing left to promise."""
        with self._lock:
            if self._promised >= self._all:
                raise RuntimeError("more images than slots were submitted; ask free() first")
            self._promised += 1

    def lend(self) -> int:
        """A slot for one of the promises."""
        with self._lock:
            slot = heapq.heappop(self._free)
            self._lent.add(slot)
            return slot

    def settle(self, slot: int) -> None:
        """A promise is over, and its slot, if it had one (it is not negative), is free again. Twice does no harm."""
        with self._lock:
            if slot >= 0:
                if slot not in self._lent:
                    return
                self._lent.remove(slot)
                heapq.heappush(self._free, slot)
            self._promised -= 1
