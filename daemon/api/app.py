"""The HTTP application: what it answers, not how it is served."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer
from starlette.middleware.cors import CORSMiddleware

from daemon import VERSION
from daemon.api.access import Token
from daemon.api.door import Door
from daemon.api.limits import BodyLimit
from daemon.api.problems import ANYWHERE, add_handlers, documented
from daemon.api.record import Record
from daemon.api.routes.console import METHODS as CONSOLE_METHODS
from daemon.api.routes.console import ROUTES as CONSOLE_ROUTES
from daemon.api.routes.console import console_routes
from daemon.api.routes.docs import add_docs
from daemon.api.routes.events import event_routes
from daemon.api.routes.extract import extract_routes
from daemon.api.routes.images import image_routes
from daemon.api.routes.looks import look_routes
from daemon.api.routes.probes import probe_routes
from daemon.api.routes.process import process_routes
from daemon.api.routes.similar import similar_routes
from daemon.api.services import House
from daemon.events import Answered
from daemon.health import Health

BEARER = HTTPBearer(auto_error=False, description="The token that http.token_file holds.")
"""For whoever reads the description; `Door` is what asks for the token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may call: with which token, by which host names (None: any), from pages of which other origins.

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
    needs = [Security(BEARER)] if access.token.value is not None else []
    routers = [routes(house) for routes in (extract_routes, process_routes, image_routes, similar_routes, look_routes)]
    for router in (*routers, event_routes(house, access.token)):
        app.include_router(router, dependencies=needs, responses=documented(*ANYWHERE))
    add_docs(app)
    app.include_router(console_routes())
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, max_upload=access.max_upload)
    app.add_middleware(
        Door, token=access.token, hosts=access.hosts, origins=access.origins, closing=lambda: house.closing
    )
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
    yield from ((method, path) for path in CONSOLE_ROUTES for method in CONSOLE_METHODS)


def create_probe_app(probes: Probes) -> FastAPI:
    """Health and metrics alone, for a port of their own."""
    app = _bare(openapi=None)
    app.include_router(probe_routes(probes.health, probes.exposition))
    return app


def _bare(*, openapi: str | None) -> FastAPI:
    app = FastAPI(
        title="vectord",
        description="Image vectors in step with a table of images.",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url=openapi,
    )
    add_handlers(app)
    return app
