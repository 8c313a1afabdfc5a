"""How the daemon is, for as long as somebody listens."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from daemon.api.access import Token
from daemon.api.feed import Feed
from daemon.api.problems import documented
from daemon.api.services import House

EVENT_STREAM = "text/event-stream"


class FeedResponse(StreamingResponse):
    """A seat at the feed, taken before the answer begins and given back however it ends."""

    def __init__(self, feed: Feed, admitted: Callable[[], bool]) -> None:
        # Proxies such as nginx would otherwise keep what comes until there is enough of it.
        super().__init__(feed.messages(admitted), media_type=EVENT_STREAM, headers={"X-Accel-Buffering": "no"})
        self._seat = ExitStack()
        self._seat.enter_context(feed.seat())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._seat:
            await super().__call__(scope, receive, send)


def event_routes(house: House, token: Token) -> APIRouter:
    """`/events`."""
    router = APIRouter(tags=["console"])

    @router.get(
        "/events",
        response_class=StreamingResponse,
        responses={
            200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}, "description": "Server-sent events."},
            **documented(429),
        },
    )
    async def get_events(request: Request) -> FeedResponse:
        """What the console shows: a `snapshot` each second, in JSON, until the daemon ends or the caller hangs up."""
        authorization = request.headers.get("Authorization", "").encode("latin-1")
        return FeedResponse(house.feed, partial(token.admits, authorization))

    return router
