"""The parts put together, in the order of starting.

Whatever is started here is stopped by the stack, in reverse.
"""

from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from typing import NamedTuple

import structlog

from daemon import options, parts, reception
from daemon.api.access import Token
from daemon.config import Settings
from daemon.db.gauges import Gauges
from daemon.db.generation import Generations, Instance, Started
from daemon.db.jobs import JobQueue
from daemon.db.pool import Pool
from daemon.db.reports import Reports
from daemon.engine import WeightsFile
from daemon.errors import VectordError
from daemon.front import Front, admitted
from daemon.pipeline.claim import ClaimStage
from daemon.reprocess import Standing
from daemon.service.patience import LOOK_SECONDS, Patience
from daemon.service.presence import Presence
from daemon.service.ticker import Ticker
from daemon.telemetry.metrics import Metrics
from daemon.wake.listener import Listener
from daemon.wake.sweep import Sweeper

STOP_SECONDS = 30.0
"""For the drain: longer than a fetch may take, shorter than systemd's patience (TimeoutStopSec, 90 s by default)."""
ANSWER_SECONDS = 120.0
"""Within which a transaction has to be over. The slowest are over in seconds, unless a lock is waited for, and then it
costs nothing to begin again."""
LAST_ANSWER_SECONDS = 10.0
"""The same once the end is asked for: with the drain, it stays within what the units give it (TimeoutStopSec=75)."""
HURRIED_ANSWER_SECONDS = 1.0
"""The same when somebody asks for the end a second time."""
NO_COMMON_SPACE = "vectors of two preprocessings lie in different spaces; searches mix them"
OnFailure = Callable[[BaseException], None]
_log = structlog.get_logger("vectord")


class Defects:
    """Exceptions that left a stage: each ends the daemon, by way of whoever opened it."""

    def __init__(self, on_failure: OnFailure) -> None:
        self.any = False
        self._on_failure = on_failure

    def hear(self, error: BaseException) -> None:
        self.any = True
        try:
            _log.critical("daemon.failed", error=str(error), exc_info=error)
        finally:
            # Even where it is the log that has failed.
            self._on_failure(error)


def start(site: parts.Site, weights: WeightsFile, front: Front, defects: Defects, stack: ExitStack) -> parts.Body:
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
    callers = stack.enter_context(closing(Pool(site.dsn, size=parts.API_CONNECTIONS)))
    lookers = stack.enter_context(closing(Pool(site.dsn, size=parts.LOOK_CONNECTIONS)))
    patience = _patience(site.pool, callers, lookers, stack=stack)
    stack.callback(_leave, jobs)
    pipeline.runner.start()
    stack.callback(pipeline.runner.stop, STOP_SECONDS)
    sweeper.start()
    stack.callback(sweeper.stop)
    listener = _listen(site, claim, sweeper, stack)
    front.house.open(reception.services(site, callers, pipeline.stages.callers, jobs, presence))
    stack.callback(_mark_the_end, generations, instance, defects)
    # All at once, and before the first of them is waited for: what waits for PostgreSQL gives up at the same time.
    for end in (partial(patience.lessen, LAST_ANSWER_SECONDS), sweeper.end, claim.stop):
        stack.callback(end)
    return parts.Body(
        presence=presence,
        pipeline=pipeline,
        jobs=jobs,
        sweeper=sweeper,
        listener=listener,
        callers=callers,
        patience=patience,
        gauges=Gauges(lookers, names),
    )


def _patience(*pools: Pool, stack: ExitStack) -> Patience:
    """Goes on until all that is started after it has ended: each may wait for an answer until then."""
    made = Patience(*pools, seconds=ANSWER_SECONDS)
    stack.enter_context(Ticker("patience", LOOK_SECONDS, made))
    return made


def _listen(site: parts.Site, claim: ClaimStage, sweeper: Sweeper, stack: ExitStack) -> Listener | None:
    """LISTEN, unless it is switched off."""
    if not site.settings.queue.notify:
        return None
    listener = parts.listener(site, claim, sweeper)
    listener.start()
    stack.callback(listener.stop)
    return listener


def hurry(body: parts.Body) -> None:
    """Cuts a stop that is under way, or comes, short."""
    body.patience.lessen(HURRIED_ANSWER_SECONDS)
    body.pipeline.runner.hurry()


def reload(settings: Settings, token: Token, body: parts.Body) -> None:
    """Takes over what can change while all of it runs. Raises `ConfigurationError`, and then nothing has changed."""
    token.value = admitted(settings)
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
    if fallback := engine.describe().fallback:
        _log.warning("engine.fallback", reason=fallback, using=engine.describe().backend, key="engine.backend")
    foreign = Reports(site.pool, options.names(settings)).foreign()
    metrics.foreign.set(foreign.number)
    if foreign.number and settings.reprocess.foreign == "keep":
        _log.warning("vectors.foreign", vectors=str(foreign), key="reprocess.foreign", reason=NO_COMMON_SPACE)


def _leave(jobs: JobQueue) -> None:
    """Last of all. Where PostgreSQL does not hear of it, `status` takes the daemon for alive a minute longer."""
    try:
        jobs.leave()
    except VectordError as error:
        _log.warning("daemon.unmarked_end", error=str(error))


def _mark_the_end(generations: Generations, instance: Instance, defects: Defects) -> None:
    """Somebody asked for this end; a crash leaves no such mark. Without it, a restart counts as one after a crash."""
    if defects.any:
        return
    try:
        generations.stopping(instance)
    except VectordError as error:
        _log.warning("daemon.unmarked_end", error=str(error))
