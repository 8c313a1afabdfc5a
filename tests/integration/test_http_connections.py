"""What connections may cost: so many, so long and so large a head; and what may take its time all the same."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPResponse
from threading import Event
from time import monotonic

import pytest
import requests
import structlog

from daemon.api import connections
from daemon.api.app import Probes, create_probe_app
from daemon.api.server import HttpServer
from tests.front import FORM, FORM_END, Subject, connect, make_app, serving, upload_head

TIMEOUT = 60.0
ASK = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
BEGUN = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"POST /retry HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
PATIENCE = 64 * 1024 * 1024
"""More bytes than the buffers of both ends hold."""


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with serving(make_app(Subject())) as server:
        yield server


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch, server: HttpServer) -> HttpServer:
    """A server that waits for a head for less time than two events are apart."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    return server


def answer(caller: socket.socket) -> int:
    """The status of the next answer, once all of that is there; 0 where the connection ends instead."""
    response = HTTPResponse(caller)
    with closing(response), suppress(ConnectionError):
        response.begin()
        response.read()
        return response.status
    return 0


def ask(caller: socket.socket) -> int:
    with suppress(ConnectionError):
        caller.sendall(ASK)
    return answer(caller)


def send(caller: socket.socket, what: bytes, times: int) -> None:
    for _ in range(times):
        caller.sendall(what)


def let_in(server: HttpServer) -> bool:
    with connect(server, TIMEOUT) as caller:
        return ask(caller) != 0


def let_events_pass(server: HttpServer) -> None:
    """A second or so, by the server's own clock, over a connection that is longer open than any head may take."""
    with requests.get(server.address + "/events", stream=True, timeout=TIMEOUT) as events:
        seen = 0
        for line in events.iter_lines():
            seen += line.startswith(b"event: ")
            if seen == 3:
                return


def test_there_are_so_many_connections_and_the_next_is_closed_at_once() -> None:
    with (
        structlog.testing.capture_logs() as logs,
        serving(make_app(Subject()), most_open=4) as server,
        ExitStack() as stack,
    ):
        held = [stack.enter_context(connect(server, TIMEOUT)) for _ in range(4)]
        assert [ask(caller) for caller in held] == [200] * 4
        assert [let_in(server) for _ in range(20)] == [False] * 20
        assert ask(held[0]) == 200
        held.pop().close()
        until = monotonic() + TIMEOUT
        while not let_in(server):  # The server may hear of the newcomer before it hears of who left.
            assert monotonic() < until
    assert [line["event"] for line in logs].count("http.crowded") == 1


@pytest.mark.parametrize("begun", [b"", b"GET /hea", BEGUN + b"X-Slow: "])
def test_a_head_that_does_not_come_ends_the_connection(hasty: HttpServer, begun: bytes) -> None:
    with connect(hasty, TIMEOUT) as caller:
        caller.sendall(begun)
        assert answer(caller) == 0


@pytest.mark.parametrize("begun", [b"\r\n", BEGUN])
def test_so_does_the_next_head_that_does_not(hasty: HttpServer, begun: bytes) -> None:
    with connect(hasty, TIMEOUT) as caller:
        assert ask(caller) == 200
        caller.sendall(begun)
        assert answer(caller) == 0


def test_so_does_a_body_that_nobody_asked_for(hasty: HttpServer) -> None:
    probes = create_probe_app(Probes(health=lambda: Subject().health, exposition=bytes))
    with serving(probes) as server, connect(server, TIMEOUT) as caller:
        caller.sendall(BEGUN + b"Content-Length: 1000\r\n\r\n")
        assert answer(caller) == 200
        caller.sendall(b"x")
        assert answer(caller) == 0


def test_what_is_slow_behind_its_head_may_take_its_time(hasty: HttpServer) -> None:
    body = FORM + b"picture" + FORM_END
    with connect(hasty, TIMEOUT) as upload, connect(hasty, TIMEOUT) as pausing:
        upload.sendall(upload_head(len(body)) + body[:10])
        assert ask(pausing) == 200
        let_events_pass(hasty)
        upload.sendall(body[10:])
        assert answer(upload) == 503
        assert ask(pausing) == 200


def test_an_answer_is_not_cut_off_by_the_head_of_the_next_request(hasty: HttpServer) -> None:
    with connect(hasty, TIMEOUT) as caller:
        caller.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n" + BEGUN)
        let_events_pass(hasty)
        assert caller.recv(65536).startswith(b"HTTP/1.1 200 OK")
        assert b"event: snapshot" in caller.recv(65536)


@pytest.mark.parametrize(
    ("begun", "more"),
    [
        (BEGUN, b"X-Header: value\r\n" * 4000),
        (BEGUN + b"X-Header: ", b"a" * 65536),
        (b"GET /", b"a" * 65536),
        (CHUNKED, b"X-Trailer: value\r\n" * 4000),
        (CHUNKED + b"X-Trailer: ", b"a" * 65536),
        (ASK, b"\r\n" * 32768),
    ],
    ids=["headers", "a header", "a path", "trailers", "a trailer", "empty lines"],
)
def test_a_head_without_end_is_cut_off(server: HttpServer, begun: bytes, more: bytes) -> None:
    with connect(server, TIMEOUT) as caller:
        caller.sendall(begun)
        with pytest.raises(ConnectionError):
            send(caller, more, PATIENCE // len(more))


@pytest.mark.parametrize("path", [b"/docs/static/swagger-ui-bundle.js", b"/openapi.json"], ids=["larger", "smaller"])
def test_who_reads_no_answer_makes_room_for_others(monkeypatch: pytest.MonkeyPatch, path: bytes) -> None:
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.3)
    with serving(make_app(Subject()), most_open=1) as server:
        server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with connect(server, TIMEOUT, receive_buffer=4096) as caller:
            caller.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            until = monotonic() + TIMEOUT
            while not let_in(server):
                assert monotonic() < until


def test_who_reads_slowly_gets_all_of_it(monkeypatch: pytest.MonkeyPatch, server: HttpServer) -> None:
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 2.0)
    server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    whole = requests.get(server.address + "/openapi.json", timeout=TIMEOUT).content
    pause, read = Event(), b""
    with connect(server, TIMEOUT, receive_buffer=4096) as caller:
        caller.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while piece := caller.recv(4096):
            read += piece
            pause.wait(0.3)
    assert read.endswith(whole)


def test_a_head_may_be_large(server: HttpServer) -> None:
    with connect(server, TIMEOUT) as caller:
        caller.sendall(BEGUN + b"X-Header: " + b"a" * 60_000 + b"\r\n\r\n")
        assert answer(caller) == 200


def test_requests_may_come_before_the_answers_to_those_before_them_but_not_without_end(server: HttpServer) -> None:
    with connect(server, TIMEOUT) as caller:
        caller.sendall(ASK * 50)
        read = b""
        while read.count(b"HTTP/1.1 200 OK") < 50:
            read += caller.recv(65536)
    with connect(server, TIMEOUT) as caller:
        with suppress(ConnectionError):
            caller.sendall(ASK * 2000)
        assert answer(caller) == 0
    assert let_in(server)
