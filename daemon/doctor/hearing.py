"""Whether notifications arrive: asked by a real listener, on a channel of its own."""

from threading import Event
from uuid import uuid4

from daemon.doctor.findings import Finding, ok, problem, warning
from daemon.wake.listener import Hearing, Listener, ListenerState, Timing

ANSWER_SECONDS = 3.0
POLLING = "until then new images are found up to queue.poll_seconds later"


def look_at_hearing(dsn: str) -> ListenerState:
    """How a listener is, once it knows."""
    told = Event()
    listener = Listener(
        dsn,
        f"vectord_check_{uuid4().hex[:8]}",
        wake=lambda: None,
        changed=lambda _: told.set(),
        timing=Timing(answer=ANSWER_SECONDS),
    )
    listener.start()
    try:
        # It waits for the connection, for its LISTEN and for the echo, each so long at most.
        told.wait(4 * ANSWER_SECONDS)
        return listener.state
    finally:
        listener.stop()


def judge_hearing(state: ListenerState, *, own_dsn: bool) -> Finding:
    """`own_dsn`: LISTEN has a connection of its own, `database.listen_dsn`."""
    key = "database.listen_dsn" if own_dsn else "database.dsn"
    match state.hearing:
        case Hearing.LISTENING:
            return ok("listen", f"what another session notifies arrives through {key}")
        case Hearing.POLL_ONLY:
            told = f"nothing arrives through {key}, as if PgBouncer in transaction mode lay between; {POLLING}"
            return warning("listen", told, "name a direct connection to PostgreSQL in database.listen_dsn")
        case Hearing.RECONNECTING:
            told = f"no connection for LISTEN through {key}: {state.error or 'no answer'}"
            return (warning if own_dsn else problem)("listen", f"{told}; {POLLING}", f"correct {key}")


def not_wanted() -> Finding:
    """`queue.notify` is off."""
    return ok("listen", "not used, as queue.notify = false says: the daemon looks every queue.poll_seconds")
