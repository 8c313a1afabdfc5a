"""The legs of a backfill: so many shards at a time go through the cluster, until none is open."""

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from threading import Event, Thread
from typing import Protocol

import structlog

from daemon.backfill.order import Order, Tally, Unit
from daemon.db.backfill import Span, SpanJobs
from daemon.db.generation import Generations
from daemon.db.shards import Shard, Shards
from daemon.errors import VectordError
from daemon.policy import Pause

UNITS_PER_LEG = 16_384
"""A million images in units of 64: the seconds in which a leg's workers start and end do not count then."""
PATIENCE = 5
"""Legs in a row that may break off before a single unit of theirs was done."""
BEATS_PER_HOLD = 3
_log = structlog.get_logger("vectord")

RunLeg = Callable[[Sequence[Unit]], Generator[Tally]]
"""What became of each unit. Once it is closed, nobody claims or stores any more."""


class Stop(Protocol):
    """Somebody asked for an end: `service.signals.StopRequest`."""

    def wait(self, timeout: float | None = None) -> bool: ...


class Legs:
    """Runs legs until no shard is open, or somebody asks for an end. `left` counts shards that could not be finished.

    `run_leg` may raise `VectordError`: then what it had leased is given back, and the leg begins anew.
    """

    def __init__(
        self,
        order: Order,
        jobs: SpanJobs,
        shards: Shards,
        generations: Generations,
        run_leg: RunLeg,
        *,
        stop: Stop,
        show: Callable[[Counter[str]], None],
    ) -> None:
        self._order = order
        self._jobs = jobs
        self._shards = shards
        self._generations = generations
        self._run_leg = run_leg
        self._stop = stop
        self._show = show
        self.done: Counter[str] = Counter()
        self.left = 0

    def run(self) -> None:
        """Raises `VectordError` when legs break off one after the other, or another signature counts by now."""
        while self._pass():
            pass

    def _pass(self) -> bool:
        """All open shards once; whether another time may finish more of them."""
        self.left, stored = 0, self.done["stored"]
        above, failures, pause = -1, 0, Pause()
        while not self._stop.wait(0) and (leg := self._next(above)):
            before = self.done["units"]
            try:
                self._leg(leg)
            except VectordError as error:
                failures = 1 if self.done["units"] > before else failures + 1
                if failures >= PATIENCE or not self._generations.present(self._order.signature):
                    raise
                _log.warning("backfill.leg_broke_off", error=str(error), failures=failures)
                self._stop.wait(pause.next())
                continue
            failures = 0
            pause.reset()
            above = leg[-1].number
        return bool(self.left) and self.done["stored"] > stored and not self._stop.wait(0)

    def _next(self, above: int) -> list[Shard]:
        """Open shards for a leg: one at least."""
        most = max(1, UNITS_PER_LEG * self._order.unit)
        chosen: list[Shard] = []
        for shard in self._shards.open(UNITS_PER_LEG, above):
            if chosen and sum(one.images for one in chosen) + shard.images > most:
                break
            chosen.append(shard)
        return chosen

    def _leg(self, leg: Sequence[Shard]) -> None:
        span = Span(after=leg[0].span.after, upto=leg[-1].span.upto)
        charged = True
        with _Hold(self._shards, self._order, span):
            try:
                self._work(leg)
                charged = False
            finally:
                # What a worker that died had in hand; after a stop, what was under way.
                with suppress(VectordError):
                    self._jobs.give_back(charged=charged)

    def _work(self, leg: Sequence[Shard]) -> None:
        units = [Unit(shard=one.number, span=part) for one in leg for part in self._shards.parts(one.span, self._size)]
        waiting = Counter(unit.shard for unit in units)
        by_number = {one.number: one for one in leg}
        for number in by_number.keys() - waiting.keys():
            # All of its images were deleted since.
            self._finish(by_number[number])
        if not units:
            return
        with closing(self._run_leg(units)) as tallies:
            for tally in tallies:
                self._count(tally)
                waiting[tally.shard] -= 1
                if not waiting[tally.shard]:
                    self._finish(by_number[tally.shard])
                if self._stop.wait(0):
                    return

    @property
    def _size(self) -> int:
        return self._order.unit

    def _count(self, tally: Tally) -> None:
        self._shards.count(tally.shard, stored=tally.stored, dead=tally.dead, retried=tally.retried)
        self.done.update(
            units=1,
            claimed=tally.claimed,
            stored=tally.stored,
            dead=tally.dead,
            retried=tally.retried,
            overtaken=tally.overtaken,
        )
        self._show(self.done)

    def _finish(self, shard: Shard) -> None:
        """By what the tables say, not by what was counted: a worker that died may have left something."""
        if not self._generations.present(self._order.signature):
            raise VectordError("the model or the generation that counts has changed: run the backfill again")
        if self._jobs.left(shard.span, 1):
            self.left += 1
            return
        self._shards.finish(shard.number)
        self.done.update(shards=1)


class _Hold:
    """Has the sweep leave a range out for as long as the block lasts, or this process lives."""

    def __init__(self, shards: Shards, order: Order, span: Span) -> None:
        self._shards = shards
        self._order = order
        self._span = span
        self._over = Event()
        self._thread = Thread(target=self._beat, name="vectord-hold", daemon=True)

    def __enter__(self) -> None:
        self._shards.hold(self._order.worker, self._span, self._order.lease_seconds)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        with suppress(VectordError):
            self._shards.let_go(self._order.worker)

    def _beat(self) -> None:
        while not self._over.wait(self._order.lease_seconds / BEATS_PER_HOLD):
            with suppress(VectordError):
                self._shards.hold(self._order.worker, self._span, self._order.lease_seconds)
