"""Around every request: its number, its time, what is told of it, and the headers of its answer."""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
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

ENDLESS = "text/event-stream"
"""An answer of this type lasts as long as somebody listens, so its time is that to its beginning."""

MOST_UNREAD = 16 * 1024 * 1024
"""Bytes of a body that the application left, and that are read all the same."""
UNREAD_SECONDS = 2.0
"""So long may they take to come."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
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
        ended: float | None = None
        body = _Body(scope, receive)
        scope.setdefault("state", {})["request"] = request

        async def send_recorded(message: Message) -> None:
            nonlocal status, ended
            if message["type"] == "http.response.start":
                await body.finish()
                status = message["status"]
                headers = MutableHeaders(scope=message)
                if headers.get("Content-Type", "").startswith(ENDLESS):
                    ended = monotonic()
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
                    seconds=(ended or monotonic()) - began,
                    request=request,
                )
            )


class _Body:
    """A request's body as it comes in: whether all of it has."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        self.complete = length == b"0" and b"transfer-encoding" not in headers
        self._is_coming = b"expect" not in headers and (not length.isdigit() or int(length) <= MOST_UNREAD)
        self._receive = receive

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self.complete = True
        return message

    async def finish(self) -> None:
        """Reads what is left, if that is little: a connection closed over unread bytes is reset, and with it goes the
        answer that its other end has not read yet.
        """
        if self.complete or not self._is_coming:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(UNREAD_SECONDS):
                await self._read(MOST_UNREAD)

    async def _read(self, most: int) -> None:
        while not self.complete and most > 0:
            message = await self.receive()
            if message["type"] != "http.request":
                return
            most -= len(message.get("body", b""))


def _request_id(scope: Scope) -> str:
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if REQUEST_ID.fullmatch(given) else uuid4().hex


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
