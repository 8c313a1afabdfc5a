"""Around every request: its number, its time, what is told of it, and the headers of its answer."""

import re
from collections.abc import Callable
from time import monotonic
from uuid import uuid4

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.events import Answered

REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
"""What is taken over from a caller's X-Request-ID: nothing that could break a log line."""
UNKNOWN_ROUTE = "unknown"
"""For paths that are none of ours: their number has no bound, and a label's must have one."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class Record:
    """The outermost middleware. A route may set headers of its own over these."""

    def __init__(self, app: ASGIApp, *, emit: Callable[[Answered], None]) -> None:
        self._app = app
        self._emit = emit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, began, status = _request_id(scope), monotonic(), 499
        body = _Body(scope, receive)
        scope.setdefault("state", {})["request"] = request

        async def send_recorded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request
                if not body.complete:
                    headers["Connection"] = "close"  # Or whoever goes on sending would be listened to for ever.
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            with structlog.contextvars.bound_contextvars(request=request):
                await self._app(scope, body.receive, send_recorded)
        finally:
            self._emit(
                Answered(
                    method=scope["method"],
                    route=_route(scope),
                    status=status,
                    seconds=monotonic() - began,
                    request=request,
                )
            )


class _Body:
    """A request's body as it comes in: whether all of it has."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = dict(scope["headers"])
        self.complete = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
        self._receive = receive

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self.complete = True
        return message


def _request_id(scope: Scope) -> str:
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if REQUEST_ID.fullmatch(given) else uuid4().hex


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
