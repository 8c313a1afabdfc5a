"""Health, readiness and metrics: open to all, and by any name.

None of them waits for the threads that other routes may fill with slow questions to the database.
"""

from collections.abc import Callable
from dataclasses import asdict

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Response

from daemon.api.models import HealthAnswer, ReadyAnswer
from daemon.health import Health

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
SCRAPES = 2
"""At a time."""


def probe_routes(health: Callable[[], Health], exposition: Callable[[], bytes]) -> APIRouter:
    """`/health`, `/ready` and `/metrics`."""
    router, scrapes = APIRouter(tags=["probes"]), CapacityLimiter(SCRAPES)

    @router.get(
        "/health", responses={503: {"model": HealthAnswer, "description": "It is not well; the answer says why."}}
    )
    async def get_health(response: Response) -> HealthAnswer:
        """200 while every stage runs and gets on; 503 with the reason otherwise."""
        now = health()
        response.status_code = 200 if now.healthy else 503
        return HealthAnswer(**asdict(now))

    @router.get("/ready", responses={503: {"model": ReadyAnswer, "description": "It takes no work now."}})
    async def get_ready(response: Response) -> ReadyAnswer:
        """200 when the model is warm and the daemon takes work."""
        now = health()
        response.status_code = 200 if now.ready else 503
        return ReadyAnswer(ready=now.ready, status=now.status)

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def get_metrics() -> Response:
        """The metrics in Prometheus' text format."""
        return Response(await to_thread.run_sync(exposition, limiter=scrapes), media_type=EXPOSITION)

    return router
