"""The daemon's parts as the metrics see them, and what is read off them at each scrape."""

from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from daemon.db.gauges import Depths
from daemon.engine.protocol import EngineInfo
from daemon.health import Health
from daemon.loader.pool import PoolStatus
from daemon.telemetry.readings import Reading

LISTENER_STATES = ("listening", "reconnecting", "poll-only", "off")
"""Those of `wake.listener.Hearing`, and "off" where `queue.notify` is."""


class Busy(Protocol):
    """A stage that has some images in hand: embed, store."""

    @property
    def in_progress(self) -> int: ...


class Inflight(Sized, Protocol):
    """The claims in work, and the bound of all queues: `pipeline.inflight.Inflight`."""

    limit: int


class Stages(Protocol):
    """The pipeline's parts: `pipeline.runner.Stages`."""

    @property
    def embed(self) -> Busy: ...
    @property
    def store(self) -> Busy: ...
    @property
    def inflight(self) -> Inflight: ...
    @property
    def loaded(self) -> Sized: ...
    @property
    def results(self) -> Sized: ...


class Presence(Protocol):
    """Whether this daemon's model counts: `service.presence.Presence`."""

    superseded: bool


class Hearing(Protocol):
    """How LISTEN is: `wake.listener.ListenerState`."""

    @property
    def hearing(self) -> str: ...
    @property
    def heartbeat_at(self) -> datetime | None: ...


class Line(Protocol):
    """Who asks for vectors over HTTP: `api.line.Line`."""

    places: int
    most_waiting: int

    @property
    def taken(self) -> int: ...
    @property
    def waiting(self) -> int: ...


class Connections(Protocol):
    """The connections to the database: `db.pool.Pool`."""

    size: int
    in_use: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Organs:
    """What there is to look at once the daemon is up.

    `listener` gives None where nobody listens (`queue.notify` is off). `look` reads the database and may take its time:
    it is called on a thread of its own. `sweep_seconds` gives `sweep.interval_seconds`, which a reload may change.
    """

    stages: Stages
    loaders: Callable[[], PoolStatus]
    engine: Callable[[], EngineInfo]
    presence: Presence
    health: Callable[[], Health]
    listener: Callable[[], Hearing | None]
    sweep_seconds: Callable[[], float]
    connections: Connections
    look: Callable[[], Depths]

    def readings(self) -> Iterator[Reading]:
        """All but what the database says."""
        yield from _health(self.health(), self.presence)
        loaders = self.loaders()
        yield from _stages(self.stages, loaders)
        yield from _loaders(loaders)
        yield from _listener(self.listener())
        yield Reading("batch_limit", self.engine().batch_limit)
        yield Reading("sweep_interval_seconds", self.sweep_seconds())
        yield Reading("database_pool_connections", self.connections.in_use)
        yield Reading("database_pool_size", self.connections.size)


def _health(health: Health, presence: Presence) -> Iterator[Reading]:
    yield Reading("healthy", health.healthy)
    yield Reading("ready", health.ready)
    yield Reading("superseded", presence.superseded)


def _stages(stages: Stages, loaders: PoolStatus) -> Iterator[Reading]:
    """What waits and what is in hand. The one bound, `Inflight`, is the capacity of every queue (decision 1)."""
    limit = stages.inflight.limit
    waiting = {"load": loaders.waiting, "embed": len(stages.loaded), "store": len(stages.results)}
    working = {"load": loaders.loading, "embed": stages.embed.in_progress, "store": stages.store.in_progress}
    for stage, number in waiting.items():
        yield Reading("stage_queue_items", number, (stage,))
        yield Reading("stage_queue_capacity", limit, (stage,))
    for stage, number in working.items():
        yield Reading("stage_in_progress", number, (stage,))
    yield Reading("in_flight", len(stages.inflight))
    yield Reading("in_flight_limit", limit)


def _loaders(status: PoolStatus) -> Iterator[Reading]:
    yield Reading("loaders", status.loaders)
    yield Reading("loaders_wanted", status.wanted)
    yield Reading("hosts_left_alone", status.hosts_left_alone)


def _listener(state: Hearing | None) -> Iterator[Reading]:
    hearing = "off" if state is None else str(state.hearing)
    for name in LISTENER_STATES:
        yield Reading("listener_state", name == hearing, (name,))
    heard_at = state.heartbeat_at if state else None
    yield Reading("listener_heartbeat_timestamp_seconds", heard_at.timestamp() if heard_at else 0)
