"""Something between a client and PostgreSQL that can fail in the ways that networks and poolers do."""

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from threading import Condition, Thread
from typing import Self

import psycopg2.extensions

NOTIFICATION = b"A"
"""The type of NotificationResponse. Source: PostgreSQL manual, 54.7, message formats."""


class Proxy:
    """Forwards TCP connections on 127.0.0.1 to the PostgreSQL of `dsn`, which listens on a Unix socket.

    `hole()`: connections stay open and nothing goes through any more. `cut()`: they break. `deafen()`: nothing but
    notifications is lost, as through a pooler in transaction mode. `mend()`: all is well for what comes from now on.
    """

    def __init__(self, dsn: str, port: int = 0) -> None:
        self._parts = psycopg2.extensions.parse_dsn(dsn)
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listening.getsockname()[1]
        self._changed = Condition()
        self._holed = False
        self._deaf = False
        self._closed = False
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
            self._wait_while_holed()
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

    def _forward_messages(self, source: socket.socket, target: socket.socket) -> None:
        """Message by message: one byte of type, four of length, which counts itself."""
        with source.makefile("rb") as reader:
            while len(head := reader.read(5)) == 5:
                body = reader.read(struct.unpack(">I", head[1:])[0] - 4)
                self._wait_while_holed()
                if not (self._deaf and head[:1] == NOTIFICATION):
                    target.sendall(head + body)
        target.shutdown(socket.SHUT_WR)

    def _wait_while_holed(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._holed)
