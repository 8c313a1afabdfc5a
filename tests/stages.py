"""The parts around a stage, each played by a few lines, and what waits for what a stage does."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, Event, Thread
from uuid import uuid4

import numpy as np

from daemon.errors import Reason
from daemon.events import Event as Happening
from daemon.pipeline.load import LoadStage
from daemon.records import (
    Claim,
    Dead,
    Failure,
    ImageId,
    Loaded,
    Outcome,
    Pixels,
    Released,
    Vectors,
)

DEADLINE = 60.0


def make_claim(number: int = 1, **changes: object) -> Claim:
    return Claim(image_id=number, revision=1, token=uuid4(), location=f"http://x/{number}", **changes)  # type: ignore[arg-type]


def make_loaded(number: int) -> Loaded:
    return Loaded(claim=make_claim(number), pixels=np.full((2, 2, 3), number, np.uint8), slot=number)


class Heard:
    """Collects what is emitted, and lets a test wait for it."""

    def __init__(self) -> None:
        self.events: list[Happening] = []
        self._changed = Condition()

    def __call__(self, event: Happening) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait(self, enough: Callable[[list[Happening]], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self.events), DEADLINE), self.events

    def of(self, kind: type[Happening]) -> list[Happening]:
        return [event for event in self.events if isinstance(event, kind)]


@contextmanager
def running(target: Callable[[], None], stop: Callable[[], None]) -> Iterator[Thread]:
    thread = Thread(target=target, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop()
        thread.join(DEADLINE)
        assert not thread.is_alive()


@dataclass
class FakeQueue:
    """Jobs that are due, and when more will be."""

    due: list[Claim] = field(default_factory=list)
    next_due: float | None = None
    errors: list[Exception] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    def claim(self, limit: int) -> list[Claim]:
        self.asked.append(limit)
        if self.errors:
            raise self.errors.pop(0)
        taken, self.due = self.due[:limit], self.due[limit:]
        return taken

    def seconds_until_due(self) -> float | None:
        return self.next_due


class FakeEngine:
    """The mean of each picture as a vector of two; or the errors it is given, first."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.sizes: list[int] = []
        self.batch_limit = 4

    def describe(self) -> "FakeEngine":
        return self

    def embed(self, pixels: Pixels) -> Vectors:
        self.sizes.append(len(pixels))
        if self.errors:
            raise self.errors.pop(0)
        means = pixels.mean(axis=(1, 2, 3)).astype(np.float32)
        return np.stack([means, np.where(means == 13, np.nan, means)], axis=1).astype(np.float32)


class Slots:
    """Loaders that have nothing more to bring, as far as embed sees them."""

    def __init__(self, released: list[int] | None = None) -> None:
        self._released = [] if released is None else released

    def in_hand(self) -> int:
        return 0

    def release(self, slot: int) -> None:
        self._released.append(slot)


@dataclass
class FakeWritten:
    overtaken: Sequence[Claim] = ()
    locked: Sequence[Claim] = ()
    refused: Sequence[Dead] = ()


class FakeWriter:
    """Remembers what was written; fails first with the errors it is given."""

    def __init__(self, *errors: Exception, overtaken: Sequence[ImageId] = (), refused: Sequence[Dead] = ()) -> None:
        self.errors = list(errors)
        self.overtaken = overtaken
        self.refused = refused
        self.written: list[Outcome] = []

    def write(self, outcomes: Sequence[Outcome]) -> FakeWritten:
        if self.errors:
            raise self.errors.pop(0)
        self.written.extend(outcomes)
        overtaken = [outcome.claim for outcome in outcomes if outcome.claim.image_id in self.overtaken]
        return FakeWritten(overtaken, refused=self.refused)


class FakeLoaders:
    """Loads at once whatever it is handed, until it is told to keep it. What is kept then is given up at the end: at
    once, or, when `stubborn`, as late as may be."""

    def free(self, *, urgent: bool = False) -> int:
        return self.places

    def __init__(self, load: LoadStage) -> None:
        self.load = load
        self.keep = False
        self.stubborn = False
        self.places = 1000
        self.kept: list[Claim] = []
        self.closed = False
        self.dead = False
        self.hurried = Event()

    def start(self) -> None:
        """Nothing to start."""

    def alive(self) -> bool:
        return not self.dead

    def withdraw(self, claim: Claim) -> None:
        if claim in self.kept:
            self.kept.remove(claim)
            self.load.deliver(Released(claim=claim))

    def submit(self, claim: Claim, *, data: bytes | None = None, thumbnail: bool = False) -> None:
        if self.keep:
            self.kept.append(claim)
        elif isinstance(claim.image_id, int) and claim.image_id % 5 == 4:
            self.load.deliver(Failure(claim=claim, stage="load", reason=Reason.NOT_FOUND))
        else:
            self.load.deliver(Loaded(claim=claim, pixels=np.zeros((2, 2, 3), np.uint8), slot=0))

    def drain(self, timeout: float) -> list[Claim]:
        if self.stubborn:
            self.hurried.wait(timeout)
        return self.kept

    def hurry(self) -> None:
        self.hurried.set()

    def close(self) -> None:
        self.closed = True


class Leases:
    def renew(self, claims: Sequence[Claim]) -> int:
        return len(claims)
