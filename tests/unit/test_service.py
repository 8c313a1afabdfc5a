"""signals, systemd, its watchdog and its status: with real signals to oneself and a real notify socket."""

import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Event, Semaphore

import pytest
import structlog

from daemon.config import Settings
from daemon.errors import DatabaseUnavailableError
from daemon.health import Health, State
from daemon.service.reload import LIVE, compare, live_values
from daemon.service.signals import StopRequest, on_signals, stop_on_signals
from daemon.service.statusline import StatusLine
from daemon.service.systemd import Notifier, watchdog_seconds
from daemon.service.ticker import Ticker
from daemon.service.watchdog import Watchdog
from tests.clock import HandClock


def well(status: str = "idle", *, healthy: bool = True) -> Health:
    return Health(healthy=healthy, ready=healthy, state=State.IDLE, status=status, parts={})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_asks_for_an_end(number: signal.Signals) -> None:
    request = StopRequest()
    before = signal.getsignal(number)
    with stop_on_signals(request.ask):
        assert not request.wait(0)
        os.kill(os.getpid(), number)
        assert request.wait(60)
    assert signal.getsignal(number) is before


def test_another_signal_is_nobodys_request() -> None:
    usual = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        asked = Semaphore(0)
        with stop_on_signals(asked.release):
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGTERM)
            assert asked.acquire(timeout=60)
        # Both signals were read before the thread that reads them ended.
        assert not asked.acquire(blocking=False)
    finally:
        signal.signal(signal.SIGUSR1, usual)


def test_each_signal_makes_its_call() -> None:
    hung_up, ended = Event(), Event()
    with on_signals({signal.SIGHUP: hung_up.set, signal.SIGTERM: ended.set}):
        os.kill(os.getpid(), signal.SIGHUP)
        assert hung_up.wait(60)
        assert not ended.is_set()


def test_a_call_that_fails_keeps_no_other_from_being_made() -> None:
    ended = Event()

    def fail() -> None:
        raise ZeroDivisionError

    with on_signals({signal.SIGHUP: fail, signal.SIGTERM: ended.set}), structlog.testing.capture_logs() as told:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended.wait(60)
    assert [line["event"] for line in told] == ["signal.failed"]


def test_under_nohup_a_closed_terminal_changes_nothing() -> None:
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        hung_up, ended = Event(), Event()
        with on_signals({signal.SIGHUP: hung_up.set, signal.SIGTERM: ended.set}):
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            assert ended.wait(60)
        assert not hung_up.is_set()
    finally:
        signal.signal(signal.SIGHUP, usual)


@pytest.fixture(params=[False, True], ids=["path", "abstract"])
def listening(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Notifier, Callable[[], str]]]:
    """A notifier, and what reads the next datagram that it sends."""
    address = f"@vectord-test-{os.getpid()}" if request.param else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.settimeout(5)
        end.bind(address.replace("@", "\0") if request.param else address)
        yield Notifier({"NOTIFY_SOCKET": address}), lambda: end.recv(4096).decode()


def test_systemd_is_told(listening: tuple[Notifier, Callable[[], str]]) -> None:
    notifier, heard = listening
    notifier.ready("model warm")
    notifier.status("working")
    notifier.feed()
    notifier.extend(1.5)
    notifier.reloading()
    notifier.stopping("draining")
    received = [heard() for _ in range(6)]
    assert received[:4] == ["READY=1\nSTATUS=model warm", "STATUS=working", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=1500000"]
    assert received[4].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert received[5] == "STOPPING=1\nSTATUS=draining"


def test_a_status_cannot_say_anything_else(listening: tuple[Notifier, Callable[[], str]]) -> None:
    notifier, heard = listening
    notifier.status("two\nREADY=1 lines " + "x" * 5000)
    told = heard()
    assert told.startswith("STATUS=two READY=1 lines xx")
    assert len(told) < 500


def test_a_status_holds_no_secrets(listening: tuple[Notifier, Callable[[], str]]) -> None:
    notifier, heard = listening
    notifier.status("postgresql://vectord:topsecret@db/images is away")
    assert heard() == "STATUS=postgresql://***@db/images is away"


def test_without_systemd_nothing_is_told_and_nothing_fails(tmp_path: Path) -> None:
    Notifier({}).ready("nobody listens")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).feed()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "rubbish"}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, None),
    ],
)
def test_whether_a_watchdog_waits_for_us(environment: Mapping[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environment, pid=7) == seconds


def test_the_watchdog_starves_while_the_pipeline_is_sick_and_the_log_says_why(
    listening: tuple[Notifier, Callable[[], str]],
) -> None:
    notifier, heard = listening
    now = [well()]
    watchdog = Watchdog(notifier, lambda: now[0])
    watchdog()
    assert heard() == "WATCHDOG=1"
    now[0] = well("a stage has ended", healthy=False)
    with structlog.testing.capture_logs() as logs:
        watchdog()
        watchdog()
    assert [(line["event"], line["status"]) for line in logs] == [("watchdog.starved", "a stage has ended")]
    notifier.status("nothing was sent in between")
    assert heard() == "STATUS=nothing was sent in between"
    now[0] = well()
    watchdog()
    assert heard() == "WATCHDOG=1"


class Working:
    """A daemon that counts. `waiting` None: PostgreSQL is away."""

    def __init__(self) -> None:
        self.done = 0
        self.waiting: int | None = 0

    def health(self) -> Health:
        return well(f"working on {self.done} images")

    def settled(self) -> int:
        return self.done

    def backlog(self) -> int:
        if self.waiting is None:
            raise DatabaseUnavailableError("away")
        return self.waiting


def test_the_status_line_gives_backlog_and_rate_since_the_line_before() -> None:
    daemon, clock = Working(), HandClock()
    line = StatusLine(daemon, clock)
    assert line() == "working on 0 images; backlog 0; 0.0 images/s"
    daemon.done, daemon.waiting, clock.now = 25, 120, 10.0
    assert line() == "working on 25 images; backlog 120; 2.5 images/s"
    daemon.done, daemon.waiting, clock.now = 30, None, 20.0
    assert line() == "working on 30 images; backlog unknown; 0.5 images/s"


def test_a_ticker_ticks_until_it_is_left() -> None:
    ticks = Semaphore(0)
    with Ticker("test", 0.001, ticks.release):
        for _ in range(3):
            assert ticks.acquire(timeout=60)


def test_a_tick_that_fails_is_told_once_and_the_next_one_comes() -> None:
    ticks, left = Semaphore(0), ["bad", "bad", "good", "bad", "good"]

    def tick() -> None:
        ticks.release()
        if left and left.pop(0) == "bad":
            raise ValueError("a defect")

    with structlog.testing.capture_logs() as logs, Ticker("test", 0.001, tick):
        for _ in range(6):
            assert ticks.acquire(timeout=60)
    assert [(line["event"], line["ticker"], line["exc_info"]) for line in logs] == [("ticker.failed", "test", True)] * 2


def test_a_mortal_ticker_ends_with_a_tick_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks, ended = Semaphore(0), Event()
    monkeypatch.setattr("threading.excepthook", lambda _: ended.set())

    def tick() -> None:
        ticks.release()
        raise ValueError("a defect")

    with Ticker("test", 0.001, tick, mortal=True):
        assert ended.wait(60)
    assert ticks.acquire(blocking=False)
    assert not ticks.acquire(blocking=False)


def test_what_a_reload_can_change_and_what_waits_for_a_restart() -> None:
    before = Settings().model_dump(by_alias=True)
    after = (
        Settings()
        .changed({"log": {"level": "debug"}, "queue": {"poll_seconds": 1, "schema": "other"}, "model": {"alpha": 0.5}})
        .model_dump(by_alias=True)
    )
    found = compare(before, after)
    assert found.live == ("log.level", "queue.poll_seconds")
    assert found.restart == ("model.alpha", "queue.schema")
    assert compare(before, before).live == compare(before, before).restart == ()
    values = live_values(after)
    assert values["queue"] == {"poll_seconds": 1.0}
    assert {f"{section}.{key}" for section, keys in values.items() for key in keys} == LIVE
