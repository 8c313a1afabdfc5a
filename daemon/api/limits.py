"""How large a request may be: counted while it comes in, so that a lying or missing Content-Length gains nothing."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.api.problems import Problem

MOST_JSON = 1024 * 1024
"""Bytes of a body that is no upload: ten thousand ids of a hundred characters."""
FORM_OVERHEAD = 64 * 1024
"""What a multipart form has around its one file."""
UPLOADS = frozenset({"/extract/upload", "/similar"})


class SizeLimit:
    """A middleware that answers 413. `max_upload` bytes for a picture (`fetch.max_bytes`), far less for all else."""

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
        await self._app(scope, _counting(receive, most), send)


def _declared(scope: Scope) -> int:
    text = dict(scope["headers"]).get(b"content-length", b"0")
    return int(text) if text.isdigit() else 0


def _counting(receive: Receive, most: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            raise _too_large(most)
        return message

    return counted


def _too_large(most: int) -> Problem:
    return Problem(413, "too_large", f"a request of this kind may have {most} bytes (fetch.max_bytes for pictures)")
