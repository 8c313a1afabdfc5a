"""Outcomes that nobody overtook and nobody wrote: another session had their jobs locked at that moment."""

from collections.abc import Collection, Sequence

from daemon.clock import Clock
from daemon.policy import Pause
from daemon.records import Claim, Outcome

LONGEST_PAUSE = 1.0
"""Seconds. The lock of a short transaction is over by the first try, after a fifth of that."""


class Again:
    """Keeps such outcomes until their next try, `most` of them: what is beyond is left to its lease. For one thread."""

    def __init__(self, most: int, clock: Clock) -> None:
        self._most = most
        self._clock = clock
        self._pause = Pause(longest=LONGEST_PAUSE)
        self._outcomes: list[Outcome] = []
        self._due = 0.0

    def __len__(self) -> int:
        return len(self._outcomes)

    @property
    def wait(self) -> float | None:
        """Seconds until the next try; None where there is nothing to try."""
        return max(0.0, self._due - self._clock.monotonic()) if self._outcomes else None

    def take(self, beside: Collection[Outcome]) -> list[Outcome]:
        """Those that are due, but for those of an image that `beside` has an outcome of: one at a time is written."""
        if self.wait != 0.0:
            return []
        images = {outcome.claim.image_id for outcome in beside}
        taken = [outcome for outcome in self._outcomes if outcome.claim.image_id not in images]
        self._outcomes = [outcome for outcome in self._outcomes if outcome.claim.image_id in images]
        return taken

    def put(self, outcomes: Sequence[Outcome]) -> list[Claim]:
        """Keeps those that there is room for, and gives their claims. To be called after each try."""
        kept = outcomes[: self._most - len(self._outcomes)]
        self._outcomes += kept
        if not self._outcomes:
            self._pause.reset()
        elif self.wait == 0.0:
            self._due = self._clock.monotonic() + self._pause.next()
        return [outcome.claim for outcome in kept]
