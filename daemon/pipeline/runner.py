"""Starts the stages from the end of the pipeline to its front, and stops them from the front to the end."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread, Timer
from typing import Protocol

from daemon.clock import Clock
from daemon.pipeline.callers import Callers
from daemon.pipeline.channel import Channel
from daemon.pipeline.claim import ClaimStage
from daemon.pipeline.embed import EmbedStage
from daemon.pipeline.heartbeat import Heartbeat
from daemon.pipeline.inflight import Inflight
from daemon.pipeline.store import StoreStage
from daemon.records import Claim, Loaded, Released, Result

HURRY_SECONDS = 3.0
"""For the last writes of a stop that is cut short."""
LOOK_SECONDS = 0.2
"""Between two looks whether a stop that waits for a stage is to be cut short."""


class Loaders(Protocol):
    """The loader processes, as far as starting and stopping goes: `loader.pool.LoaderPool`."""

    def start(self) -> None: ...
    def alive(self) -> bool: ...
    def drain(self, timeout: float) -> list[Claim]: ...
    def hurry(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Stages:
    """One pipeline's parts, made by `parts.pipeline`."""

    claim: ClaimStage
    loaders: Loaders
    embed: EmbedStage
    store: StoreStage
    heartbeat: Heartbeat
    inflight: Inflight
    loaded: Channel[Loaded]
    results: Channel[Result]
    callers: Callers


class Runner:
    """Runs the stages on their threads. An exception that leaves one is a defect: `on_failure` hears of it."""

    def __init__(self, stages: Stages, *, clock: Clock, on_failure: Callable[[BaseException], None]) -> None:
        self._stages = stages
        self._clock = clock
        self._on_failure = on_failure
        self._threads: dict[str, Thread] = {}
        self._latest = math.inf
        """When a stop stops waiting for stages that wait for PostgreSQL."""

    def start(self) -> None:
        """From the end to the front, so that nothing arrives where nobody takes it."""
        stages = self._stages
        self._run("store", stages.store.run)
        self._run("embed", stages.embed.run)
        stages.loaders.start()
        self._run("heartbeat", stages.heartbeat.run)
        self._run("claim", stages.claim.run)

    def stop(self, timeout: float) -> bool:
        """Drains within `timeout` seconds; what is not finished by then is released. True when all of it was written.

        The order, and why: no more claims; what the loaders have in hand may end, within half the time, and the rest
        goes back; embed and store then end by themselves when their channels are closed and empty, and what embed did
        not get to, where a defect has ended it, goes back as well; the heartbeat goes on until the last outcome is
        written, since a lease must not run out while it waits.
        """
        deadline = self._clock.monotonic() + timeout
        stages = self._stages
        stages.claim.stop()
        stages.callers.refuse()
        self._wait_for("claim", deadline)
        for claim in stages.loaders.drain(timeout / 2):
            stages.callers.put(Released(claim=claim))
        stages.loaded.close()
        stages.embed.hurry()
        self._join("embed", deadline)
        self._give_back_abandoned()
        stages.results.close()
        self._wait_for("store", deadline)
        stages.store.give_up()
        self._wait_for("store", deadline + 1.0)
        stages.heartbeat.stop()
        self._wait_for("heartbeat", deadline + 1.0)
        stages.loaders.close()
        stages.callers.close()
        return not stages.inflight.claims()

    def hurry(self) -> None:
        """Cuts a `stop` that is under way, or comes, short: what the loaders have in hand is released at once.

        Nobody waits any more for stages that wait for PostgreSQL; what they leave leased is left to its lease.
        """
        self._latest = min(self._latest, self._clock.monotonic() + HURRY_SECONDS + 1.0)
        self._stages.loaders.hurry()
        self._stages.embed.hurry()
        # What is done by now can still be written, unless PostgreSQL is away.
        last_call = Timer(HURRY_SECONDS, self._stages.store.give_up)
        last_call.daemon = True
        last_call.start()

    def alive(self) -> bool:
        """Whether every stage's thread runs, and that of the loaders."""
        threads = self._threads.values()
        return bool(threads) and all(thread.is_alive() for thread in threads) and self._stages.loaders.alive()

    def _give_back_abandoned(self) -> None:
        embed = self._threads.get("embed")
        if embed is not None and not embed.is_alive():
            for claim in self._stages.embed.abandoned():
                self._stages.callers.put(Released(claim=claim))

    def _run(self, name: str, target: Callable[[], None]) -> None:
        thread = Thread(target=self._guarded, args=(target,), name=f"vectord-{name}", daemon=True)
        self._threads[name] = thread
        thread.start()

    def _guarded(self, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the daemon must not go on without a stage
            self._on_failure(error)

    def _join(self, name: str, deadline: float) -> None:
        if name in self._threads:
            self._threads[name].join(max(0.0, deadline - self._clock.monotonic()))

    def _wait_for(self, name: str, deadline: float) -> None:
        """As `_join`, for a stage that may itself wait for PostgreSQL: no longer than somebody in a hurry does."""
        thread = self._threads.get(name)
        while thread is not None and thread.is_alive():
            left = min(deadline, self._latest) - self._clock.monotonic()
            if left <= 0:
                return
            thread.join(min(left, LOOK_SECONDS))
