"""store: decides what becomes of each claim, and writes it. The only writer of outcomes."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import Event
from typing import Protocol

from daemon.clock import Clock
from daemon.errors import VectordError
from daemon.events import Emit, Hindered, Locked, Overtaken, Settled, Worked
from daemon.pipeline.again import Again
from daemon.pipeline.channel import Channel
from daemon.pipeline.inflight import Inflight
from daemon.policy import Pause, RetryPolicy, decide
from daemon.records import Claim, Embedded, Failure, Outcome, Released, Result, Stored

STAGE = "store"

Tell = Callable[[Outcome, bool], None]
"""Hears of each outcome once it is written, and whether it took effect: those who wait for a claim (`callers`)."""

MOST_AT_ONCE = 256
"""Outcomes of one transaction: 256 vectors are 1.3 MB of COPY, and beyond that the rate no longer grows."""
LAST_TRIES_SECONDS = 5.0
"""When the daemon ends, for outcomes whose jobs somebody has locked."""


class Written(Protocol):
    """What a write came to: the claims that had been overtaken, those whose job another session had locked, and those
    whose vector the table refuses.
    """

    @property
    def overtaken(self) -> Sequence[Claim]: ...
    @property
    def locked(self) -> Sequence[Claim]: ...
    @property
    def refused(self) -> Sequence[Outcome]: ...


class Writer(Protocol):
    """Where outcomes are written: `db.outcomes.OutcomeWriter`. All of them in one transaction, or none."""

    def write(self, outcomes: Sequence[Outcome]) -> Written: ...


class StoreStage:
    """Writes whatever lies in `results`, as much as lies there, up to `MOST_AT_ONCE`.

    While PostgreSQL is away it keeps what it has and tries again, growing slower: the claims stay in flight, so nothing
    more is claimed. After `give_up` it tries no more; the leases then run out, and another daemon does the work.

    What only somebody's lock kept from being written is written again shortly after, until it is or is overtaken.
    """

    def __init__(
        self,
        writer: Writer,
        inflight: Inflight,
        results: Channel[Result],
        retry: RetryPolicy,
        room_changed: Callable[[], None],
        tell: Tell,
        *,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._writer = writer
        self._inflight = inflight
        self._results = results
        self._retry = retry
        self._room_changed = room_changed
        self._tell = tell
        self._clock = clock
        self._emit = emit
        self._pause = Pause()
        self._again = Again(inflight.limit, clock)
        self._given_up = Event()
        self.in_progress = 0
        """Outcomes that are being written now."""

    def give_up(self) -> None:
        """The time to end has come: no more tries."""
        self._given_up.set()

    def run(self) -> None:
        """Writes until `results` is closed and empty. Runs on a thread of its own."""
        while not self._results.finished:
            self._take(self._results.take(MOST_AT_ONCE, self._again.wait))
        ends = self._clock.monotonic() + LAST_TRIES_SECONDS
        while self._again and not self._given_up.wait(self._again.wait) and self._clock.monotonic() < ends:
            self._take([])

    def _take(self, results: Sequence[Result]) -> None:
        new = [settle(result, self._retry) for result in results]
        if outcomes := [*new, *self._again.take(new)]:
            self._settle(outcomes)

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        self.in_progress = len(outcomes)
        written = self._write(outcomes)
        self.in_progress = 0
        if written is None:
            return
        kept = self._keep(outcomes, written)
        settled = [outcome for outcome in outcomes if outcome.claim not in kept]
        self._inflight.remove(outcome.claim for outcome in settled)
        self._room_changed()
        self._report(settled, written)

    def _keep(self, outcomes: Sequence[Outcome], written: Written) -> set[Claim]:
        """Keeps what was locked for another try; gives the claims of that."""
        locked = set(written.locked)
        kept = self._again.put([outcome for outcome in outcomes if outcome.claim in locked])
        if count := self._inflight.park(kept):
            self._emit(Locked(count=count))
        return set(kept)

    def _write(self, outcomes: Sequence[Outcome]) -> Written | None:
        while not self._given_up.is_set():
            began = self._clock.monotonic()
            try:
                with self._inflight.settling:
                    written = self._writer.write(outcomes)
            except VectordError as error:
                pause = self._pause.next()
                self._emit(Hindered(stage=STAGE, error=error, pause=pause))
                self._given_up.wait(pause)
            else:
                self._pause.reset()
                done = len(outcomes) - len(written.locked)
                self._emit(Worked(stage=STAGE, items=done, seconds=self._clock.monotonic() - began))
                return written
        return None

    def _report(self, outcomes: Sequence[Outcome], written: Written) -> None:
        now, instead = datetime.now(UTC), {one.claim: one for one in written.refused}
        # Not by their images: the claim that overtook another may be among these too.
        lost = {*written.overtaken, *written.locked}
        for decided in outcomes:
            outcome = instead.get(decided.claim, decided)
            took_effect = outcome.claim not in lost
            self._tell(outcome, took_effect)
            if took_effect:
                self._emit(Settled(outcome=outcome, seconds=_age(outcome.claim, now)))
        if overtaken := sum(outcome.claim in lost for outcome in outcomes):
            self._emit(Overtaken(count=overtaken))


def settle(result: Result, retry: RetryPolicy) -> Outcome:
    """What becomes of a claim whose work ended so."""
    match result:
        case Embedded():
            return Stored(claim=result.claim, vector=result.vector)
        case Failure():
            return decide(result, retry, random.random())  # noqa: S311 - jitter, no secret
        case Released():
            return result


def _age(claim: Claim, now: datetime) -> float | None:
    """Seconds since the job was made. Never negative, though the server's clock may be ahead of ours."""
    return max(0.0, (now - claim.enqueued_at).total_seconds()) if claim.enqueued_at else None
