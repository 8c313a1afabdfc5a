"""What becomes of a failed claim: pure, and decided by the class of its reason alone.

The delays are those of "exponential backoff with equal jitter": half of `base * 2**(attempt-1)` is certain and the
other half drawn, so that a thousand images that failed together do not come back together.
"""

from dataclasses import dataclass

from daemon.errors import FailureClass
from daemon.records import Dead, Failure, Outcome, Retry

LONGEST_DELAY = 3600.0
"""Seconds. An hour between two tries is as patient as it gets."""

SYSTEM_DELAY_ATTEMPTS = 4
"""A system fault waits like a fourth attempt: long enough not to hammer, short enough to recover soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """`queue.max_attempts` and `queue.retry_base_seconds`."""

    max_attempts: int = 5
    base_seconds: float = 5.0


def backoff(policy: RetryPolicy, attempt: int, draw: float) -> float:
    """Seconds to wait after the given attempt (from one); `draw` in [0, 1) places it within the jitter."""
    full = min(LONGEST_DELAY, policy.base_seconds * 2.0 ** min(attempt - 1, 32))
    return full / 2 + full / 2 * draw


def decide(failure: Failure, policy: RetryPolicy, draw: float) -> Outcome:
    """What becomes of this failure: tried again, when, and at whose cost; or dead."""
    if failure.claim.lent and failure.reason.failure_class is not FailureClass.SYSTEM:
        # It says nothing of the image, whose own picture is tried next.
        return _retry(failure, delay=0.0, charged=False)
    match failure.reason.failure_class:
        case FailureClass.PERMANENT:
            return _dead(failure)
        case FailureClass.CRASH:
            # The second crash happened alone, so there is no neighbour left to blame.
            return _dead(failure) if failure.claim.suspect else _retry(failure, delay=0.0)
        case FailureClass.TRANSIENT:
            if failure.claim.attempt >= policy.max_attempts:
                return _dead(failure)
            wait = backoff(policy, failure.claim.attempt, draw)
            return _retry(failure, delay=max(wait, min(failure.retry_after or 0.0, LONGEST_DELAY)))
        case FailureClass.SYSTEM:
            wait = failure.retry_after or backoff(policy, SYSTEM_DELAY_ATTEMPTS, draw)
            return _retry(failure, delay=min(wait, LONGEST_DELAY), charged=False)


def _dead(failure: Failure) -> Dead:
    return Dead(claim=failure.claim, stage=failure.stage, reason=failure.reason, detail=failure.detail)


def _retry(failure: Failure, *, delay: float, charged: bool = True) -> Retry:
    return Retry(
        claim=failure.claim,
        stage=failure.stage,
        reason=failure.reason,
        detail=failure.detail,
        delay=delay,
        charged=charged,
    )


class Pause:
    """How long a stage waits after a fault that is nobody's image's: from 0.2 s, doubling, up to `longest`, or 10 s.

    Ten seconds bound how long the daemon notices late that PostgreSQL is back.
    """

    SHORTEST = 0.2
    LONGEST = 10.0

    def __init__(self, longest: float = LONGEST) -> None:
        self._longest = longest
        self._next = self.SHORTEST

    def next(self) -> float:
        """Seconds to wait now; the next time it is twice as long."""
        pause, self._next = self._next, min(self._next * 2, self._longest)
        return pause

    def reset(self) -> None:
        """Things work again."""
        self._next = self.SHORTEST
