"""Keeps the right number of loaders alive: starts them, replaces them, and backs off when they will not live."""

import selectors
from dataclasses import dataclass, field

from daemon.clock import Clock
from daemon.errors import Reason
from daemon.loader.child import Child, start_child
from daemon.loader.events import Emit, LoaderEnded, LoaderStarted, LoaderStartFailed
from daemon.loader.options import LoaderOptions
from daemon.loader.shared import Arena
from daemon.loader.verdict import Death

START_SECONDS = 30.0
"""A loader that is not up by then is killed."""
LEAVE_SECONDS = 5.0
"""A loader that was told to go and has not is killed."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
BROKEN_AFTER = 3
"""Starts in a row that failed, after which nothing more is taken in."""
TOLD = 4096
"""Characters of a loader's last words that are passed on."""


@dataclass(slots=True, kw_only=True)
class Nursery:
    """All loaders. The selector tells of a loader's socket and of its end, with the `Child` as data."""

    options: LoaderOptions
    arena: Arena
    clock: Clock
    selector: selectors.BaseSelector
    emit: Emit
    children: list[Child] = field(default_factory=list)
    failures: int = 0
    """Rounds of starting in a row whose loaders died before they had finished a single image."""
    last_words: str = ""
    """Of the loader that last died so."""
    not_before: float = 0.0

    def serving(self, *, solo: bool) -> list[Child]:
        """The loaders of this kind that get tasks, now or once they are up."""
        return [child for child in self.children if child.solo is solo and not child.leaving and not child.dying]

    def broken(self) -> bool:
        """No loader can be had for the time being."""
        return self.failures >= BROKEN_AFTER and not any(child.ready for child in self.children)

    def keep(self, *, normal: int, solo: int, now: float) -> None:
        """Start what is missing, let go what is too many or has served its time."""
        for kind, wanted in ((False, normal), (True, solo)):
            serving = self.serving(solo=kind)
            for child in serving[wanted:]:
                child.leaving = True
            for _ in range(wanted - len(serving)):
                self._start(solo=kind, now=now)
        for child in self.children:
            if child.leaving and not child.tasks and not child.dismissed:
                child.dismiss(now)
            elif self._overdue(child, now):
                child.kill()

    def next_deadline(self) -> float | None:
        """When `keep` has to look again, whatever else happens."""
        ends = [child.started + START_SECONDS for child in self.children if not child.ready and not child.dying]
        ends += [child.since + LEAVE_SECONDS for child in self.children if child.dismissed and not child.dying]
        return min([*ends, self.not_before] if self.failures else ends, default=None)

    def welcome(self, child: Child, now: float) -> None:
        """It is up."""
        child.ready = True
        self.emit(LoaderStarted(pid=child.process.pid, seconds=now - child.started))

    def served(self, child: Child) -> None:
        """It finished an image."""
        self.failures = 0
        child.finished += 1
        child.leaving = child.leaving or child.finished >= self.options.recycle_after

    def silence(self, child: Child) -> None:
        """Nothing more will come over its socket; it is about to end."""
        if child.listening:
            child.listening = False
            self.selector.unregister(child.channel.socket)

    def bury(self, child: Child, now: float) -> Death:
        """It has ended: forget it, and say how."""
        self.silence(child)
        self.selector.unregister(child.exit_file)
        self.children.remove(child)
        death = child.bury()
        expected = child.leaving and (death.status == 0 or death.killed_for is Reason.LOADER_LOST)
        self.emit(
            LoaderEnded(
                pid=child.process.pid,
                expected=expected,
                cause=death.describe(),
                images=child.finished,
                last_words=death.last_words[-TOLD:],
            )
        )
        if not expected and not child.finished and not _over_image(child):
            self._back_off(now, death.last_words[-TOLD:])
        return death

    def kill_all(self) -> None:
        """End all at once, and wait for it."""
        for child in self.children:
            child.leaving = True
            child.kill(Reason.LOADER_LOST)
        for child in list(self.children):
            self.bury(child, self.clock.monotonic())

    def _start(self, *, solo: bool, now: float) -> None:
        if now < self.not_before:
            return
        try:
            child = start_child(self.options, self.arena, now=now, solo=solo)
        except OSError as error:
            self._back_off(now, f"{type(error).__name__}: {error.strerror}")
            return
        self.children.append(child)
        self.selector.register(child.channel.socket, selectors.EVENT_READ, child)
        self.selector.register(child.exit_file, selectors.EVENT_READ, child)

    def _overdue(self, child: Child, now: float) -> bool:
        if child.dying:
            return False
        late = not child.ready and now >= child.started + START_SECONDS
        return late or (child.dismissed and now >= child.since + LEAVE_SECONDS)

    def _back_off(self, now: float, last_words: str) -> None:
        if now >= self.not_before:  # Those that were started together count once.
            self.failures += 1
            self.not_before = now + min(FIRST_PAUSE * 2.0 ** (self.failures - 1), LONGEST_PAUSE)
        self.last_words = last_words
        self.emit(LoaderStartFailed(failures=self.failures, pause=self.not_before - now, last_words=last_words))


def _over_image(child: Child) -> bool:
    """Whether an image is to blame for its end, rather than the installation."""
    return child.ready and (child.killed_for is not None or any(task.is_decoding() for task in child.tasks.values()))
