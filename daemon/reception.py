"""The parts of the API, each made from the settings: the line, the servers, and what the routes use."""

from collections.abc import Callable, Iterable

from daemon import options
from daemon.api.access import Token, allowed_hosts
from daemon.api.app import Access, Probes, create_app, create_probe_app, routes_of
from daemon.api.bounds import limit_of_open_files
from daemon.api.line import Line
from daemon.api.server import HttpServer
from daemon.api.services import House, Services
from daemon.config import Settings
from daemon.db.jobs import JobQueue
from daemon.db.pool import Pool
from daemon.db.reports import Reports
from daemon.db.retry import Retries
from daemon.db.runs import Runs
from daemon.db.similar import Similar
from daemon.db.wants import Wants
from daemon.db.whereabouts import Whereabouts
from daemon.parts import Emit, Site
from daemon.pipeline.callers import Callers
from daemon.service.presence import Presence

Expect = Callable[[Iterable[tuple[str, str]]], None]
"""Hears of the routes that there are, each a method and a path."""
SEARCH_SECONDS = 30.0
"""For a caller's search, which keeps one of those connections busy. With an index it takes milliseconds."""


def line(settings: Settings) -> Line:
    """Where those stand who ask for something of the pipeline."""
    return Line(places=options.loader_options(settings).urgent_slots, waiting=settings.http.max_waiting)


def servers(
    settings: Settings, probes: Probes, opened: House, emit: Emit, token: Token, expect: Expect
) -> list[HttpServer]:
    """The API's server, and one for health and metrics where they have a port of their own. Not started yet.

    `expect` hears of the routes that there are.
    """
    http = settings.http
    access = Access(
        token=token,
        hosts=allowed_hosts(http.host, http.allow_hosts),
        origins=http.cors_origins,
        max_upload=settings.fetch.max_bytes,
    )
    app = create_app(probes, opened, access, emit=emit)
    expect(routes_of(app))
    most_open = options.most_open(settings, limit_of_open_files())
    made = [HttpServer(app, host=http.host, port=http.port, most_open=most_open)]
    if port := http.port_of_probes:
        made.append(HttpServer(create_probe_app(probes), host=http.host, port=port, key="http.metrics_port"))
    return made


def services(site: Site, own: Pool, callers: Callers, jobs: JobQueue, presence: Presence) -> Services:
    """What the API's routes use, over connections of their own."""
    settings, names = site.settings, options.names(site.settings)
    want = options.want_options(settings, worker=site.worker, stored_bytes=site.layout.stored_bytes)
    return Services(
        callers=callers,
        wants=Wants(own, names, presence.storing, want, release=jobs.release),
        runs=Runs(own, names, options.sweep_options(settings)),
        similar=Similar(own, names, seconds=SEARCH_SECONDS),
        reports=Reports(own, names),
        retries=Retries(own, names, notify=settings.queue.notify),
        whereabouts=Whereabouts(own, names),
        signature=lambda: presence.signature,
        dimension=site.engine.describe().dimension,
    )
