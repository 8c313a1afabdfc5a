"""The HTTP application: what it answers, not how it is served."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from daemon.api.access import Door, Token
from daemon.api.limits import SizeLimit
from daemon.api.models import ProblemAnswer
from daemon.api.problems import add_handlers
from daemon.api.record import Record
from daemon.api.routes.docs import add_docs
from daemon.api.routes.extract import extract_routes
from daemon.api.routes.images import image_routes
from daemon.api.routes.probes import probe_routes
from daemon.api.routes.process import process_routes
from daemon.api.routes.similar import similar_routes
from daemon.api.services import House
from daemon.events import Answered
from daemon.health import Health

PROBLEMS = {
    401: "No token, or a wrong one.",
    404: "It is not there.",
    413: "The request is too large.",
    421: "The Host header names another host.",
    422: "The request is wrong, or the picture comes to no vector: `reason` tells why.",
    424: "Whoever serves the picture failed; trying again later may help.",
    429: "Too many requests wait already.",
    503: "The daemon starts or stops, or PostgreSQL is away.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may call: with which token, by which host names (None: any), from pages of which origins.

    `max_upload` is in bytes.
    """

    token: Token
    hosts: frozenset[str] | None = None
    origins: tuple[str, ...] = ()
    max_upload: int = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """What answers health and metrics."""

    health: Callable[[], Health]
    exposition: Callable[[], bytes]


def create_app(probes: Probes, house: House, access: Access, *, emit: Callable[[Answered], None]) -> FastAPI:
    """The whole API. `emit` hears of each answer."""
    app = _bare(openapi="/openapi.json")
    app.include_router(probe_routes(probes.health, probes.exposition))
    responses = {status: {"model": ProblemAnswer, "description": text} for status, text in PROBLEMS.items()}
    for routes in (extract_routes, process_routes, image_routes, similar_routes):
        app.include_router(routes(house), responses=responses)  # type: ignore[arg-type] # FastAPI's dict is invariant
    add_docs(app)
    # The last one added is the outermost.
    app.add_middleware(SizeLimit, max_upload=access.max_upload)
    app.add_middleware(Door, token=access.token, hosts=access.hosts)
    if access.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=access.origins, allow_methods=["*"], allow_headers=["*"], max_age=3600
        )
    app.add_middleware(Record, emit=emit)
    return app


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of each route: what `Answered` may tell of it."""
    for path, methods in app.openapi()["paths"].items():
        yield from ((method.upper(), path) for method in methods)


def create_probe_app(probes: Probes) -> FastAPI:
    """Health and metrics alone, for a port of their own."""
    app = _bare(openapi=None)
    app.include_router(probe_routes(probes.health, probes.exposition))
    return app


def _bare(*, openapi: str | None) -> FastAPI:
    app = FastAPI(
        title="vectord",
        description="Image vectors in step with a table of images.",
        docs_url=None,
        redoc_url=None,
        openapi_url=openapi,
    )
    add_handlers(app)
    return app
