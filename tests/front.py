"""The API without a daemon behind it: real sockets, and a health that the test decides."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from fastapi import FastAPI

from daemon.api.access import Token
from daemon.api.app import Access, Probes, create_app
from daemon.api.feed import Feed
from daemon.api.line import Line
from daemon.api.server import HttpServer
from daemon.api.services import House
from daemon.clock import SystemClock
from daemon.events import Answered
from daemon.health import Health, State
from daemon.telemetry.history import History
from daemon.telemetry.overview import Overview

MOST_UPLOAD = 100_000
"""Bytes of a picture."""


class Subject:
    """A daemon whose health the test decides. Nobody leaves a place in its line unless the test lets go of it."""

    def __init__(self, *, places: int = 2) -> None:
        self.health = Health(healthy=True, ready=True, state=State.IDLE, status="idle", parts={"listener": "listening"})
        self.answered: SimpleQueue[Answered] = SimpleQueue()
        line, clock = Line(places=places, waiting=2), SystemClock()
        self.line = line
        self.house = House(line, Feed(Overview(History(clock), lambda: self.health, line, clock)))


def make_app(
    subject: Subject,
    *,
    token: Token | None = None,
    hosts: frozenset[str] | None = None,
    origins: tuple[str, ...] = (),
) -> FastAPI:
    """The whole API. Its work is answered 503, as while a daemon starts."""
    probes = Probes(health=lambda: subject.health, exposition=lambda: b"vectord_up 1.0\n")
    access = Access(token=token or Token(None), hosts=hosts, origins=origins, max_upload=MOST_UPLOAD)
    return create_app(probes, subject.house, access, emit=subject.answered.put)


@contextmanager
def serving(app: FastAPI, **options: Any) -> Iterator[HttpServer]:
    """A server on loopback for as long as the block lasts."""
    server = HttpServer(app, host="127.0.0.1", port=0, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def connect(server: HttpServer, timeout: float = 60.0, *, receive_buffer: int = 0) -> socket.socket:
    """A connection over which nothing has been said; its buffer, in bytes, as the system has it where none is given."""
    made = socket.socket()
    if receive_buffer:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    made.settimeout(timeout)
    made.connect(("127.0.0.1", int(server.address.rpartition(":")[2])))
    return made


FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
FORM_END = b"\r\n--b--\r\n"


def upload_head(length: int, path: str = "/extract/upload", more: Sequence[str] = ()) -> bytes:
    """What comes before the body of an upload whose parts are divided by "b"."""
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: multipart/form-data; boundary=b",
        f"Content-Length: {length}",
        *more,
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()
