"""What answers before anything works, keeps the door, and shows what works once it does."""

from contextlib import ExitStack
from typing import NamedTuple

from daemon import options, parts, reception
from daemon.api.access import Token, admission
from daemon.api.app import Probes
from daemon.api.feed import Feed
from daemon.api.services import House
from daemon.clock import SystemClock
from daemon.config import Settings
from daemon.db.glance import Glances
from daemon.events import Event
from daemon.loader.events import Event as LoaderEvent
from daemon.service.pulse import Pulse
from daemon.service.ticker import Ticker
from daemon.service.vitals import Organs, Vitals
from daemon.telemetry.history import History
from daemon.telemetry.logs import EventLog
from daemon.telemetry.metrics import Metrics
from daemon.telemetry.organs import Organs as SeenOrgans
from daemon.telemetry.overview import Overview
from daemon.telemetry.overview import Site as OverviewSite
from daemon.telemetry.summary import SECONDS, Summary


class Front(NamedTuple):
    """What there is before anything works: it says how things are, and keeps the door."""

    metrics: Metrics
    pulse: Pulse
    vitals: Vitals
    overview: Overview
    summary: Summary
    house: House
    token: Token
    emit: parts.Emit


def open_front(settings: Settings) -> Front:
    """Raises `ConfigurationError` for a door that stands open."""
    clock, metrics, line = SystemClock(), Metrics(), reception.line(settings)
    pulse, history, summary = Pulse(clock), History(clock), Summary(clock)
    vitals = Vitals(pulse, stalled_seconds=options.stalled_seconds(settings))
    overview = Overview(history, vitals.health, line, clock)
    metrics.watch_line(line)
    return Front(
        metrics=metrics,
        pulse=pulse,
        vitals=vitals,
        overview=overview,
        summary=summary,
        house=House(line, Feed(overview)),
        token=Token(admitted(settings)),
        emit=_to_all(EventLog(), metrics, pulse, history, summary),
    )


def admitted(settings: Settings) -> str | None:
    """The token that opens the door, if there is to be one. Raises `ConfigurationError` for a door that stands open."""
    http = settings.http
    return admission(http.token_file, http.host, allow_anonymous=http.allow_anonymous)


def serve(settings: Settings, front: Front, stack: ExitStack) -> str:
    """Answers from now on, though for work it is too early. Gives the API's address."""
    probes = Probes(health=front.vitals.health_for_anybody, exposition=front.metrics.exposition)
    servers = reception.servers(settings, probes, front.house, front.emit, front.token, front.metrics.expect_routes)
    for server in servers:
        server.start()
        stack.callback(server.stop)
    # Before that, or who listens would keep the server from ending.
    stack.callback(front.house.feed.close)
    return servers[0].address


def show(front: Front, site: parts.Site, body: parts.Body, stack: ExitStack, *, trained: bool) -> None:
    """What works is seen from now on: by health, metrics and the console."""
    listener, stages = body.listener, body.pipeline.stages
    front.vitals.up(
        Organs(
            stages=body.pipeline.runner,
            inflight=stages.inflight,
            presence=body.presence,
            listener=lambda: listener.state.hearing.value if listener else "off: queue.notify",
            loaders=body.pipeline.loaders.status,
        )
    )
    organs = SeenOrgans(
        stages=stages,
        loaders=body.pipeline.loaders.status,
        engine=site.engine.describe,
        presence=body.presence,
        health=front.vitals.health,
        listener=lambda: listener.state if listener else None,
        sweep_seconds=lambda: body.sweeper.interval_seconds,
        connections=site.pool,
        look=body.gauges.read,
    )
    stack.enter_context(front.metrics.observe(organs))
    front.overview.up(
        OverviewSite(
            organs=organs,
            worker=site.worker,
            signature=lambda: body.presence.signature,
            trained=trained,
            glance=Glances(body.callers, options.names(site.settings), SystemClock()).look,
        )
    )
    stack.callback(front.overview.rest)
    stack.enter_context(Ticker("summary", SECONDS, lambda: _sum_up(front.summary, body)))
    # At the end this is first, and the servers are last: who was let in is answered, who comes late is told why not.
    stack.callback(front.house.close)
    stack.callback(front.vitals.stopping)


def _sum_up(summary: Summary, body: parts.Body) -> None:
    summary.tell(len(body.pipeline.stages.inflight), lambda: body.gauges.read().pending)


def _to_all(*hearers: parts.Emit) -> parts.Emit:
    def emit(event: Event | LoaderEvent) -> None:
        for hear in hearers:
            hear(event)

    return emit
