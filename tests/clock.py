"""A clock that is set by hand."""


class HandClock:
    """Its time is what the test says, and so is the wall's: 1,000,000 later."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + 1_000_000
