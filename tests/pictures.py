"""Pictures over real HTTP on loopback, each test deciding what lies where."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Event, Thread
from typing import Any

import numpy as np
from PIL import Image

HOLD_SECONDS = 60.0


def picture(seed: int, size: tuple[int, int] = (64, 48)) -> bytes:
    """A small JPEG, another one for each seed."""
    colours = np.random.default_rng(seed).integers(0, 255, (3, 4, 3), dtype=np.uint8)
    out = BytesIO()
    Image.fromarray(colours).resize(size, Image.Resampling.BILINEAR).save(out, "JPEG", quality=90)
    return out.getvalue()


class Web:
    """Serves what lies in `files` by path, whatever the query; the rest is 404. Counts what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.held: dict[str, Event] = {}
        self.free = Event()
        self.free.set()
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                web.asked[self.path] += 1
                web.held.get(self.path, web.free).wait(HOLD_SECONDS)
                body = web.files.get(self.path.partition("?")[0])
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                # A daemon that is killed while it reads is part of the tests.
                with suppress(ConnectionError):
                    self.wfile.write(body or b"")

            def log_message(self, *arguments: Any) -> None:
                """Tests must not print."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            # The usual five are too few for a loader's threads on a busy machine: connections would time out.
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, path: str, body: bytes) -> str:
        """Puts a file there; gives its URL."""
        self.files[path] = body
        return self.base + path

    @contextmanager
    def holding(self, path: str, body: bytes) -> Iterator[str]:
        """Puts a file there whose answer waits until the end of this; gives its URL."""
        self.held[path] = Event()
        try:
            yield self.add(path, body)
        finally:
            self.held.pop(path).set()

    @contextmanager
    def holding_all(self) -> Iterator[None]:
        """No answer is given before the end of this, but those that `holding` lets go."""
        self.free.clear()
        try:
            yield
        finally:
            self.free.set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def serving() -> Iterator[Web]:
    """A web that is up while this lasts."""
    web = Web()
    web.start()
    try:
        yield web
    finally:
        web.stop()
