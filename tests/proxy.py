"""Something between a client and PostgreSQL that can fail in the ways that networks and poolers do."""

import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Condition, Lock, Thread
from typing import Self

import psycopg2.extensions

NOTIFICATION = b"A"
"""The type of NotificationResponse. Source: PostgreSQL manual, 54.7, message formats."""


class Proxy:
    """Forwards TCP connections on 127.0.0.1 to the PostgreSQL of `dsn`, which listens on a Unix socket.

    `hole()`: connections stay open and nothing goes through any more. `cut()`: they break. `deafen()`: nothing but
    notifications is lost, as through a pooler in transaction mode. `mend()`: all is well for what comes from now on.
    `abandon()`: connections that are open now stay so, and nothing goes through them ever again; new ones are well.
    """

    def __init__(self, dsn: str, port: int = 0) -> None:
        self._parts = psycopg2.extensions.parse_dsn(dsn)
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listening.getsockname()[1]
        self._changed = Condition()
        self._holed = False
        self._deaf = False
        self._closed = False
        self._abandoned: set[socket.socket] = set()
        self._sockets: list[socket.socket] = []
        self._threads: list[Thread] = []

    @property
    def dsn(self) -> str:
        plain = {"sslmode": "disable", "gssencmode": "disable"}
        return str(psycopg2.extensions.make_dsn(**self._parts | {"host": "127.0.0.1", "port": self.port} | plain))

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        # Closing alone does not wake an accept that waits in another thread.
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def hole(self) -> None:
        self._set(holed=True, deaf=self._deaf)

    def deafen(self) -> None:
        self._set(holed=False, deaf=True)

    def mend(self) -> None:
        self._set(holed=False, deaf=False)

    def abandon(self) -> None:
        with self._changed:
            self._abandoned |= set(self._sockets)

    def cut(self) -> None:
        with self._changed:
            sockets, self._sockets = self._sockets, []
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _set(self, *, holed: bool, deaf: bool) -> None:
        with self._changed:
            self._holed, self._deaf = holed, deaf
            self._changed.notify_all()

    def _run(self, target: Callable[..., None], *arguments: object) -> None:
        thread = Thread(target=self._quietly, args=(target, *arguments), daemon=True)
        with self._changed:
            self._threads.append(thread)
        thread.start()

    @staticmethod
    def _quietly(target: Callable[..., None], *arguments: object) -> None:
        with suppress(OSError):
            target(*arguments)

    def _accept(self) -> None:
        while not self._closed:
            client, _ = self._listening.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{self._parts['host']}/.s.PGSQL.{self._parts.get('port', 5432)}")
            with self._changed:
                self._sockets += [client, server]
            self._run(self._forward, client, server)
            self._run(self._forward_messages, server, client)

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        while data := source.recv(65536):
            self._wait_while_holed(source)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

    def _forward_messages(self, source: socket.socket, target: socket.socket) -> None:
        """Message by message: one byte of type, four of length, which counts itself."""
        with source.makefile("rb") as reader:
            while len(head := reader.read(5)) == 5:
                body = reader.read(struct.unpack(">I", head[1:])[0] - 4)
                self._wait_while_holed(source)
                if not (self._deaf and head[:1] == NOTIFICATION):
                    target.sendall(head + body)
        target.shutdown(socket.SHUT_WR)

    def _wait_while_holed(self, source: socket.socket) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not (self._holed or source in self._abandoned))


class Pooler:
    """As PgBouncer in transaction mode: one connection to PostgreSQL, which is whose that asks something just now.

    A notification that arrives while a client is being answered goes to that client, whoever listened; any other is
    dropped. Source: what PgBouncer 1.18 was seen to do.
    """

    def __init__(self, dsn: str) -> None:
        parts = psycopg2.extensions.parse_dsn(dsn)
        self._listening = socket.create_server(("127.0.0.1", 0))
        plain = {"sslmode": "disable", "gssencmode": "disable"}
        self.dsn = str(
            psycopg2.extensions.make_dsn(
                **parts | {"host": "127.0.0.1", "port": self._listening.getsockname()[1]} | plain
            )
        )
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}")
        startup = f"user\0{parts['user']}\0database\0{parts['dbname']}\0\0".encode()
        self._server.sendall(struct.pack(">II", len(startup) + 8, 196608) + startup)
        self._greeting = b"".join(self._answer())
        self._asking = Lock()
        self._clients: list[socket.socket] = []
        self._threads: list[Thread] = []

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listening, *self._clients, self._server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(5)

    def _run(self, target: Callable[..., None], *arguments: object) -> None:
        thread = Thread(target=Proxy._quietly, args=(target, *arguments), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            self._clients.append(client)
            self._run(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        _exactly(client, struct.unpack(">I", _exactly(client, 4))[0] - 4)
        client.sendall(self._greeting)
        while (message := _message(client))[:1] == b"Q":
            with self._asking:
                while select.select([self._server], [], [], 0)[0]:
                    _message(self._server)
                self._server.sendall(message)
                for part in self._answer():
                    client.sendall(part)
        client.close()

    def _answer(self) -> Iterator[bytes]:
        """What the server says up to and with ReadyForQuery."""
        kind = b""
        while kind != b"Z":
            message = _message(self._server)
            kind = message[:1]
            yield message


def _message(source: socket.socket) -> bytes:
    head = _exactly(source, 5)
    return head + _exactly(source, struct.unpack(">I", head[1:])[0] - 4)


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (more := source.recv(size - len(data))):
            raise OSError("closed")
        data += more
    return data
