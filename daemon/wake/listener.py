"""The listener: hears that there is work, and knows whether it can still hear.

    connect ─ LISTEN ─ look for work ─ can others reach us? ─ hear ... beat ... hear ... beat

Its connection does nothing else: whoever listens and does not read holds up everybody's NOTIFY. Its thread only sets
events, so a storm of notifications costs no memory and comes to one wake.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from threading import Thread
from uuid import uuid4

from daemon.db.names import quote
from daemon.errors import DatabaseUnavailableError
from daemon.policy import Pause
from daemon.reprocess import SWEEP_PAYLOAD
from daemon.wake.session import Session, StoppedError, StopPipe

STAGE = "listen"


class Hearing(StrEnum):
    """Whether notifications arrive."""

    LISTENING = "listening"
    RECONNECTING = "reconnecting"
    POLL_ONLY = "poll-only"
    """Connected, but what others notify does not arrive: a pooler in transaction mode lies between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerState:
    """How the listener is, since when, when it last heard itself, and what the last fault was."""

    hearing: Hearing = Hearing.RECONNECTING
    since: datetime
    heartbeat_at: datetime | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds. A connection that went silent is noticed after `heartbeat` + `answer` at most."""

    heartbeat: float = 10.0
    answer: float = 10.0
    poll_only: float = 300.0
    """Between two tries whether notifications arrive by now, where they did not."""


class Listener:
    """Calls `wake` after every notification and after every connect, and `sweep` when one says so.

    `dsn` has to lead to PostgreSQL itself (`database.listen_dsn`); `channel` is `Names.channel`. `changed` is called
    with the new state whenever `hearing` changes, and once at first; never twice in a row with the same.
    """

    def __init__(
        self,
        dsn: str,
        channel: str,
        wake: Callable[[], None],
        *,
        sweep: Callable[[], None] = lambda: None,
        changed: Callable[[ListenerState], None] = lambda _: None,
        timing: Timing = Timing(),
    ) -> None:
        self._dsn = dsn
        self._channel = channel
        self._echo_channel = f"{channel}_{uuid4().hex[:8]}"
        self._wake = wake
        self._sweep = sweep
        self._changed = changed
        self._timing = timing
        self._pause = Pause()
        self._stop = StopPipe()
        self._thread = Thread(target=self._run, name="vectord-listener", daemon=True)
        self._state = ListenerState(since=_now())
        self._told: Hearing | None = None
        self._echoed = False
        self._called = False
        self._sweep_called = False

    @property
    def state(self) -> ListenerState:
        """How it is just now. May be read from any thread."""
        return self._state

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> bool:
        """Ends it at once, whatever it waits for. False when its thread did not end within `timeout` seconds."""
        self._stop.stop()
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._stop.close()
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while True:
                self._connect_and_listen()
        except StoppedError:
            return

    def _connect_and_listen(self) -> None:
        try:
            with self._session(self._heard) as session:
                self._listen(session)
            self._stop.wait(self._timing.poll_only)
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 - a listener that ended unnoticed would be worse than any fault
            self._become(Hearing.RECONNECTING, str(error) or repr(error))
            self._stop.wait(self._pause.next())

    def _listen(self, session: Session) -> None:
        """Hears until the connection breaks; returns when it turns out that nothing would arrive."""
        session.execute(f"LISTEN {quote(self._channel)}")
        session.execute(f"LISTEN {quote(self._echo_channel)}")
        # Only now is nothing lost any more; what came before is found by looking.
        self._wake()
        if not self._reached_by_others(session):
            self._become(Hearing.POLL_ONLY)
            return
        self._become(Hearing.LISTENING)
        self._pause.reset()
        while True:
            self._beat(session)
            session.hear(self._timing.heartbeat, until=self._pass_on)

    def _reached_by_others(self, session: Session) -> bool:
        """Whether what another session notifies arrives here.

        Through PgBouncer in transaction mode LISTEN succeeds, and an own NOTIFY even comes back where it happens to run
        on the connection that ran the LISTEN; a stranger's never does.
        """
        self._echoed = False
        with self._session(lambda *_: None) as other:
            other.execute(f"NOTIFY {quote(self._echo_channel)}")
        session.hear(self._timing.answer, until=self._has_echoed)
        return self._echoed

    def _beat(self, session: Session) -> None:
        """Notifies itself: an answer says that both directions and the LISTEN still hold."""
        self._echoed = False
        session.execute(f"NOTIFY {quote(self._echo_channel)}")
        session.hear(self._timing.answer, until=self._has_echoed)
        if not self._echoed:
            raise DatabaseUnavailableError(f"its own notification did not arrive within {self._timing.answer:g} s")
        self._state = replace(self._state, heartbeat_at=_now())

    def _session(self, heard: Callable[[str, str], None]) -> Session:
        return Session(self._dsn, "vectord listener", self._stop, heard, answer_seconds=self._timing.answer)

    def _heard(self, channel: str, payload: str) -> None:
        if channel == self._echo_channel:
            self._echoed = True
        else:
            self._called = True
            self._sweep_called |= payload == SWEEP_PAYLOAD

    def _has_echoed(self) -> bool:
        self._pass_on()
        return self._echoed

    def _pass_on(self) -> bool:
        """One wake for all that was heard since the last."""
        called, self._called = self._called, False
        sweep_called, self._sweep_called = self._sweep_called, False
        if called:
            self._wake()
        if sweep_called:
            self._sweep()
        return False

    def _become(self, hearing: Hearing, error: str = "") -> None:
        since = self._state.since if hearing is self._state.hearing else _now()
        self._state = replace(self._state, hearing=hearing, since=since, error=error)
        if hearing is not self._told:
            self._told = hearing
            self._changed(self._state)


def _now() -> datetime:
    return datetime.now(UTC)
