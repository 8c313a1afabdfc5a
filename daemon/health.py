"""Whether the daemon is well: pure, from what its parts say of themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What the sentence says, for programs."""

    STARTING = "starting"
    STOPPING = "stopping"
    """Somebody asked for the end: what is in hand is finished, nothing more is taken."""
    ENDED = "ended"
    """A stage has ended."""
    STALLED = "stalled"
    SUPERSEDED = "superseded"
    WAITING = "waiting"
    """For something of its surroundings; `parts` says for what."""
    WORKING = "working"
    IDLE = "idle"


STALLED_SECONDS = 300.0
"""Claims in work and nothing settled for so long, or longer where the configuration lets a fetch and a decode take
long (`options.stalled_seconds`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known at this moment.

    `hindrances` are the stages that pause for a fault of their surroundings, with the fault. `idle_seconds` is how long
    nothing was settled while claims were in work; 0 when none are; after `stalled_seconds` of it something hangs.
    `hosts_failing` are those that are left alone, or tried with one image at a time.
    """

    warm: bool
    running: bool
    superseded: bool
    idle_seconds: float
    in_flight: int
    hindrances: Mapping[str, str]
    listener: str
    hosts_failing: int = 0
    stopping: bool = False
    stalled_seconds: float = STALLED_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the daemon is alive and gets on, whether it takes work, a sentence, and a word about each part."""

    healthy: bool
    ready: bool
    state: State
    status: str
    parts: Mapping[str, str]


def judge(facts: Facts) -> Health:
    """A fault of the surroundings makes it not ready, but not sick: a restart would not mend it. Nor does an end that
    somebody asked for, though one stage after another has ended by then.
    """
    stalled = facts.idle_seconds > facts.stalled_seconds and not facts.hindrances
    state = _state(facts, stalled=stalled)
    return Health(
        healthy=facts.stopping or ((facts.running or not facts.warm) and not stalled),
        ready=_takes_work(facts),
        state=state,
        status=_status(state, facts),
        parts={"listener": facts.listener, **_hosts(facts), **facts.hindrances},
    )


def _takes_work(facts: Facts) -> bool:
    hindered = facts.hindrances or facts.superseded or facts.stopping
    return facts.warm and facts.running and not hindered


def _state(facts: Facts, *, stalled: bool) -> State:
    if facts.stopping or not facts.warm:
        return State.STOPPING if facts.stopping else State.STARTING
    if not facts.running:
        return State.ENDED
    if stalled:
        return State.STALLED
    if facts.superseded:
        return State.SUPERSEDED
    if facts.hindrances or (facts.hosts_failing and not facts.in_flight):
        return State.WAITING
    return State.WORKING if facts.in_flight else State.IDLE


def _status(state: State, facts: Facts) -> str:
    stage, fault = next(iter((facts.hindrances or _hosts(facts)).items()), ("", ""))
    besides = "".join(f"; {stage}: {fault}" for stage, fault in _hosts(facts).items())
    return {
        State.STARTING: "starting: the model is not warm yet",
        State.STOPPING: f"stopping: {facts.in_flight} images are still in work",
        State.ENDED: "a stage has ended: a restart is needed",
        State.STALLED: f"stalled: nothing settled for {facts.idle_seconds:.0f} s with {facts.in_flight} images in work",
        State.SUPERSEDED: "superseded: another daemon's model counts now, so this one neither claims nor stores",
        State.WAITING: f"waiting: {stage}: {fault}",
        State.WORKING: f"working on {facts.in_flight} images{besides}",
        State.IDLE: "idle",
    }[state]


def _hosts(facts: Facts) -> Mapping[str, str]:
    """What there is to say of them: nothing when all is well."""
    number = facts.hosts_failing
    return {"load": f"{number} host{'s are' if number > 1 else ' is'} left alone for a while"} if number else {}
