"""uvicorn on a thread of the daemon."""

import errno
import socket
from contextlib import ExitStack
from threading import Thread

import uvicorn
from fastapi import FastAPI

from daemon.api.bounds import BACKLOG, MOST_PROBING
from daemon.api.connections import bounded
from daemon.errors import AddressError, ConfigurationError

STOP_SECONDS = 5.0
MAY_PASS = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL})
"""Another program ends, or the network comes up."""
KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}
"""Seconds of silence before the first probe, between probes, and how many go unanswered."""


class HttpServer:
    """Serves an application until stopped. The port is bound at once, so that a port in use is a clear error."""

    def __init__(
        self, app: FastAPI, *, host: str, port: int, key: str = "http.port", most_open: int = MOST_PROBING
    ) -> None:
        """Raises `ConfigurationError` and `AddressError`; `key` is the one that says the port.

        `most_open`: connections at a time.
        """
        self._socket = listen(host, port, key)
        config = uvicorn.Config(
            app,
            http=bounded(most_open),
            ws="none",
            backlog=BACKLOG,
            log_config=None,
            log_level="error",  # Its warnings tell of what strangers send, a line for each.
            access_log=False,
            timeout_graceful_shutdown=int(STOP_SECONDS),
            lifespan="off",
        )
        self._server = uvicorn.Server(config)
        self._thread = Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="vectord-http", daemon=True
        )

    @property
    def address(self) -> str:
        """Where it listens: with port 0 the system has chosen one."""
        host, port = self._socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS + 1)
        if not self._thread.is_alive():  # Where the machine is slower than that, uvicorn closes it a little later.
            self._socket.close()


def listen(host: str, port: int, key: str = "http.port") -> socket.socket:
    """Raises `ConfigurationError` where that can never be done, and `AddressError` where it may be another time."""
    try:
        return _listening(host, port)
    except OSError as error:
        kind = AddressError if error.errno in MAY_PASS else ConfigurationError
        raise kind(
            f"http.host, {key}: cannot listen on {host}:{port}: {error.strerror}; set them to what is free"
        ) from error


def _listening(host: str, port: int) -> socket.socket:
    with ExitStack() as opened:
        made = opened.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections take it over. asyncio sets it only where the protocol was named, and without it a body waits for
        # the client's delayed ACK of the headers: 40 ms.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A caller whose machine vanished is noticed: what it asked for is withdrawn, and its connection closed.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            made.setsockopt(socket.IPPROTO_TCP, option, value)
        made.bind((host, port))
        # From here on, who connects waits until the application is there.
        made.listen(BACKLOG)
        opened.pop_all()
        return made
