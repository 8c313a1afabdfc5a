"""How large a request may be, and how long its body may take to come.

Both are counted while it comes in, so that neither a lying or missing Content-Length gains anything, nor a caller who
vanished in the middle keeps the place that waits for the rest.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.api.problems import Problem

MOST_JSON = 1024 * 1024
"""Bytes of a body that is no upload: ten thousand ids of a hundred characters."""
FORM_OVERHEAD = 64 * 1024
"""What a multipart form has around its one file."""
UPLOADS = frozenset({"/extract/upload", "/similar"})
BODY_SECONDS = 60.0
"""From the moment when somebody begins to read it: `fetch.max_bytes` as it is by default, at 5 Mbit/s."""


class BodyLimit:
    """A middleware that answers 413 and 408. `max_upload` bytes for a picture (`fetch.max_bytes`), far less for all
    else.
    """

    def __init__(self, app: ASGIApp, *, max_upload: int) -> None:
        self._app = app
        self._max_upload = max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._max_upload + FORM_OVERHEAD if scope["path"] in UPLOADS else MOST_JSON
        if _declared(scope) > most:
            await _too_large(most).response()(scope, receive, send)
            return
        await self._app(scope, _bounded(receive, most), send)


def _declared(scope: Scope) -> int:
    text = dict(scope["headers"]).get(b"content-length", b"0")
    return int(text) if text.isdigit() else 0


def _bounded(receive: Receive, most: int) -> Receive:
    received = 0
    until: float | None = None
    complete = False

    async def bounded() -> Message:
        nonlocal received, until, complete
        until = until or asyncio.get_running_loop().time() + BODY_SECONDS
        try:
            # After the body comes the caller's leaving, which may take as long as it likes.
            async with asyncio.timeout_at(None if complete else until):
                message = await receive()
        except TimeoutError:
            raise _too_late() from None
        complete = not message.get("more_body", False)
        received += len(message.get("body", b""))
        if received > most:
            raise _too_large(most)
        return message

    return bounded


def _too_large(most: int) -> Problem:
    return Problem(413, "too_large", f"a request of this kind may have {most} bytes (fetch.max_bytes for pictures)")


def _too_late() -> Problem:
    return Problem(408, "body_timeout", f"the request's body had not come within {BODY_SECONDS:.0f} s")
