"""What time it is: passed in, so that tests decide."""

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds from some fixed moment, never going back."""

    def monotonic(self) -> float: ...


class SystemClock:
    """The machine's monotonic clock."""

    def monotonic(self) -> float:
        return time.monotonic()
