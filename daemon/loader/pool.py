"""The pool of loaders: what the pipeline's load stage uses.

Claims go in by `submit`, results come out through `deliver`, in the pool's own thread. Between the two, nothing that
an image, a server or an address does reaches this process: it only ever sees small messages of a known shape, and
pixels of a known size.
"""

import selectors
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count

from daemon.clock import Clock, SystemClock
from daemon.loader.crowd import Crowd
from daemon.loader.dispatch import Dispatcher
from daemon.loader.endings import Deliver, Endings
from daemon.loader.events import Emit, Event
from daemon.loader.foreman import Foreman
from daemon.loader.location import host_key
from daemon.loader.nursery import Nursery
from daemon.loader.options import LoaderOptions
from daemon.loader.shared import anonymous_file, make_arena
from daemon.loader.slots import Slots
from daemon.loader.stored import ReadStored, StoredReader
from daemon.loader.tasks import Task
from daemon.records import Claim

CLOSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatus:
    """How the pool is, for health and metrics."""

    loaders: int
    """Loaders that are up."""
    wanted: int
    start_failures: int
    """Loaders in a row that died before they had done anything."""
    broken: bool
    """No loader can be had for the time being, so nothing is taken in."""
    last_words: str
    """Of the loader that last died before it had done anything."""
    waiting: int
    """Images that wait for a loader or for their host."""
    loading: int
    """Images that loaders have."""
    hosts_left_alone: int
    hosts_failing: int
    """Those, and the hosts that one image at a time tries."""
    free: int
    slots: int


def _no_stored(_: Claim) -> bytes | None:
    return None


def _no_callers() -> int:
    return 0


def _no_events(_: Event) -> None:
    pass


def _raise(error: BaseException) -> None:
    raise error


class LoaderPool:
    """Loads images in child processes.

    `deliver` is called with each result and `emit` with each event, in the pool's thread: they must not block for long.
    `read_stored` is called in another thread for claims whose bytes lie in the database. `callers` says how many urgent
    images are in work, here or later on: while these keep all loaders busy, others are handed out now and then only.
    `on_failure` hears of an exception that ended the pool's thread, and its loaders with it: a defect.
    """

    def __init__(
        self,
        *,
        options: LoaderOptions,
        deliver: Deliver,
        read_stored: ReadStored = _no_stored,
        callers: Callable[[], int] = _no_callers,
        emit: Emit = _no_events,
        on_failure: Callable[[BaseException], None] = _raise,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock = clock or SystemClock()
        self._options = options
        self._on_failure = on_failure
        self._numbers = count()
        self._slots = Slots(common=options.slots, urgent=options.urgent_slots)
        self._arena = make_arena(slots=options.all_slots, size=options.input_size)
        self._stored = StoredReader(read_stored, self._answered)
        self._foreman = Foreman(
            options=options,
            slots=self._slots,
            endings=Endings(slots=self._slots, arena=self._arena, deliver=deliver, emit=emit),
            emit=emit,
            ask_stored=self._stored.ask,
            crowd=Crowd(callers, options.processes),
        )
        self._nursery = Nursery(
            options=options,
            arena=self._arena,
            clock=clock,
            selector=selectors.DefaultSelector(),
            emit=emit,
        )
        self._dispatcher = Dispatcher(options, self._foreman, self._nursery, clock)
        self._thread = threading.Thread(target=self._run, name="loader-pool", daemon=True)

    def start(self) -> None:
        """Start the loaders; returns before they are up."""
        self._stored.start()
        self._thread.start()

    def alive(self) -> bool:
        """Whether the pool's thread runs."""
        return self._thread.is_alive()

    def free(self, *, urgent: bool = False) -> int:
        """How many more may be submitted now."""
        return 0 if self._nursery.broken() else self._slots.room(urgent=urgent)

    def submit(self, claim: Claim, *, data: bytes | None = None, thumbnail: bool = False) -> None:
        """Take a claim; never blocks. `data`: the image's bytes, where they are at hand. Urgent ones go first.

        `thumbnail`: a `Thumbnail` is to come of it instead of `Loaded`, and there is no slot to release.
        Raises `RuntimeError` when there is no slot for it: callers respect `free`; and `OSError` when there is no room
        for the bytes.
        """
        self._slots.promise()
        try:
            file = None if data is None else anonymous_file("vectord-upload", data)
        except OSError:
            self._slots.settle(-1)
            raise
        location = claim.location
        task = Task(
            number=next(self._numbers),
            claim=claim,
            host=host_key(location) if isinstance(location, str) and data is None else "",
            solo=claim.suspect,
            thumbnail=thumbnail,
            file=file,
        )
        self._dispatcher.call(partial(self._dispatcher.take, task))

    def withdraw(self, claim: Claim) -> None:
        """Nobody waits for this claim any more: if no loader has it, it comes back as `Released`."""
        self._dispatcher.call(partial(self._foreman.withdraw, claim.token))

    def in_hand(self) -> int:
        """Images that were submitted, and have neither failed nor had their pixels released."""
        return self._slots.promised

    def release(self, slot: int) -> None:
        """The pixels of this slot are not needed any more. From any thread; twice does no harm."""
        self._slots.settle(slot)

    def drain(self, timeout: float) -> list[Claim]:
        """Hand out nothing more, wait for what loaders have in hand, and give back the claims without a result.

        What is finished within `timeout` seconds is still delivered; nothing is after this returned.
        """
        self._dispatcher.call(self._dispatcher.begin_drain)
        self._dispatcher.idle.wait(timeout)
        self._dispatcher.call(self._dispatcher.stop)
        self._thread.join(CLOSE_SECONDS)
        return [] if self.alive() else self._dispatcher.abandoned()  # Of a thread that hangs, the leases run out.

    def hurry(self) -> None:
        """A drain waits for nothing any more."""
        self._dispatcher.idle.set()

    def status(self) -> PoolStatus:
        children = list(self._nursery.children)
        return PoolStatus(
            loaders=sum(child.ready and not child.dying for child in children),
            wanted=self._options.processes,
            start_failures=self._nursery.failures,
            broken=self._nursery.broken(),
            last_words=self._nursery.last_words,
            waiting=self._foreman.waiting(solo=False) + self._foreman.waiting(solo=True),
            loading=sum(len(child.tasks) for child in children),
            hosts_left_alone=self._foreman.hosts.left_alone(self._clock.monotonic()),
            hosts_failing=self._foreman.hosts.failing(self._clock.monotonic()),
            free=self.free(),
            slots=self._options.slots,
        )

    def close(self) -> None:
        """End the loaders. Pixels that were delivered stay readable as long as someone holds them."""
        self._dispatcher.call(self._dispatcher.stop)
        self._stored.close(CLOSE_SECONDS)
        self._thread.join(CLOSE_SECONDS)
        self._arena.close()
        self._dispatcher.close()

    def _run(self) -> None:
        try:
            self._dispatcher.run()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the pool must not be without it unnoticed
            self._on_failure(error)

    def _answered(self, task: Task, answer: bytes | Exception | None) -> None:
        self._dispatcher.call(partial(self._dispatcher.stored, task, answer))
