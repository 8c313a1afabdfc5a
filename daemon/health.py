"""Whether the daemon is well: pure, from what its parts say of themselves."""

from collections.abc import Mapping
from dataclasses import dataclass

STALLED_SECONDS = 300.0
"""Claims in work and nothing settled for so long: longer than any fetch and decode may take, retries left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known at this moment.

    `hindrances` are the stages that pause for a fault of their surroundings, with the fault. `idle_seconds` is how long
    nothing was settled while claims were in work; 0 when none are.
    """

    warm: bool
    running: bool
    superseded: bool
    idle_seconds: float
    in_flight: int
    hindrances: Mapping[str, str]
    listener: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the daemon is alive and gets on, whether it takes work, a sentence, and a word about each part."""

    healthy: bool
    ready: bool
    status: str
    parts: Mapping[str, str]


def judge(facts: Facts) -> Health:
    """A fault of the surroundings makes it not ready, but not sick: a restart would not mend it."""
    stalled = facts.idle_seconds > STALLED_SECONDS and not facts.hindrances
    return Health(
        healthy=(facts.running or not facts.warm) and not stalled,
        ready=facts.warm and facts.running and not facts.hindrances and not facts.superseded,
        status=_status(facts, stalled=stalled),
        parts={"listener": facts.listener, **facts.hindrances},
    )


def _status(facts: Facts, *, stalled: bool) -> str:
    if not facts.warm:
        return "starting: the model is not warm yet"
    if not facts.running:
        return "a stage has ended: a restart is needed"
    if stalled:
        return f"stalled: nothing settled for {facts.idle_seconds:.0f} s with {facts.in_flight} images in work"
    if facts.superseded:
        return "superseded: another daemon's model counts now, so this one neither claims nor stores"
    if facts.hindrances:
        stage, fault = next(iter(facts.hindrances.items()))
        return f"waiting: {stage}: {fault}"
    return f"working on {facts.in_flight} images" if facts.in_flight else "idle"
