"""How large a request may be, how long its body may take to come, and how many uploads there is room for.

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
LARGEST_UPLOADS = 32
"""Of the largest uploads that there may be, so many at a time: a gigabyte where `fetch.max_bytes` is as by default."""
SMALL_UPLOADS = 32
"""Of small ones, so many in the room of a large one."""
RETRY_SECONDS = 1


class BodyLimit:
    """A middleware that answers 413 and 408, and 429 to uploads without room for them. `max_upload` bytes for a picture
    (`fetch.max_bytes`), far less for all else.
    """

    def __init__(self, app: ASGIApp, *, max_upload: int) -> None:
        self._app = app
        self._most_upload = max_upload + FORM_OVERHEAD
        self._room = Room(self._most_upload)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_upload = scope["path"] in UPLOADS
        most = self._most_upload if is_upload else MOST_JSON
        size = _declared(scope)
        if size is not None and size > most:
            await _too_large(most).response()(scope, receive, send)
        elif is_upload and size != 0:
            await self._upload(most if size is None else size, scope, _bounded(receive, most), send)
        else:
            await self._app(scope, _bounded(receive, most), send)

    async def _upload(self, size: int, scope: Scope, receive: Receive, send: Send) -> None:
        """With room for it until it is answered: what came of it is kept for as long."""
        if not self._room.take(size):
            await _no_room().response()(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._room.give_back(size)


class Room:
    """What bounds the memory that uploads take, in bytes: `LARGEST_UPLOADS` of the `largest` size, or more
    of smaller ones. For one event loop.
    """

    def __init__(self, largest: int) -> None:
        self._least = largest // SMALL_UPLOADS
        self._left = LARGEST_UPLOADS * largest

    def take(self, size: int) -> bool:
        """Whether there is room for so many bytes, which are then taken."""
        size = max(size, self._least)
        if size > self._left:
            return False
        self._left -= size
        return True

    def give_back(self, size: int) -> None:
        self._left += max(size, self._least)


def _declared(scope: Scope) -> int | None:
    """The bytes of its body, as the request says; None where it says nothing and has one."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return None
    text = headers.get(b"content-length", b"0")
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


def _no_room() -> Problem:
    return Problem(429, "too_busy", "too many uploads are under way already", retry_after=RETRY_SECONDS)


def _too_late() -> Problem:
    return Problem(408, "body_timeout", f"the request's body had not come within {BODY_SECONDS:.0f} s")
