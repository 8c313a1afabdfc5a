"""The ledger: what workers claim, renew and store through, over the few connections that the database is asked for."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol, TypeVar
from uuid import UUID

from daemon import options
from daemon.backfill.order import Order
from daemon.db.backfill import Span, SpanJobs, Wanted
from daemon.db.outcomes import OutcomeWriter, Written
from daemon.db.pool import Pool
from daemon.errors import DatabaseUnavailableError
from daemon.pipeline.store import MOST_AT_ONCE
from daemon.policy import Pause
from daemon.records import Claim, Outcome

T = TypeVar("T")
APPLICATION = "vectord-backfill"
LOCKED_SECONDS = 1.0
"""Until what somebody had locked is written again. A lock that lasts longer leaves the image to its lease."""
PATIENCE_SECONDS = 300.0
"""So long a worker waits for PostgreSQL to come back; then the leg ends, and another is begun."""


class Ledger(Protocol):
    """What workers see of a ledger, wherever it is."""

    def claim(self, span: Span, token: UUID) -> list[Claim]: ...
    def renew(self, claims: Sequence[Claim]) -> int: ...
    def read_stored(self, claim: Claim) -> bytes: ...
    def write(self, outcomes: Sequence[Outcome]) -> Written: ...


class LocalLedger:
    """A `Ledger` with a connection of its own. While PostgreSQL is away it waits, up to `patience` seconds.

    Every call may be made again: claims by their token, outcomes by their fence.
    """

    def __init__(self, order: Order, *, patience: float = PATIENCE_SECONDS) -> None:
        names = options.names(order.settings)
        self._order = order
        self._patience = patience
        self._closed = False
        self._pool = Pool(order.dsn, size=1, application_name=APPLICATION)
        self._jobs = jobs(order, self._pool)
        self._writer = OutcomeWriter(
            self._pool,
            names,
            vector_column=order.layout.vector_column,
            signature=order.signature,
            may_lock=order.layout.may_lock,
        )

    def claim(self, span: Span, token: UUID) -> list[Claim]:
        return self._patiently(lambda: self._jobs.claim_span(span, token, self._order.unit))

    def renew(self, claims: Sequence[Claim]) -> int:
        return self._jobs.renew(claims)

    def read_stored(self, claim: Claim) -> bytes:
        return self._jobs.read_stored(claim)

    def write(self, outcomes: Sequence[Outcome]) -> Written:
        written = Written()
        for at in range(0, len(outcomes), MOST_AT_ONCE):
            written += self._write(outcomes[at : at + MOST_AT_ONCE])
        return written

    def _write(self, outcomes: Sequence[Outcome]) -> Written:
        """Those whose jobs somebody has locked a second time, a little later."""
        written = self._patiently(lambda: self._writer.write(outcomes))
        if not written.locked:
            return written
        time.sleep(LOCKED_SECONDS)
        locked = [outcome for outcome in outcomes if outcome.claim in written.locked]
        return replace(written, locked=()) + self._patiently(lambda: self._writer.write(locked))

    def close(self) -> None:
        """No more claims, and no more outcomes."""
        self._closed = True
        self._pool.close()

    def _patiently(self, work: Callable[[], T]) -> T:
        deadline, pause = time.monotonic() + self._patience, Pause()
        while True:
            if self._closed:
                raise DatabaseUnavailableError("this ledger is closed: the leg is over")
            try:
                return work()
            except DatabaseUnavailableError:
                seconds = pause.next()
                if time.monotonic() + seconds > deadline:
                    raise
                time.sleep(seconds)


def jobs(order: Order, pool: Pool) -> SpanJobs:
    """The jobs of this order."""
    settings = order.settings
    wanted = Wanted(
        signature=order.signature,
        replace_foreign=settings.reprocess.foreign == "replace",
        forced_since=order.forced_since,
    )
    return SpanJobs(
        pool,
        options.names(settings),
        wanted,
        worker=order.worker,
        lease_seconds=order.lease_seconds,
        max_attempts=settings.queue.max_attempts,
        stored_bytes=order.layout.stored_bytes,
    )


def keep(ledger: Ledger, claims: Sequence[Claim]) -> None:
    """Renews leases that change hands. Where that cannot be done just now they may run out, and the fence holds."""
    if claims:
        with suppress(DatabaseUnavailableError):
            ledger.renew(claims)
