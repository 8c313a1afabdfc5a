"""What a connection may cost before anybody knows whose it is: how many there are, how long and large a head may be.

uvicorn bounds none of it, and whoever reaches the port could use up open files and memory, without a token.
"""

import asyncio

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""For a request's head, from the connection's beginning or from its first byte. Between two requests, uvicorn's
`timeout_keep_alive` holds."""
MOST_HEAD = 64 * 1024
"""Bytes of a head, and of the trailers after a body in chunks. One read more, 256 KiB, may come before they count."""
MOST_PIPELINED = 100
"""Requests that wait for the answer to the one before them. Each costs memory as soon as it is read."""
UNREAD_SECONDS = 60.0
"""In which some of an answer must be read. Closing a connection waits for the rest of it, for ever."""
SILENT_SECONDS = 60.0
"""Between two lines in the log about connections refused."""

_log = structlog.get_logger("vectord.http")


class CrowdedError(Exception):
    """Too many requests at once over one connection. The parser stops at it."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with bounds. `bounded` says how many there may be."""

    most_open: int
    silent_until = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self._in_head = True
        self._unheard = 0
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        if len(self.connections) > self.most_open:
            self._tell_of_crowd()
            transport.abort()
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        self._is_read()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head or not self._is_at_work():
            # Whatever comes, an empty line or what is left of a body, ends uvicorn's time for the next request.
            self._expect_head()
        self._unheard += len(data)
        super().data_received(data)
        if self._unheard > MOST_HEAD:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._expect_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._unheard = 0
        self._expect_nothing()
        super().on_headers_complete()
        if len(self.pipeline) > MOST_PIPELINED:
            self.transport.abort()
            raise CrowdedError

    def on_body(self, body: bytes) -> None:
        self._unheard = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        self._unheard = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def _is_at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def _expect_nothing(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._late = None
        if self._is_at_work():
            # The head of the next request, and reading may be paused for this one's sake.
            self._expect_head()
        else:
            self.transport.close()

    def _expect_reading(self) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread and self._unread is None:
            self._unread = self.loop.call_later(UNREAD_SECONDS, self._look_at_reading, unread)

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _look_at_reading(self, before: int) -> None:
        self._unread = None
        if self.transport.get_write_buffer_size() < before:
            self._expect_reading()
        else:
            self.transport.abort()

    def _tell_of_crowd(self) -> None:
        kind, now = type(self), self.loop.time()
        if now >= kind.silent_until:
            kind.silent_until = now + SILENT_SECONDS
            _log.warning("http.crowded", most_open=self.most_open)


def bounded(number: int) -> type[Connection]:
    """The protocol of a server with so many connections at a time; the next one is closed at once."""

    class Bounded(Connection):
        most_open = number

    return Bounded
