"""The dispatcher: one thread that owns all loaders, waits for whatever happens next, and lets no one overstay."""

import os
import selectors
import threading
from collections import deque
from collections.abc import Callable

from daemon.clock import Clock
from daemon.errors import Reason
from daemon.loader.child import Child
from daemon.loader.foreman import Foreman
from daemon.loader.nursery import Nursery
from daemon.loader.options import LoaderOptions
from daemon.loader.tasks import Phase, Task
from daemon.loader.wire import Step, read_report
from daemon.records import Claim

FETCH_GRACE = 5.0
"""Seconds beyond fetch.total_timeout after which a fetch that should have ended itself is ended with its loader."""
LOOK_AGAIN = 1.0
"""Seconds between two looks at tasks that wait for a host."""
CROWD_LOOK = 0.05
"""Seconds between two looks at a crowd that keeps tasks waiting: nobody calls when it has gone."""

Act = Callable[[], None]


class Dispatcher:
    """Runs `run` in its thread; other threads `call`."""

    def __init__(self, options: LoaderOptions, foreman: Foreman, nursery: Nursery, clock: Clock) -> None:
        self._options = options
        self._foreman = foreman
        self._nursery = nursery
        self._clock = clock
        self._acts: deque[Act] = deque()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._closed = False
        self._closing = False
        self._draining = False
        self._left: list[Claim] = []
        self.idle = threading.Event()
        """Set once a drain is over: no loader has anything in hand."""

    def call(self, act: Act) -> None:
        """Have the dispatcher do this. From any thread; never blocks."""
        with self._lock:
            if not self._closed:
                self._acts.append(act)
                os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """Free the bell, once the thread has ended. What is called after that is not done."""
        with self._lock:
            self._closed = True
            os.close(self._bell)

    def run(self) -> None:
        """Serve until `stop`; whatever happens, no loader outlives this."""
        selector = self._nursery.selector
        selector.register(self._bell, selectors.EVENT_READ)
        try:
            while not self._closing:
                self._step(selector)
        finally:
            self._abandon(selector)

    def stop(self) -> None:
        self._closing = True

    def take(self, task: Task) -> None:
        self._foreman.take(task, self._clock.monotonic())

    def stored(self, task: Task, answer: bytes | Exception | None) -> None:
        self._foreman.stored(task, answer, self._clock.monotonic())

    def begin_drain(self) -> None:
        self._draining = True

    def in_hand(self) -> list[Task]:
        """The tasks that loaders have."""
        return [task for child in self._nursery.children for task in child.tasks.values()]

    def abandoned(self) -> list[Claim]:
        """What nothing became of. To be asked once the thread has ended."""
        self._do_what_was_called()
        return self._left + self._give_up()

    def heard(self, child: Child) -> bool:
        """A loader said something, or closed its end; whether it may have more to say. One that talks nonsense ends."""
        try:
            message = child.channel.receive()
            if message is not None:
                self._obey(child, message, self._clock.monotonic())
                return True
        except BlockingIOError:
            return False
        except ConnectionResetError:
            # It died over orders that it had not read. Linux says so once, and before what it still has to tell.
            return True
        except (OSError, ValueError):
            child.kill()
        self._nursery.silence(child)
        return False

    def buried(self, child: Child) -> None:
        """A loader has ended. What it still said is heard first."""
        while child.listening and self.heard(child):
            pass
        now = self._clock.monotonic()
        self._foreman.buried(child, self._nursery.bury(child, now), now)

    def _give_up(self) -> list[Claim]:
        return self._foreman.give_up(self._nursery.children)

    def _abandon(self, selector: selectors.BaseSelector) -> None:
        try:
            self._left = self._give_up()
        finally:
            self._nursery.kill_all()
            selector.close()
            self.idle.set()

    def _step(self, selector: selectors.BaseSelector) -> None:
        now = self._clock.monotonic()
        self._nursery.keep(normal=self._options.processes, solo=self._solo_wanted(), now=now)
        if not self._draining:
            self._foreman.dispatch(self._nursery.children, now)
        elif not self.in_hand():
            self.idle.set()
        if self._nursery.broken():
            self._foreman.fail_waiting(Reason.LOADER_LOST, "no loader can be started")
        for key, _ in selector.select(self._patience(now)):
            self._attend(key)
        self._end_overdue(self._clock.monotonic())

    def _attend(self, key: selectors.SelectorKey) -> None:
        child: Child | None = key.data
        if child is None:
            self._answer_bell()
        elif key.fd == child.exit_file:
            self.buried(child)
        elif child.listening:  # Its end may have been attended to just before.
            self.heard(child)

    def _solo_wanted(self) -> int:
        alone = (child.tasks for child in self._nursery.children if child.solo)
        return int(bool(self._foreman.waiting(solo=True) or any(alone)))

    def _patience(self, now: float) -> float | None:
        """Seconds until something has to be looked at, even if nothing happens."""
        ends = [self._deadline(task) for task in self.in_hand()]
        ends += [self._nursery.next_deadline(), now + self._look_again() if self._anyone_waits() else None]
        first = min((end for end in ends if end is not None), default=None)
        return None if first is None else max(0.0, first - now)

    def _look_again(self) -> float:
        return CROWD_LOOK if self._foreman.holding_back else LOOK_AGAIN

    def _anyone_waits(self) -> bool:
        return bool(self._foreman.waiting(solo=False) or self._foreman.waiting(solo=True))

    def _deadline(self, task: Task) -> float | None:
        match task.phase:
            case Phase.FETCHING:
                return task.since + self._options.fetch.total_timeout + FETCH_GRACE
            case Phase.DECODING:
                return task.since + self._options.timeout_seconds
            case _:
                return None

    def _end_overdue(self, now: float) -> None:
        for child in self._nursery.children:
            if child.dying:
                continue
            for task in child.tasks.values():
                end = self._deadline(task)
                if end is not None and now >= end:
                    child.kill(Reason.DECODER_TIMEOUT if task.is_decoding() else Reason.TOTAL_TIMEOUT, task)
                    break

    def _answer_bell(self) -> None:
        os.eventfd_read(self._bell)
        self._do_what_was_called()

    def _do_what_was_called(self) -> None:
        while self._acts:
            self._acts.popleft()()

    def _obey(self, child: Child, message: dict[str, object], now: float) -> None:
        report = read_report(message)
        if report.step is Step.READY:
            self._nursery.welcome(child, now)
            return
        self._foreman.report(child, report, now)
        if report.step in (Step.LOADED, Step.FAILED):
            self._nursery.served(child)
        if report.step is Step.LOST or report.reason is Reason.DECODER_MEMORY:
            child.leaving = True  # Its memory is used up or in pieces.
