"""The composition root: the one module that names concrete classes, and hands each the plain values it needs."""

import platform
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from uuid import uuid4

import structlog

from daemon import options
from daemon.api.access import admission
from daemon.api.app import create_app, create_probe_app
from daemon.api.server import HttpServer
from daemon.clock import SystemClock
from daemon.config import Settings
from daemon.db import schema
from daemon.db.desk import Desk
from daemon.db.embedded import EmbeddedServer
from daemon.db.generation import Generations, Instance, Started
from daemon.db.jobs import JobQueue
from daemon.db.names import Names
from daemon.db.outcomes import OutcomeWriter
from daemon.db.pool import Pool
from daemon.db.reports import Reports
from daemon.db.sweep import SweepWindow
from daemon.db.walk import Swept
from daemon.engine import Engine, WeightsFile, open_engine
from daemon.engine.weights import IMAGENET, UNTRAINED
from daemon.engine.weights import find_weights as search_weights
from daemon.errors import ConfigurationError, VectordError
from daemon.events import Event
from daemon.health import Health
from daemon.loader.events import Event as LoaderEvent
from daemon.loader.pool import LoaderPool
from daemon.pipeline.batch import Batcher
from daemon.pipeline.channel import Channel
from daemon.pipeline.claim import ClaimStage
from daemon.pipeline.embed import EmbedStage
from daemon.pipeline.heartbeat import Heartbeat
from daemon.pipeline.inflight import Inflight
from daemon.pipeline.load import LoadStage
from daemon.pipeline.runner import Runner, Stages
from daemon.pipeline.store import StoreStage
from daemon.records import Loaded, Result
from daemon.reprocess import Standing
from daemon.service.presence import Presence
from daemon.service.pulse import Pulse
from daemon.service.vitals import Organs, Vitals
from daemon.telemetry.logs import EventLog, tell_hearing
from daemon.telemetry.metrics import Metrics
from daemon.wake.listener import Listener
from daemon.wake.sweep import Sweeper

STOP_SECONDS = 30.0
"""For the drain: longer than a fetch may take, shorter than systemd's patience (TimeoutStopSec, 90 s by default)."""

__all__ = [
    "IMAGENET",
    "UNTRAINED",
    "Daemon",
    "Desk",
    "find_weights",
    "migrate",
    "open_daemon",
    "open_desk",
    "schema_script",
]

Emit = Callable[[Event | LoaderEvent], None]
OnFailure = Callable[[BaseException], None]
NO_COMMON_SPACE = "vectors of two preprocessings lie in different spaces; searches mix them"
_log = structlog.get_logger("vectord")


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """A running daemon, as far as anyone outside of it needs to know."""

    pool: Pool
    names: Names
    engine: Engine
    presence: Presence
    trained: bool
    address: str
    health: Callable[[], Health]

    @property
    def signature(self) -> str:
        return self.presence.signature


@contextmanager
def open_daemon(
    settings: Settings, *, on_failure: OnFailure = lambda _: None, allow_untrained: bool = False
) -> Iterator[Daemon]:
    """A daemon that works while this lasts: started from the database upwards, stopped the other way round.

    `on_failure` hears of an exception that ended a stage. Raises `VectordError` when it cannot start, and then no job
    was claimed.
    """
    if settings.model.weights == UNTRAINED and not allow_untrained:
        raise ConfigurationError(f"model.weights: {UNTRAINED!r} is for the demo alone; name a file, or {IMAGENET!r}")
    http = settings.http
    token = admission(http.token_file, http.host, allow_anonymous=http.allow_anonymous)
    metrics, pulse = Metrics(), Pulse(SystemClock())
    emit, vitals = _to_all(EventLog(), metrics, pulse), Vitals(pulse)
    with ExitStack() as stack:
        dsn = stack.enter_context(_database(settings))
        pool = stack.enter_context(closing(_pool(settings, dsn)))
        layout = _migrate(settings, pool)
        server = _serve(settings, vitals, metrics, token, stack)
        weights = find_weights(settings)
        engine = open_engine(options.model_spec(settings, weights), options.engine_options(settings))
        stack.callback(engine.close)
        engine.warm_up()
        site = _Site(settings, dsn, pool, layout, engine, emit)
        _warn(settings, pool, engine, metrics)
        presence = _start(site, weights, metrics, vitals, stack, on_failure)
        yield Daemon(
            pool=pool,
            names=options.names(settings),
            engine=engine,
            presence=presence,
            trained=weights.path is not None,
            address=server.address,
            health=vitals.health,
        )


@contextmanager
def open_desk(settings: Settings) -> Iterator[Desk]:
    """The database for a command. Raises `DatabaseError` with the remedy where nobody has made the schema yet."""
    with _database(settings) as dsn, closing(_pool(settings, dsn)) as pool:
        yield Desk(pool, options.names(settings), notify=settings.queue.notify)


def migrate(settings: Settings) -> None:
    """Makes what is missing in the database. Raises `DatabaseError` that says which right is lacking."""
    with _database(settings) as dsn, closing(_pool(settings, dsn)) as pool:
        _migrate(settings, pool)


def schema_script(settings: Settings) -> str:
    """What a DBA would run instead."""
    return schema.print_sql(options.names(settings), options.schema_options(settings))


def find_weights(settings: Settings) -> WeightsFile:
    """The weights that `model.weights` names, fetched if need be. Raises `EngineError` when they cannot be had."""
    model, state_dir = settings.model, settings.database.state_dir
    return search_weights(model.weights, alpha=model.alpha, input_size=model.input_size, state_dir=state_dir)


class _Site(NamedTuple):
    """What the moving parts stand on."""

    settings: Settings
    dsn: str
    pool: Pool
    layout: schema.Layout
    engine: Engine
    emit: Emit


def _start(
    site: _Site, weights: WeightsFile, metrics: Metrics, vitals: Vitals, stack: ExitStack, on_failure: OnFailure
) -> Presence:
    """Starts the pipeline and then what wakes it; the stack stops them in reverse."""
    settings = site.settings
    generations = Generations(site.pool, options.names(settings), notify=settings.queue.notify)
    instance = options.instance(settings, weights)
    started = generations.on_start(instance)
    defects: list[BaseException] = []

    def fail(error: BaseException) -> None:
        _log.critical("daemon.failed", error=str(error), exc_info=error)
        defects.append(error)
        on_failure(error)

    own = _own_signature(instance, started)
    queue, writer = _queue(site, own), _writer(site, own)
    runner, claim, inflight = _pipeline(site, queue, writer, fail)

    def sign_as(signature: str) -> None:
        queue.sign_as(signature)
        writer.sign_as(signature)
        metrics.tell_model(site.engine.describe(), signature)

    presence = Presence(own, renew=sign_as, suspend=lambda on: claim.suspend(suspended=on))
    presence.hear(started.standing, started.signature)
    metrics.tell_model(site.engine.describe(), own)
    metrics.watch("in_flight", "Claims between their lease and their outcome.", lambda: len(inflight))
    metrics.watch("in_flight_limit", "As many claims may be in flight.", lambda: inflight.limit)
    sweeper = _sweeper(site, presence, claim, fail)
    runner.start()
    stack.callback(runner.stop, STOP_SECONDS)
    sweeper.start()
    stack.callback(sweeper.stop)
    hearing = _listen(site, claim, sweeper, stack)
    stack.callback(_mark_the_end, generations, instance, defects)
    vitals.up(Organs(stages=runner, inflight=inflight, presence=presence, listener=hearing))
    return presence


def _warn(settings: Settings, pool: Pool, engine: Engine, metrics: Metrics) -> None:
    """Of what works, but perhaps not as the operator thinks."""
    metrics.watch_engine(engine.describe)
    if fallback := engine.describe().fallback:
        _log.warning("engine.fallback", reason=fallback, using=engine.describe().backend, key="engine.backend")
    foreign = Reports(pool, options.names(settings)).foreign()
    metrics.foreign.set(foreign.number)
    if foreign.number and settings.reprocess.foreign == "keep":
        _log.warning("vectors.foreign", vectors=str(foreign), key="reprocess.foreign", reason=NO_COMMON_SPACE)


def _own_signature(instance: Instance, started: Started) -> str:
    """What this daemon's vectors bear. Where another model counts, none of them are stored."""
    if started.replaced_model is not None:
        _log.warning("model.replaced", before=started.replaced_model, now=started.signature)
    if started.raised:
        _log.warning("reprocess.started", signature=started.signature, key="reprocess.on_start")
    return instance.signature if started.standing is Standing.SUPERSEDED else started.signature


def _pipeline(
    site: _Site, queue: JobQueue, writer: OutcomeWriter, on_failure: OnFailure
) -> tuple[Runner, ClaimStage, Inflight]:
    settings, emit, clock = site.settings, site.emit, SystemClock()
    loading = options.loader_options(settings)
    inflight = Inflight(loading.slots)
    loaded: Channel[Loaded] = Channel()
    results: Channel[Result] = Channel()
    deliver = LoadStage(loaded, results).deliver
    loaders = LoaderPool(options=loading, deliver=deliver, read_stored=queue.read_stored, emit=emit, clock=clock)
    claim = ClaimStage(queue, inflight, loaders, poll_seconds=settings.queue.poll_seconds, clock=clock, emit=emit)
    batcher: Batcher[Loaded] = Batcher(
        limit=site.engine.describe().batch_limit, wait_seconds=settings.engine.batch_wait_ms / 1000
    )
    retry = options.retry_policy(settings)
    stages = Stages(
        claim=claim,
        loaders=loaders,
        embed=EmbedStage(site.engine, batcher, loaded, results, loaders.release, clock=clock, emit=emit),
        store=StoreStage(writer, inflight, results, retry, claim.room_changed, clock=clock, emit=emit),
        heartbeat=Heartbeat(queue, inflight, lease_seconds=settings.queue.lease_seconds, emit=emit),
        inflight=inflight,
        loaded=loaded,
        results=results,
    )
    return Runner(stages, clock=clock, on_failure=on_failure), claim, inflight


def _sweeper(site: _Site, presence: Presence, claim: ClaimStage, on_failure: OnFailure) -> Sweeper:
    settings = site.settings
    window = SweepWindow(site.pool, options.names(settings), options.sweep_options(settings))

    def tick() -> Swept:
        swept = window.step(presence.signature)
        if presence.hear(swept.standing, swept.present):
            sweeper.soon()
        if swept.queued:
            claim.wake()
        return swept

    sweeper = Sweeper(tick, interval_seconds=settings.sweep.interval_seconds, emit=site.emit, on_failure=on_failure)
    return sweeper


def _listen(site: _Site, claim: ClaimStage, sweeper: Sweeper, stack: ExitStack) -> Callable[[], str]:
    """LISTEN, unless it is switched off. Gives what says how it is."""
    if not site.settings.queue.notify:
        return lambda: "off: queue.notify"
    dsn = site.settings.database.listen_dsn.get_secret_value() or site.dsn
    channel = options.names(site.settings).channel
    listener = Listener(
        dsn, channel, claim.wake, sweep=sweeper.soon, changed=lambda state: tell_hearing(state.hearing, state.error)
    )
    listener.start()
    stack.callback(listener.stop)
    return lambda: listener.state.hearing.value


def _mark_the_end(generations: Generations, instance: Instance, defects: list[BaseException]) -> None:
    """Somebody asked for this end; a crash leaves no such mark. Without it, a restart counts as one after a crash."""
    if defects:
        return
    try:
        generations.stopping(instance)
    except VectordError as error:
        _log.warning("daemon.unmarked_end", error=str(error))


def _to_all(*hearers: Emit) -> Emit:
    def emit(event: Event | LoaderEvent) -> None:
        for hear in hearers:
            hear(event)

    return emit


@contextmanager
def _database(settings: Settings) -> Iterator[str]:
    """The DSN: the configured one, or that of the embedded PostgreSQL, which runs while this lasts."""
    dsn = settings.database.dsn.get_secret_value()
    if dsn:
        yield dsn
        return
    with EmbeddedServer(settings.database.state_dir / "postgres") as server:
        yield server.dsn


def _pool(settings: Settings, dsn: str) -> Pool:
    return Pool(dsn, size=settings.database.pool_size)


def _migrate(settings: Settings, pool: Pool) -> schema.Layout:
    layout = schema.migrate(pool, options.names(settings), options.schema_options(settings))
    for note in layout.notes:
        _log.warning("schema.note", note=note)
    return layout


def _serve(settings: Settings, vitals: Vitals, metrics: Metrics, token: str | None, stack: ExitStack) -> HttpServer:
    """The API's server, and one for health and metrics where they have a port of their own."""
    host, health, exposition = settings.http.host, vitals.health, metrics.exposition
    app = create_app(health=health, exposition=exposition, token=token)
    servers = [HttpServer(app, host=host, port=settings.http.port)]
    if settings.http.metrics_port:
        probes = create_probe_app(health=health, exposition=exposition)
        servers.append(HttpServer(probes, host=host, port=settings.http.metrics_port))
    for server in servers:
        server.start()
        stack.callback(server.stop)
    return servers[0]


def _queue(site: _Site, signature: str) -> JobQueue:
    queue = site.settings.queue
    return JobQueue(
        site.pool,
        options.names(site.settings),
        worker=f"{platform.node()}:{uuid4().hex[:8]}",
        lease_seconds=queue.lease_seconds,
        max_attempts=queue.max_attempts,
        poll_seconds=queue.poll_seconds,
        stored_bytes=site.layout.stored_bytes,
        signature=signature,
    )


def _writer(site: _Site, signature: str) -> OutcomeWriter:
    return OutcomeWriter(
        site.pool,
        options.names(site.settings),
        vector_column=site.layout.vector_column,
        signature=signature,
        may_lock=site.layout.may_lock,
    )
