"""A start that takes long, and somebody who wants the end of it: real processes, real signals, a real notify socket."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

import pytest

from tests.servers import Request, serve
from tests.whole import PATIENCE, ROOT

SOON = 30.0
"""Seconds that an end may take on a busy machine. The start would go on for minutes."""
TRICKLE = """
import sys
from daemon.engine import weights
weights.find_weights.__kwdefaults__["base_url"] = sys.argv.pop(1)
from daemon.cli import main
main()
"""
"""`run`, with the weights of another server."""
HANG = """
import sys, time
from daemon.engine import weights
weights.download = lambda *_: (print("hangs", file=sys.stderr, flush=True), time.sleep(600))
from daemon.cli import main
main()
"""
"""`run`, with a step that heeds nobody."""


class Start:
    """A daemon that is about to start, and what it tells systemd."""

    def __init__(self, process: "subprocess.Popen[str]", listening: socket.socket) -> None:
        self.process = process
        self._listening = listening

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def told(self) -> list[str]:
        """What it has told by now."""
        lines: list[str] = []
        try:
            while True:
                lines += self._listening.recv(4096, socket.MSG_DONTWAIT).decode().split("\n")
        except BlockingIOError:
            return lines

    def ends(self) -> int:
        """Its exit status. Fails unless that comes soon."""
        began = monotonic()
        self.process.communicate(timeout=PATIENCE)
        assert monotonic() - began < SOON
        return self.process.returncode


@contextmanager
def starting(code: str, environment: dict[str, str], tmp_path: Path, *arguments: str) -> Iterator[Start]:
    """Killed at the end if it still lives."""
    environment = environment | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "VECTORD_MODEL__WEIGHTS": "imagenet"}
    environment["VECTORD_DATABASE__STATE_DIR"] = str(tmp_path)
    command = [sys.executable, "-c", code, *arguments, "run"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(environment["NOTIFY_SOCKET"])
        with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield Start(process, listening)
            finally:
                process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_weights_that_trickle_in_are_not_waited_for_once_the_end_is_asked_for(
    small: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    asked = threading.Event()

    def trickle(request: Request) -> None:
        request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
        asked.set()
        with suppress(OSError):  # It hangs up in the end.
            request.drip(b"x" * 10_000, 0.2)

    with serve({"*": trickle}) as server, starting(TRICKLE, small, tmp_path, f"{server.url}/") as start:
        assert asked.wait(PATIENCE)
        start.tell(number)
        assert start.ends() == 0
        assert "READY=1" not in start.told()
        assert not list((tmp_path / "weights").iterdir())


def test_a_second_signal_ends_a_start_that_heeds_nobody(small: dict[str, str], tmp_path: Path) -> None:
    with starting(HANG, small, tmp_path) as start:
        assert start.process.stderr is not None
        assert any("hangs" in line for line in start.process.stderr)
        start.tell(signal.SIGTERM)
        while "STATUS=the start is given up" not in start.told():
            assert start.process.poll() is None
        start.tell(signal.SIGTERM)
        assert start.ends() == 0
