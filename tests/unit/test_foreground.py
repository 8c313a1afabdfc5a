"""What is asked of a running daemon from outside: by real signals to oneself, told to a real notify socket."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
import structlog

from daemon import foreground, wiring
from daemon.config import Settings
from daemon.errors import ConfigurationError, DatabaseError, DatabaseUnavailableError, EngineError
from daemon.health import Health, State
from daemon.service import statusline
from daemon.service.systemd import Notifier
from daemon.telemetry import logs
from daemon.wanted import NotWantedError, StillWanted


class Fake:
    """A daemon that is up, as far as the foreground asks. `hurried` is set once somebody hurries."""

    signature, address = "vectord:x:g0", "http://127.0.0.1:1"

    def __init__(self) -> None:
        self.reloaded: list[Settings] = []
        self.hurried = threading.Event()
        self.healthy = True

    def health(self) -> Health:
        return Health(healthy=self.healthy, ready=True, state=State.IDLE, status="idle", parts={})

    def settled(self) -> int:
        return 0

    def backlog(self) -> int:
        return 7

    def reload(self, settings: Settings) -> None:
        if settings.http.token_file:
            raise ConfigurationError("http.token_file: nowhere cannot be read")
        self.reloaded.append(settings)

    def hurry(self) -> None:
        self.hurried.set()


class Systemd:
    """The other side of the notify socket: sends the signals of a script, each once the line before it was heard."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self.heard: list[str] = []
        self._thread: threading.Thread | None = None

    def follow(self, script: Sequence[tuple[str, signal.Signals]]) -> None:
        self._thread = threading.Thread(target=self._run, args=(script,), daemon=True)
        self._thread.start()

    def _run(self, script: Sequence[tuple[str, signal.Signals]]) -> None:
        for line, number in script:
            while line not in self.heard:
                self.heard += self._listening.recv(4096).decode().split("\n")
            os.kill(os.getpid(), number)

    def rest(self) -> list[str]:
        """All that was heard, once the daemon has ended."""
        if self._thread is not None:
            self._thread.join(60)
        self._listening.settimeout(0)
        try:
            while True:
                self.heard += self._listening.recv(4096).decode().split("\n")
        except BlockingIOError:
            return self.heard


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setattr(foreground, "has_terminal", lambda: False)
    monkeypatch.setattr(statusline, "SECONDS", 0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(60)
        yield Systemd(listening)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()

    @contextmanager
    def open_daemon(settings: Settings, *, on_failure: object, still_wanted: StillWanted) -> Iterator[Fake]:
        yield made

    monkeypatch.setattr(wiring, "open_daemon", open_daemon)
    # What is logged is looked at by `capture_logs`, which a configuration anew would end.
    monkeypatch.setattr(logs, "configure", lambda **_: None)
    return made


def reading(*steps: Settings | Exception) -> Callable[[], Settings]:
    """A configuration that is another one each time it is read."""
    left = iter(steps)

    def read() -> Settings:
        step = next(left)
        if isinstance(step, Exception):
            raise step
        return step

    return read


def plain(**sections: Any) -> Settings:
    return Settings(**{"database": {"state_dir": "/nowhere"}} | sections)


def test_it_says_ready_how_it_is_and_that_it_stops(fake: Fake, systemd: Systemd) -> None:
    systemd.follow([("STATUS=idle; backlog 7; 0.0 images/s", signal.SIGTERM)])
    assert foreground.run(reading(plain())) == 0
    heard = systemd.rest()
    assert heard.index("READY=1") < heard.index("STOPPING=1")
    assert heard[0] == "EXTEND_TIMEOUT_USEC=60000000"
    assert not fake.hurried.is_set()
    assert "WATCHDOG=1" not in heard


def test_the_watchdog_is_fed_where_there_is_one(fake: Fake, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    systemd.follow([("WATCHDOG=1", signal.SIGINT)])
    assert foreground.run(reading(plain())) == 0


def test_a_reload_takes_over_what_can_change(fake: Fake, systemd: Systemd) -> None:
    wanted = plain(queue={"poll_seconds": 1.0}, log={"level": "debug"}, loader={"threads": 9})
    told = "STATUS=reloaded, but for what needs a restart: loader.threads"
    systemd.follow([("READY=1", signal.SIGHUP), (told, signal.SIGTERM)])
    with structlog.testing.capture_logs() as told_log:
        assert foreground.run(reading(plain(), wanted)) == 0
    (settings,) = fake.reloaded
    assert (settings.queue.poll_seconds, settings.log.level, settings.loader.threads) == (1.0, "debug", 4)
    assert "RELOADING=1" in systemd.rest()
    lines = {line["event"]: line for line in told_log}
    assert lines["reload.done"]["changed"] == ("log.level", "queue.poll_seconds")
    assert lines["reload.needs_restart"]["keys"] == ("loader.threads",)


@pytest.mark.parametrize(
    "wanted",
    [ConfigurationError("queue.poll_seconds: no"), plain(http={"token_file": "nowhere"}), PermissionError("not yours")],
    ids=["file", "token", "defect"],
)
def test_a_bad_configuration_changes_nothing_and_says_so(
    fake: Fake, systemd: Systemd, wanted: Settings | Exception
) -> None:
    reason = str(wanted) if isinstance(wanted, Exception) else "http.token_file: nowhere cannot be read"
    told = f"STATUS=reload refused, nothing has changed: {reason}"
    systemd.follow([("READY=1", signal.SIGHUP), (told, signal.SIGTERM)])
    with structlog.testing.capture_logs() as told_log:
        assert foreground.run(reading(plain(), wanted)) == 0
    assert fake.reloaded == []
    assert [line["error"] for line in told_log if line["event"] == "reload.refused"] == [reason]


def test_a_closed_terminal_asks_for_the_end(fake: Fake, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreground, "has_terminal", lambda: True)
    systemd.follow([("READY=1", signal.SIGHUP)])
    assert foreground.run(reading(plain())) == 0
    assert fake.reloaded == []


def test_a_second_sigterm_hurries(fake: Fake, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def slow_to_end(settings: Settings, *, on_failure: object, still_wanted: StillWanted) -> Iterator[Fake]:
        yield fake
        assert fake.hurried.wait(60)

    monkeypatch.setattr(wiring, "open_daemon", slow_to_end)
    systemd.follow([("READY=1", signal.SIGTERM), ("STOPPING=1", signal.SIGTERM)])
    assert foreground.run(reading(plain())) == 0


@pytest.mark.parametrize(
    ("error", "status"), [(ConfigurationError("model.alpha: no"), 2), (DatabaseError("no rights"), 1)]
)
def test_what_keeps_it_from_starting_is_told(
    fake: Fake, systemd: Systemd, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    with structlog.testing.capture_logs() as told_log:
        assert foreground.run(reading(error)) == status
    assert [(line["event"], line["error"]) for line in told_log] == [("daemon.not_started", str(error))]
    assert f"STATUS={error}" in systemd.rest()


def test_a_database_that_is_away_is_waited_for_with_more_time_asked(
    fake: Fake, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = iter([DatabaseUnavailableError("no server"), DatabaseUnavailableError("no server"), None])

    @contextmanager
    def open_daemon(settings: Settings, *, on_failure: object, still_wanted: StillWanted) -> Iterator[Fake]:
        if error := next(tries):
            raise error
        yield fake

    monkeypatch.setattr(wiring, "open_daemon", open_daemon)
    systemd.follow([("READY=1", signal.SIGTERM)])
    assert foreground.run(reading(plain())) == 0
    heard = systemd.rest()
    before = heard[: heard.index("READY=1")]
    assert before.count("STATUS=waiting for PostgreSQL: no server") == 2
    assert "EXTEND_TIMEOUT_USEC=60200000" in before


def test_a_start_that_is_not_wanted_any_more_is_given_up_and_asks_for_no_more_time(
    fake: Fake, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreground, "EXTENSIONS_EVERY", 0.01)
    ticks, longer = [], threading.Semaphore(0)
    extend = foreground.Foreground._extend

    def counted(self: foreground.Foreground, seconds: float) -> None:
        ticks.append(seconds)
        extend(self, seconds)
        longer.release()

    def open_daemon(settings: Settings, *, on_failure: object, still_wanted: StillWanted) -> NoReturn:
        try:
            while True:
                still_wanted()
                time.sleep(0.01)
        finally:
            Notifier().status("it knows")
            # Closing takes a while, and meanwhile time would be asked for.
            while longer.acquire(blocking=False):
                pass
            for _ in range(3):
                assert longer.acquire(timeout=60)

    monkeypatch.setattr(foreground.Foreground, "_extend", counted)
    monkeypatch.setattr(wiring, "open_daemon", open_daemon)
    systemd.follow([("EXTEND_TIMEOUT_USEC=60000000", signal.SIGTERM)])
    assert foreground.run(reading(plain())) == 0
    heard = systemd.rest()
    assert "STATUS=the start is given up" in heard
    assert not [line for line in heard[heard.index("STATUS=it knows") :] if line.startswith("EXTEND")]
    assert "READY=1" not in heard


def test_what_fails_in_a_start_that_is_not_wanted_any_more_is_no_failure(
    fake: Fake, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_daemon(settings: Settings, *, on_failure: object, still_wanted: StillWanted) -> NoReturn:
        with suppress(NotWantedError):
            while True:
                still_wanted()
                time.sleep(0.01)
        raise EngineError("converting the model for OpenVINO ended with -15")

    monkeypatch.setattr(wiring, "open_daemon", open_daemon)
    systemd.follow([("EXTEND_TIMEOUT_USEC=60000000", signal.SIGTERM)])
    assert foreground.run(reading(plain())) == 0


def test_a_second_signal_leaves_a_start_that_hangs_at_once(
    fake: Fake, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    over = threading.Event()

    def leave(status: int) -> None:
        left.append(status)
        over.set()

    @contextmanager
    def open_daemon(settings: Settings, *, on_failure: object, still_wanted: StillWanted) -> Iterator[Fake]:
        assert over.wait(60)
        still_wanted()
        yield fake

    monkeypatch.setattr(foreground, "leave", leave)
    monkeypatch.setattr(wiring, "open_daemon", open_daemon)
    systemd.follow([("EXTEND_TIMEOUT_USEC=60000000", signal.SIGTERM), ("STATUS=the start is given up", signal.SIGTERM)])
    assert foreground.run(reading(plain())) == 0
    assert left == [0]
