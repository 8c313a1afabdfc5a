"""Asks the daemon's parts how they are, as far as they are there yet."""

from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Protocol

from daemon.health import Facts, Health, judge
from daemon.service.presence import Presence
from daemon.service.pulse import Hindrance, Pulse


class Stages(Protocol):
    """The pipeline: `pipeline.runner.Runner`."""

    def alive(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Organs:
    """What there is once the daemon is up. `listener` gives a word about LISTEN, `hosts_failing` a number."""

    stages: Stages
    inflight: Sized
    presence: Presence
    listener: Callable[[], str]
    hosts_failing: Callable[[], int]


class Vitals:
    """Answers before the daemon is up, too: a probe that gets no answer would have it killed in its warm-up."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
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
        return Facts(
            warm=organs is not None,
            running=organs is not None and organs.stages.alive(),
            superseded=organs is not None and organs.presence.superseded,
            idle_seconds=self._pulse.idle_seconds(in_flight),
            in_flight=in_flight,
            hindrances={stage: words(one) for stage, one in self._pulse.hindrances.items()},
            listener=organs.listener() if organs else "not started",
            hosts_failing=organs.hosts_failing() if organs else 0,
            stopping=self._stopping,
        )
