"""Serves a folder over loopback HTTP for the benchmarks; prints its port. One thread for each connection.

Arguments: the folder, and seconds to wait before each answer (none unless given), as a slow source would.
"""

import io
import socket
import sys
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(SimpleHTTPRequestHandler):
    """Keeps connections, says nothing, and has the kernel send the files, as static servers do."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, *args: Any, pause: float, **kwargs: Any) -> None:
        self._pause = pause
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        if self._pause:
            time.sleep(self._pause)
        super().do_GET()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        if isinstance(source, io.BufferedReader) and isinstance(self.connection, socket.socket):
            self.connection.sendfile(source)
        else:
            super().copyfile(source, outputfile)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """With room for contenders that open a connection for each picture."""

    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    pause = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    server = Server(("127.0.0.1", 0), partial(Handler, directory=sys.argv[1], pause=pause))
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
