"""Servers for tests, good and hostile: each connection is answered by a function of raw bytes on a socket."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

Answer = Callable[["Request"], None]


@dataclass(slots=True, kw_only=True)
class Request:
    """A request that arrived, and the socket to answer on. `stop` is set when the server closes."""

    line: str
    headers: dict[str, str]
    socket: socket.socket
    stop: threading.Event
    over: Callable[[], None]
    """Called when a whole answer begins: once it has arrived, whoever asked may ask for the next thing."""

    @property
    def path(self) -> str:
        return self.line.split()[1]

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self, status: int = 200, body: bytes = b"", **headers: str | int) -> None:
        """A whole answer with its length; a header `content_length` given here wins."""
        given = {name.replace("_", "-").title(): str(value) for name, value in headers.items()}
        given = {"Content-Length": str(len(body))} | given
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        self.over()
        self.send(f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode() + body)

    def drip(self, data: bytes, pause: float) -> None:
        """One byte after another, until the server closes."""
        for at in range(len(data)):
            self.send(data[at : at + 1])
            if self.stop.wait(pause):
                return


@dataclass(slots=True)
class Server:
    """A listening server. `paths`: answers by path; "*" for all others."""

    paths: dict[str, Answer]
    listener: socket.socket
    context: ssl.SSLContext | None = None
    seen: list[Request] = field(default_factory=list)
    connections: int = 0
    most_at_once: int = 0
    """Requests that were not answered yet."""
    stop: threading.Event = field(default_factory=threading.Event)
    _now: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def url(self) -> str:
        scheme = "https" if self.context is not None else "http"
        return f"{scheme}://127.0.0.1:{self.port}"

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                end, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(end,), daemon=True).start()

    def _serve(self, end: socket.socket) -> None:
        with ExitStack() as stack:
            stack.enter_context(suppress(OSError, ValueError))
            stack.enter_context(end)
            if self.context is not None:
                end = stack.enter_context(self.context.wrap_socket(end, server_side=True))
            reader = stack.enter_context(end.makefile("rb"))
            while not self.stop.is_set() and (line := reader.readline()):
                fields = iter(lambda: reader.readline().decode("latin-1").strip(), "")
                headers = {name.lower(): value.strip() for name, _, value in (item.partition(":") for item in fields)}
                self._answer(line.decode("latin-1"), headers, end)

    def _answer(self, line: str, headers: dict[str, str], end: socket.socket) -> None:
        with self._lock:
            number = len(self.seen)
            request = Request(
                line=line, headers=headers, socket=end, stop=self.stop, over=lambda: self._now.discard(number)
            )
            self.seen.append(request)
            self._now.add(number)
            self.most_at_once = max(self.most_at_once, len(self._now))
        try:
            self.paths.get(request.path, self.paths.get("*", lambda found: found.reply(404)))(request)
        finally:
            request.over()


@contextmanager
def serve(paths: dict[str, Answer], *, certificate: Path | None = None, host: str = "127.0.0.1") -> Iterator[Server]:
    """A server for as long as the block lasts, under TLS where a certificate (with its key) is given."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    with socket.create_server((host, 0)) as listener:
        server = Server(paths, listener, context)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.stop.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def body(data: bytes) -> Answer:
    """An answer with this body."""
    return lambda request: request.reply(body=data)


def status(code: int, **headers: str | int) -> Answer:
    """An answer with this status and no body."""
    return lambda request: request.reply(code, b"", **headers)


def redirect(location: str, code: int = 302) -> Answer:
    """A redirect."""
    return status(code, location=location)
