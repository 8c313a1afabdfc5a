"""Asks the daemon's parts how they are, as far as they are there yet."""

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from typing import Protocol

from daemon.health import Facts, Health, judge
from daemon.loader.events import cause_in
from daemon.loader.pool import PoolStatus
from daemon.redact import redact
from daemon.service.presence import Presence
from daemon.service.pulse import Hindrance, Pulse

NO_LOADER = "no loader can be started"
SEE_LOG = "the daemon's log says why"


class Stages(Protocol):
    """The pipeline: `pipeline.runner.Runner`."""

    def alive(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Organs:
    """What there is once the daemon is up. `listener` gives a word about LISTEN."""

    stages: Stages
    inflight: Sized
    presence: Presence
    listener: Callable[[], str]
    loaders: Callable[[], PoolStatus]


class Vitals:
    """Answers before the daemon is up, too: a probe that gets no answer would have it killed in its warm-up.

    Where nothing is settled for `stalled_seconds` with claims in work, something hangs.
    """

    def __init__(self, pulse: Pulse, *, stalled_seconds: float) -> None:
        self._pulse = pulse
        self._stalled_seconds = stalled_seconds
        self._organs: Organs | None = None
        self._stopping = False

    def up(self, organs: Organs) -> None:
        """From now on these are asked."""
        self._organs = organs

    def stopping(self) -> None:
        """From now on it ends, part by part."""
        self._stopping = True

    def health(self) -> Health:
        """For who belongs to the house: faults in their own words."""
        return judge(self._facts(lambda hindrance: hindrance.words))

    def health_for_anybody(self) -> Health:
        """The same, no host or role named."""
        return judge(self._facts(lambda hindrance: hindrance.gist))

    def _facts(self, words: Callable[[Hindrance], str]) -> Facts:
        organs = self._organs
        in_flight = len(organs.inflight) if organs else 0
        loaders = organs.loaders() if organs else None
        hindrances = {**_without_loaders(loaders), **self._pulse.hindrances}
        return Facts(
            warm=organs is not None,
            running=organs is not None and organs.stages.alive(),
            superseded=organs is not None and organs.presence.superseded,
            idle_seconds=self._pulse.idle_seconds(in_flight),
            in_flight=in_flight,
            hindrances={stage: words(one) for stage, one in hindrances.items()},
            listener=organs.listener() if organs else "not started",
            hosts_failing=loaders.hosts_failing if loaders else 0,
            stopping=self._stopping,
            stalled_seconds=self._stalled_seconds,
        )


def _without_loaders(loaders: PoolStatus | None) -> Mapping[str, Hindrance]:
    """What keeps all of them from starting is a fault of the surroundings: too little memory, or a missing file."""
    if loaders is None or not loaders.broken:
        return {}
    said = redact(cause_in(loaders.last_words))
    return {"load": Hindrance(words=f"{NO_LOADER}: {said or SEE_LOG}", gist=f"{NO_LOADER}: {SEE_LOG}")}
