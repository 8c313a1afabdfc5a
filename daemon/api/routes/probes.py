"""Health, readiness and metrics: open to all, and by any name."""

from collections.abc import Callable
from dataclasses import asdict

from fastapi import APIRouter, Response

from daemon.api.models import HealthAnswer, ReadyAnswer
from daemon.health import Health

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


def probe_routes(health: Callable[[], Health], exposition: Callable[[], bytes]) -> APIRouter:
    """`/health`, `/ready` and `/metrics`."""
    router = APIRouter(tags=["probes"])

    @router.get(
        "/health", responses={503: {"model": HealthAnswer, "description": "It is not well; the answer says why."}}
    )
    def get_health(response: Response) -> HealthAnswer:
        """200 while every stage runs and gets on; 503 with the reason otherwise."""
        now = health()
        response.status_code = 200 if now.healthy else 503
        return HealthAnswer(**asdict(now))

    @router.get("/ready", responses={503: {"model": ReadyAnswer, "description": "It takes no work now."}})
    def get_ready(response: Response) -> ReadyAnswer:
        """200 when the model is warm and the daemon takes work."""
        now = health()
        response.status_code = 200 if now.ready else 503
        return ReadyAnswer(ready=now.ready, status=now.status)

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def get_metrics() -> Response:
        """The metrics in Prometheus' text format."""
        return Response(exposition(), media_type=EXPOSITION)

    return router
