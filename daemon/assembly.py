"""The parts put together: what answers before anything works, and then what works, in the order of starting.

Whatever is started here is stopped by the stack, in reverse.
"""

from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import NamedTuple

import structlog

from daemon import options, parts
from daemon.api.access import Token, admission
from daemon.api.app import Probes
from daemon.api.services import House
from daemon.clock import SystemClock
from daemon.config import Settings
from daemon.db.gauges import Gauges
from daemon.db.generation import Generations, Instance, Started
from daemon.db.jobs import JobQueue
from daemon.db.pool import Pool
from daemon.db.reports import Reports
from daemon.engine import WeightsFile
from daemon.errors import VectordError
from daemon.events import Event
from daemon.loader.events import Event as LoaderEvent
from daemon.pipeline.claim import ClaimStage
from daemon.reprocess import Standing
from daemon.service.presence import Presence
from daemon.service.pulse import Pulse
from daemon.service.vitals import Organs, Vitals
from daemon.telemetry.logs import EventLog
from daemon.telemetry.metrics import Metrics
from daemon.telemetry.organs import Organs as SeenOrgans
from daemon.wake.listener import Listener
from daemon.wake.sweep import Sweeper

STOP_SECONDS = 30.0
"""For the drain: longer than a fetch may take, shorter than systemd's patience (TimeoutStopSec, 90 s by default)."""
NO_COMMON_SPACE = "vectors of two preprocessings lie in different spaces; searches mix them"
OnFailure = Callable[[BaseException], None]
_log = structlog.get_logger("vectord")


class Front(NamedTuple):
    """What there is before anything works: it says how things are, and keeps the door."""

    metrics: Metrics
    pulse: Pulse
    vitals: Vitals
    house: House
    token: Token
    emit: parts.Emit


class Body(NamedTuple):
    """What works."""

    presence: Presence
    pipeline: parts.Pipeline
    jobs: JobQueue
    sweeper: Sweeper
    gauges: Gauges


class Defects:
    """Exceptions that left a stage: each ends the daemon, by way of whoever opened it."""

    def __init__(self, on_failure: OnFailure) -> None:
        self.any = False
        self._on_failure = on_failure

    def hear(self, error: BaseException) -> None:
        _log.critical("daemon.failed", error=str(error), exc_info=error)
        self.any = True
        self._on_failure(error)


def open_front(settings: Settings) -> Front:
    """Raises `ConfigurationError` for a door that stands open."""
    metrics, pulse, house = Metrics(), Pulse(SystemClock()), parts.house(settings)
    metrics.watch_line(house.line)
    return Front(
        metrics=metrics,
        pulse=pulse,
        vitals=Vitals(pulse),
        house=house,
        token=Token(_admission(settings)),
        emit=_to_all(EventLog(), metrics, pulse),
    )


def _admission(settings: Settings) -> str | None:
    http = settings.http
    return admission(http.token_file, http.host, allow_anonymous=http.allow_anonymous)


def start(site: parts.Site, weights: WeightsFile, front: Front, defects: Defects, stack: ExitStack) -> Body:
    """Starts the pipeline, then what wakes it, then what callers use of it; the stack stops them in reverse."""
    settings, metrics, names = site.settings, front.metrics, options.names(site.settings)
    generations = Generations(site.pool, names, notify=settings.queue.notify)
    instance = options.instance(settings, weights)
    own = _own_signature(instance, generations.on_start(instance))
    jobs, outcomes = parts.queue(site, own.signature), parts.writer(site, own.signature)
    pipeline = parts.pipeline(site, jobs, outcomes)
    claim = pipeline.stages.claim

    def sign_as(signature: str) -> None:
        jobs.sign_as(signature)
        outcomes.sign_as(signature)
        metrics.tell_model(site.engine.describe(), signature)

    presence = Presence(own.signature, renew=sign_as, suspend=lambda on: claim.suspend(suspended=on))
    presence.hear(own.standing, own.present)
    metrics.tell_model(site.engine.describe(), own.signature)
    sweeper = parts.sweeper(site, presence, claim)
    pipeline.runner.start()
    stack.callback(pipeline.runner.stop, STOP_SECONDS)
    sweeper.start()
    stack.callback(sweeper.stop)
    listener = _listen(site, claim, sweeper, stack)
    callers = stack.enter_context(closing(Pool(site.dsn, size=parts.API_CONNECTIONS)))
    front.house.open(parts.services(site, callers, pipeline.stages.callers, jobs, presence))
    gauges = Gauges(callers, names)
    stack.callback(_mark_the_end, generations, instance, defects)
    front.vitals.up(
        Organs(
            stages=pipeline.runner,
            inflight=pipeline.stages.inflight,
            presence=presence,
            listener=lambda: listener.state.hearing.value if listener else "off: queue.notify",
        )
    )
    stack.enter_context(
        metrics.observe(
            SeenOrgans(
                stages=pipeline.stages,
                loaders=pipeline.loaders.status,
                engine=site.engine.describe,
                presence=presence,
                health=front.vitals.health,
                listener=lambda: listener.state if listener else None,
                sweep_seconds=settings.sweep.interval_seconds,
                connections=site.pool,
                look=gauges.read,
            )
        )
    )
    return Body(presence=presence, pipeline=pipeline, jobs=jobs, sweeper=sweeper, gauges=gauges)


def _listen(site: parts.Site, claim: ClaimStage, sweeper: Sweeper, stack: ExitStack) -> Listener | None:
    """LISTEN, unless it is switched off."""
    if not site.settings.queue.notify:
        return None
    listener = parts.listener(site, claim, sweeper)
    listener.start()
    stack.callback(listener.stop)
    return listener


def reload(settings: Settings, token: Token, body: Body) -> None:
    """Takes over what can change while all of it runs. Raises `ConfigurationError`, and then nothing has changed."""
    token.value = _admission(settings)
    body.jobs.poll_every(settings.queue.poll_seconds)
    body.pipeline.stages.claim.poll_every(settings.queue.poll_seconds)
    body.sweeper.tick_every(settings.sweep.interval_seconds)
    body.pipeline.batcher.wait_seconds = settings.engine.batch_wait_ms / 1000


class _Own(NamedTuple):
    """The signature that this daemon works under, and how it stands beside the present one."""

    signature: str
    standing: Standing
    present: str


def _own_signature(instance: Instance, started: Started) -> _Own:
    """What this daemon's vectors bear. Where another model counts, none of them are stored."""
    if started.replaced_model is not None:
        _log.warning("model.replaced", before=started.replaced_model, now=started.signature)
    if started.raised:
        _log.warning("reprocess.started", signature=started.signature, key="reprocess.on_start")
    superseded = started.standing is Standing.SUPERSEDED
    own = instance.signature if superseded else started.signature
    return _Own(signature=own, standing=started.standing, present=started.signature)


def warn(site: parts.Site, metrics: Metrics) -> None:
    """Of what works, but perhaps not as the operator thinks."""
    settings, engine = site.settings, site.engine
    metrics.watch_engine(engine.describe)
    if fallback := engine.describe().fallback:
        _log.warning("engine.fallback", reason=fallback, using=engine.describe().backend, key="engine.backend")
    foreign = Reports(site.pool, options.names(settings)).foreign()
    metrics.foreign.set(foreign.number)
    if foreign.number and settings.reprocess.foreign == "keep":
        _log.warning("vectors.foreign", vectors=str(foreign), key="reprocess.foreign", reason=NO_COMMON_SPACE)


def _mark_the_end(generations: Generations, instance: Instance, defects: Defects) -> None:
    """Somebody asked for this end; a crash leaves no such mark. Without it, a restart counts as one after a crash."""
    if defects.any:
        return
    try:
        generations.stopping(instance)
    except VectordError as error:
        _log.warning("daemon.unmarked_end", error=str(error))


def _to_all(*hearers: parts.Emit) -> parts.Emit:
    def emit(event: Event | LoaderEvent) -> None:
        for hear in hearers:
            hear(event)

    return emit


def serve(settings: Settings, front: Front, stack: ExitStack) -> str:
    """Answers from now on, though for work it is too early. Gives the API's address."""
    probes = Probes(health=front.vitals.health, exposition=front.metrics.exposition)
    servers = parts.servers(settings, probes, front.house, front.emit, front.token, front.metrics.expect_routes)
    for server in servers:
        server.start()
        stack.callback(server.stop)
    return servers[0].address
