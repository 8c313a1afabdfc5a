"""The daemon's parts, each made from the settings (the API's in `reception`). `assembly` puts them together."""

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import uuid4

from daemon import options
from daemon.clock import SystemClock
from daemon.config import Settings
from daemon.db import schema
from daemon.db.gauges import Gauges
from daemon.db.jobs import JobQueue
from daemon.db.outcomes import OutcomeWriter
from daemon.db.pool import Pool
from daemon.db.runs import Runs
from daemon.db.sweep import SweepWindow
from daemon.db.walk import Swept
from daemon.engine import Engine
from daemon.events import Event, Settled
from daemon.loader.events import Event as LoaderEvent
from daemon.loader.pool import LoaderPool
from daemon.pipeline.batch import Batcher
from daemon.pipeline.callers import Answers, Callers
from daemon.pipeline.channel import Channel
from daemon.pipeline.claim import ClaimStage
from daemon.pipeline.embed import EmbedStage
from daemon.pipeline.heartbeat import Heartbeat
from daemon.pipeline.inflight import Inflight
from daemon.pipeline.load import LoadStage
from daemon.pipeline.runner import Runner, Stages
from daemon.pipeline.single import Single
from daemon.pipeline.store import StoreStage
from daemon.records import Loaded, Result
from daemon.reprocess import Standing
from daemon.service.patience import Patience
from daemon.service.presence import Presence
from daemon.telemetry.logs import tell_hearing
from daemon.wake.listener import Listener
from daemon.wake.sweep import Sweeper

API_CONNECTIONS = 2
"""Of the API's own, so that callers never keep the pipeline from the database."""
LOOK_CONNECTIONS = 1
"""Of those that only look: the metrics, the status line and the summary. Neither callers nor the pipeline keep them
from seeing how the database is."""
LOADER_START_SECONDS = 20.0
"""Tenths of a second, on a machine that does anything else as well."""

Emit = Callable[[Event | LoaderEvent], None]
OnFailure = Callable[[BaseException], None]


@dataclass(frozen=True, kw_only=True)
class Site:
    """What the moving parts stand on. `worker` is this daemon's name in the table of them."""

    settings: Settings
    dsn: str
    pool: Pool
    layout: schema.Layout
    engine: Engine
    emit: Emit
    on_failure: OnFailure
    worker: str


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """From claim to store, and those of its parts that are asked or told something while it runs."""

    runner: Runner
    stages: Stages
    loaders: LoaderPool
    batcher: Batcher[Loaded]


@dataclass(frozen=True, kw_only=True)
class Body:
    """All that works. `listener` is None where nobody listens; `callers` are the API's connections."""

    presence: Presence
    pipeline: Pipeline
    jobs: JobQueue
    sweeper: Sweeper
    listener: Listener | None
    callers: Pool
    patience: Patience
    gauges: Gauges


def worker_name() -> str:
    """This daemon's, unlike that of any other, also of one in its place before it."""
    return f"{platform.node()}:{uuid4().hex[:8]}"


def queue(site: Site, signature: str) -> JobQueue:
    """Where jobs come from."""
    given = site.settings.queue
    made = JobQueue(
        site.pool,
        options.names(site.settings),
        worker=site.worker,
        lease_seconds=given.lease_seconds,
        max_attempts=given.max_attempts,
        poll_seconds=given.poll_seconds,
        stored_bytes=site.layout.stored_bytes,
        signature=signature,
    )
    made.tell = lambda dead: site.emit(Settled(outcome=dead, seconds=None))
    return made


def writer(site: Site, signature: str) -> OutcomeWriter:
    """Where outcomes go."""
    return OutcomeWriter(
        site.pool,
        options.names(site.settings),
        vector_column=site.layout.vector_column,
        signature=signature,
        may_lock=site.layout.may_lock,
    )


def pipeline(site: Site, jobs: JobQueue, outcomes: OutcomeWriter) -> Pipeline:
    """From claim to store."""
    settings, emit, clock = site.settings, site.emit, SystemClock()
    loading = options.loader_options(settings)
    inflight = Inflight(loading.slots)
    loaded: Channel[Loaded] = Channel()
    results: Channel[Result] = Channel()
    answers = Answers(results, emit)
    deliver = LoadStage(loaded, answers).deliver
    loaders = LoaderPool(
        options=loading,
        deliver=deliver,
        read_stored=jobs.read_stored,
        callers=lambda: len(answers),
        emit=emit,
        on_failure=site.on_failure,
        clock=clock,
    )
    claim = ClaimStage(jobs, inflight, loaders, poll_seconds=settings.queue.poll_seconds, clock=clock, emit=emit)
    engine = site.engine.describe()
    batcher: Batcher[Loaded] = Batcher(
        limit=engine.batch_limit, wait_seconds=settings.engine.batch_wait_ms / 1000, portion=engine.portion
    )
    retry = options.retry_policy(settings)
    stages = Stages(
        claim=claim,
        loaders=loaders,
        embed=EmbedStage(site.engine, batcher, loaded, answers, loaders, clock=clock, emit=emit),
        store=StoreStage(outcomes, inflight, results, retry, claim.room_changed, answers.tell, clock=clock, emit=emit),
        heartbeat=Heartbeat(jobs, inflight, lease_seconds=settings.queue.lease_seconds, emit=emit),
        inflight=inflight,
        loaded=loaded,
        results=results,
        callers=Callers(loaders, inflight, answers),
    )
    runner = Runner(stages, clock=clock, on_failure=site.on_failure)
    return Pipeline(runner=runner, stages=stages, loaders=loaders, batcher=batcher)


def single(settings: Settings, engine: Engine) -> Single:
    """One picture at a time, for a command."""
    loading = replace(options.loader_options(settings), processes=1, threads=1, slots=2, urgent_slots=0)
    seconds = LOADER_START_SECONDS + loading.fetch.total_timeout + loading.timeout_seconds
    return Single(
        engine, lambda deliver, emit: LoaderPool(options=loading, deliver=deliver, emit=emit), seconds=seconds
    )


def sweeper(site: Site, presence: Presence, claim: ClaimStage) -> Sweeper:
    """The sweep, which also feeds the runs that somebody asked for."""
    names, swept_by = options.names(site.settings), options.sweep_options(site.settings)
    window, runs = SweepWindow(site.pool, names, swept_by), Runs(site.pool, names, swept_by)

    def tick() -> Swept:
        swept = window.step(presence.signature)
        if presence.hear(swept.standing, swept.present):
            made.soon()
        if swept.leader and swept.standing is Standing.PRESENT:
            fed = runs.step(presence.signature)
            swept = replace(swept, queued=swept.queued + fed.queued, run_open=fed.open, run_more=fed.more)
        if swept.queued:
            claim.wake()
        return swept

    interval = site.settings.sweep.interval_seconds
    made = Sweeper(tick, interval_seconds=interval, emit=site.emit, on_failure=site.on_failure)
    return made


def listener(site: Site, claim: ClaimStage, sweep: Sweeper) -> Listener:
    """LISTEN, on a connection of its own."""
    dsn = site.settings.database.listen_dsn.get_secret_value() or site.dsn
    channel = options.names(site.settings).channel
    return Listener(
        dsn, channel, claim.wake, sweep=sweep.soon, changed=lambda state: tell_hearing(state.hearing, state.error)
    )
