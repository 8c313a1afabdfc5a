"""The HTTP application: what it answers, not how it is served."""

from collections.abc import Callable
from dataclasses import asdict

from fastapi import FastAPI, Response

from daemon.api.access import guard
from daemon.health import Health

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


def create_app(*, health: Callable[[], Health], exposition: Callable[[], bytes], token: str | None = None) -> FastAPI:
    """The application over two questions that `wiring` answers. With a `token`, all but health and metrics need it."""
    app = FastAPI(title="vectord", docs_url="/docs", redoc_url=None)
    if token:
        app.middleware("http")(guard(token))
    _add_probes(app, health, exposition)
    return app


def create_probe_app(*, health: Callable[[], Health], exposition: Callable[[], bytes]) -> FastAPI:
    """Health and metrics alone, for a port of their own."""
    app = FastAPI(title="vectord", docs_url=None, redoc_url=None, openapi_url=None)
    _add_probes(app, health, exposition)
    return app


def _add_probes(app: FastAPI, health: Callable[[], Health], exposition: Callable[[], bytes]) -> None:

    @app.get("/health")
    def get_health(response: Response) -> dict[str, object]:
        """200 while every stage runs and gets on; 503 with the reason otherwise."""
        now = health()
        response.status_code = 200 if now.healthy else 503
        return asdict(now)

    @app.get("/ready")
    def get_ready(response: Response) -> dict[str, object]:
        """200 when the model is warm and the daemon takes work."""
        now = health()
        response.status_code = 200 if now.ready else 503
        return {"ready": now.ready, "status": now.status}

    @app.get("/metrics")
    def get_metrics() -> Response:
        """The metrics in Prometheus' text format."""
        return Response(exposition(), media_type=EXPOSITION)
