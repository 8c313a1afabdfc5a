"""store: decides what becomes of each claim, and writes it. The only writer of outcomes."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import Event
from typing import Protocol

from daemon.clock import Clock
from daemon.errors import VectordError
from daemon.events import Emit, Hindered, Overtaken, Settled, Worked
from daemon.pipeline.channel import Channel
from daemon.pipeline.inflight import Inflight
from daemon.policy import Pause, RetryPolicy, decide
from daemon.records import Claim, Dead, Embedded, Failure, ImageId, Outcome, Released, Result, Stored

STAGE = "store"

Tell = Callable[[Outcome, bool], None]
"""Hears of each outcome once it is written, and whether it took effect: those who wait for a claim (`callers`)."""

MOST_AT_ONCE = 256
"""Outcomes of one transaction: 256 vectors are 1.3 MB of COPY, and beyond that the rate no longer grows."""


class Written(Protocol):
    """What a write came to: the images whose claim had been overtaken, and those whose vector the table refuses."""

    @property
    def overtaken(self) -> Sequence[ImageId]: ...
    @property
    def refused(self) -> Sequence[Dead]: ...


class Writer(Protocol):
    """Where outcomes are written: `db.outcomes.OutcomeWriter`. All of them in one transaction, or none."""

    def write(self, outcomes: Sequence[Outcome]) -> Written: ...


class StoreStage:
    """Writes whatever lies in `results`, as much as lies there, up to `MOST_AT_ONCE`.

    While PostgreSQL is away it keeps what it has and tries again, growing slower: the claims stay in flight, so nothing
    more is claimed. After `give_up` it tries no more; the leases then run out, and another daemon does the work.
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
        self._given_up = Event()
        self.in_progress = 0
        """Outcomes that are being written now."""

    def give_up(self) -> None:
        """The time to end has come: no more tries."""
        self._given_up.set()

    def run(self) -> None:
        """Writes until `results` is closed and empty. Runs on a thread of its own."""
        while not self._results.finished:
            if results := self._results.take(MOST_AT_ONCE):
                self._settle([settle(result, self._retry) for result in results])

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        self.in_progress = len(outcomes)
        written = self._write(outcomes)
        self.in_progress = 0
        if written is None:
            return
        self._inflight.remove(outcome.claim for outcome in outcomes)
        self._room_changed()
        self._report(outcomes, written)

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
                self._emit(Worked(stage=STAGE, items=len(outcomes), seconds=self._clock.monotonic() - began))
                return written
        return None

    def _report(self, outcomes: Sequence[Outcome], written: Written) -> None:
        now, overtaken = datetime.now(UTC), set(written.overtaken)
        instead = {dead.claim: dead for dead in written.refused}
        for decided in outcomes:
            outcome = instead.get(decided.claim, decided)
            took_effect = outcome.claim.image_id not in overtaken
            self._tell(outcome, took_effect)
            if took_effect:
                self._emit(Settled(outcome=outcome, seconds=_age(outcome.claim, now)))
        if overtaken:
            self._emit(Overtaken(count=len(overtaken)))


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
