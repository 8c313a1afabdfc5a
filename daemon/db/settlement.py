"""What becomes of a job whose image has no new vector, as the columns of a statement."""

from typing import NamedTuple

from daemon.errors import FailureClass
from daemon.records import Claim, Dead, Released, Retry

POSTPONE_SECONDS = 5.0
"""Until an image, or a vector, that another session holds locked is tried again."""
LONGEST_DETAIL = 2000


class Settlement(NamedTuple):
    """What becomes of a job without a vector: the columns of `settle`. No reason leaves the job's own."""

    claim: Claim
    state: str = "pending"
    given_back: int = 0
    delay: float = 0.0
    suspect: bool = False
    reason: str | None = None
    detail: str = ""


def settlement(outcome: Dead | Retry | Released) -> Settlement:
    """As the outcome says."""
    match outcome:
        case Released():
            return Settlement(claim=outcome.claim, given_back=1)
        case Dead():
            return Settlement(
                claim=outcome.claim, state="dead", reason=outcome.reason.label, detail=_storable(outcome.detail)
            )
        case Retry():
            return Settlement(
                claim=outcome.claim,
                given_back=0 if outcome.charged else 1,
                delay=outcome.delay,
                suspect=outcome.reason.failure_class is FailureClass.CRASH and not outcome.claim.lent,
                reason=outcome.reason.label,
                detail=_storable(outcome.detail),
            )


def postponement(claim: Claim) -> Settlement:
    """Back to the queue, as somebody's lock is in the way: nobody is charged."""
    return Settlement(claim=claim, given_back=1, delay=POSTPONE_SECONDS)


def _storable(detail: str) -> str:
    """PostgreSQL's text takes neither NUL nor half a surrogate pair, and nobody reads on for ever."""
    return detail[:LONGEST_DETAIL].replace("\x00", "").encode("utf-8", "replace").decode()
