"""signals and systemd: with real signals to oneself and a real notify socket."""

import os
import signal
import socket
from pathlib import Path
from threading import Semaphore

import pytest

from daemon.service.signals import StopRequest, stop_on_signals
from daemon.service.systemd import Notifier


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_asks_for_an_end(number: signal.Signals) -> None:
    request = StopRequest()
    before = signal.getsignal(number)
    with stop_on_signals(request.ask):
        assert not request.wait(0)
        os.kill(os.getpid(), number)
        assert request.wait(5)
    assert signal.getsignal(number) is before


def test_another_signal_is_nobodys_request() -> None:
    usual = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        asked = Semaphore(0)
        with stop_on_signals(asked.release):
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGTERM)
            assert asked.acquire(timeout=5)
        # Both signals were read before the thread that reads them ended.
        assert not asked.acquire(blocking=False)
    finally:
        signal.signal(signal.SIGUSR1, usual)


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(tmp_path: Path, *, abstract: bool) -> None:
    address = f"@vectord-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(5)
        listening.bind(address.replace("@", "\0") if abstract else address)
        notifier = Notifier({"NOTIFY_SOCKET": address})
        notifier.ready("model warm")
        notifier.status("working")
        notifier.stopping("draining")
        received = [listening.recv(200).decode() for _ in range(3)]
    assert received == ["READY=1\nSTATUS=model warm", "STATUS=working", "STOPPING=1\nSTATUS=draining"]


def test_without_systemd_nothing_is_told() -> None:
    Notifier({}).ready("nobody listens")
