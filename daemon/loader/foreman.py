"""The foreman: which task goes to which loader, what becomes of it, and who pays for a loader's death.

Touched by the dispatcher's thread only. The deciding is done by the pure parts (`intake` and `hosts`: what is next;
`verdict`: whose fault a death was); nothing here waits.
"""

from collections.abc import Callable
from itertools import chain
from uuid import UUID

from daemon.errors import Reason
from daemon.loader.child import Child
from daemon.loader.crowd import Crowd
from daemon.loader.endings import Endings
from daemon.loader.events import Emit, HostLeftAlone
from daemon.loader.hosts import SPACING, HostBook
from daemon.loader.lane import Lane
from daemon.loader.location import LONGEST, is_too_long
from daemon.loader.options import LoaderOptions
from daemon.loader.shared import anonymous_file
from daemon.loader.slots import Slots
from daemon.loader.tasks import Phase, Task
from daemon.loader.verdict import MOST_LOSSES, Death, blame
from daemon.loader.wire import Report, Step
from daemon.records import Claim, StoredBytes

STALL_SECONDS = 1.0
"""So long may images of busy hosts fill the intake while a loader idles; then some are sent back."""
BUSY_SECONDS = 5.0
"""When an image of a busy host should come again."""


class Foreman:
    """All tasks between `take` and delivery. `ask_stored` starts the reading of a row's bytes."""

    def __init__(
        self,
        *,
        options: LoaderOptions,
        slots: Slots,
        endings: Endings,
        emit: Emit,
        ask_stored: Callable[[Task], None],
        crowd: Crowd,
    ) -> None:
        self._options = options
        self._slots = slots
        self._endings = endings
        self._emit = emit
        self._ask_stored = ask_stored
        self._crowd = crowd
        self.holding_back = False
        """Whether a crowd keeps ordinary images from loaders that could take them."""
        self._lanes = {False: Lane(), True: Lane()}
        self._moved = 0.0
        self.hosts = HostBook(per_host=options.fetch.per_host, pause=options.breaker_seconds)

    def waiting(self, *, solo: bool) -> int:
        """Tasks of this kind that no loader has."""
        return len(self._lanes[solo])

    def take(self, task: Task, now: float) -> None:
        """A new task, or one whose loader was lost."""
        location = task.claim.location
        limit = self._options.fetch.max_bytes
        if isinstance(location, StoredBytes) and location.size > limit:
            self._endings.fail(task, Reason.TOO_LARGE, f"{location.size} bytes, limit {limit}")
            return
        if isinstance(location, str) and task.file is None and is_too_long(location):
            self._endings.fail(task, Reason.INVALID_URL, f"more than {LONGEST} bytes")
            return
        task.move(Phase.WAITING, now)
        self._lanes[task.solo].intake.put(task)

    def dispatch(self, children: list[Child], now: float) -> None:
        """Hand out what can be handed out, and send back what should not wait here."""
        self.holding_back = False
        for solo, lane in self._lanes.items():
            serving = [child for child in children if child.solo is solo]
            self._hand_out(lane, serving, now, urgent=True)
            idle = self._hand_out(lane, serving, now, urgent=False)
            self._turn_away(lane, now, idle=idle)

    def _hand_out(self, lane: Lane, serving: list[Child], now: float, *, urgent: bool) -> bool:
        """Hands out as much as there is room for, to the least busy first; whether there is room for more."""
        while sum(child.free(urgent=urgent) for child in serving) > len(lane.reading):
            if not urgent and self._crowd.keeps_out(chain(lane.intake, *(child.tasks.values() for child in serving))):
                self.holding_back = True
                return False
            task = lane.intake.take(lambda host: self.hosts.room(host, now), urgent=urgent)
            if task is None:
                return True
            self._moved = now
            self._crowd.handed_out(task)
            self._advance(task, lane, max(serving, key=lambda child: child.free(urgent=urgent)), now)
        return False

    def stored(self, task: Task, answer: bytes | Exception | None, now: float) -> None:
        """The database has answered. A task that was given up meanwhile is forgotten."""
        if self._lanes[task.solo].reading.pop(task.number, None) is None:
            return
        match answer:
            case None:
                self._endings.fail(task, Reason.NOT_FOUND, "the row holds no bytes any more")
            case Exception():
                self._endings.fail(task, Reason.DATABASE_FAILED, type(answer).__name__)
            case bytes() if len(answer) > self._options.fetch.max_bytes:
                self._endings.fail(
                    task, Reason.TOO_LARGE, f"{len(answer)} bytes, limit {self._options.fetch.max_bytes}"
                )
            case bytes():
                self._take_stored(task, answer, now)

    def _take_stored(self, task: Task, data: bytes, now: float) -> None:
        try:
            task.file = anonymous_file("vectord-stored", data)
        except OSError as error:  # Of memory, or of files.
            self._endings.fail(task, Reason.DATABASE_FAILED, f"no room for the row's bytes: {error.strerror}")
        else:
            self.take(task, now)

    def report(self, child: Child, report: Report, now: float) -> None:
        """A loader tells how far it is with a task. Of tasks that it does not have, nothing is believed."""
        task = child.tasks.get(report.task)
        if task is None:
            return
        if task.phase is Phase.FETCHING and report.step is not Step.LOST:
            charged = self.hosts.end(task.host, report.reason, now, report.retry_after)
            task.size, task.fetch_seconds = report.size, report.seconds
        else:
            charged = True
        match report.step:
            case Step.FETCHED:
                task.move(Phase.FETCHED, now)
            case Step.DECODING:
                task.move(Phase.DECODING, now)
            case Step.LOADED:
                del child.tasks[task.number]
                self._endings.loaded(task, report)
            case Step.FAILED if report.reason is not None:
                del child.tasks[task.number]
                self._failed(task, report, report.reason, now, charged=charged)
            case _:
                del child.tasks[task.number]
                self._out_of_memory(task, now)

    def buried(self, child: Child, death: Death, now: float) -> None:
        """A loader has ended: whoever is to blame fails, the others start over."""
        limit = self._options.memory_mb * 1024 * 1024
        charge = blame(death, memory_limit=limit)
        for task in list(child.tasks.values()):
            guilty = task is child.culprit if death.killed_for is not None else task.is_decoding()
            if guilty and charge is not None:
                self._end_fetch(task, charge, now)
                self._endings.fail(task, charge, death.describe())
            elif task.losses >= MOST_LOSSES and task.solo and death.killed_for is None:
                self._end_fetch(task, Reason.LOADER_LOST, now)
                reason = Reason.DECODER_MEMORY if task.is_decoding() else Reason.LOADER_LOST
                self._endings.fail(task, reason, death.describe())
            else:
                self._lost(task, now)
        child.tasks.clear()

    def withdraw(self, token: UUID) -> None:
        """Give a task back that no loader has. One that is being worked on goes on."""
        for lane in self._lanes.values():
            if task := lane.intake.discard(token):
                self._endings.withdraw(task)

    def give_up(self, children: list[Child]) -> list[Claim]:
        """Forget all that is not delivered; the claims. Their slots are free once the loaders are gone."""
        tasks = self._take_waiting()
        for child in children:
            tasks += child.tasks.values()
            child.tasks.clear()
        return [self._endings.forget(task) for task in tasks]

    def fail_waiting(self, reason: Reason, detail: str) -> None:
        """Fail all tasks that no loader has."""
        for task in self._take_waiting():
            self._endings.fail(task, reason, detail)

    def _take_waiting(self) -> list[Task]:
        return [task for lane in self._lanes.values() for task in lane.clear()]

    def _advance(self, task: Task, lane: Lane, child: Child, now: float) -> None:
        if isinstance(task.claim.location, StoredBytes) and task.file is None:
            lane.reading[task.number] = task
            task.move(Phase.READING, now)
            self._ask_stored(task)
            return
        if task.slot < 0:
            task.slot = self._slots.lend()
        task.move(Phase.FETCHING, now)
        self.hosts.begin(task.host)
        child.tasks[task.number] = task
        try:
            child.send(task)
        except OSError:  # It is ending; its burial gives the task back.
            child.leaving = True

    def _turn_away(self, lane: Lane, now: float, *, idle: bool) -> None:
        """Send back the images of hosts that are left alone, and those of busy hosts that keep others out."""
        for task in lane.intake.remove(lambda host: self.hosts.is_left_alone(host, now)):
            self._send_back(task, self.hosts.turn_away(task.host, now))
        stalled = idle and len(lane.intake) and not self._slots.room() and now - self._moved >= STALL_SECONDS
        if stalled:
            per_host = self._options.fetch.per_host
            for number, task in enumerate(lane.intake.remove(bool, keep=per_host)):
                self._send_back(task, BUSY_SECONDS * (1 + number * SPACING))

    def _send_back(self, task: Task, seconds: float) -> None:
        self._emit(HostLeftAlone(host=task.host, seconds=seconds))
        self._endings.fail(task, Reason.HOST_UNAVAILABLE, f"{task.host} is left alone for now", seconds)

    def _failed(self, task: Task, report: Report, reason: Reason, now: float, *, charged: bool) -> None:
        if charged:
            self._endings.failed(task, report, reason)
        else:
            self._endings.excused(task, report, reason, self.hosts.turn_away(task.host, now))

    def _out_of_memory(self, task: Task, now: float) -> None:
        """It could not even be fetched. Among others that may have been their doing; alone it is its own."""
        if task.solo and task.losses >= MOST_LOSSES:
            self._end_fetch(task, Reason.LOADER_LOST, now)
            detail = f"fetching it took more than loader.memory_mb, {self._options.memory_mb} MiB"
            self._endings.fail(task, Reason.DECODER_MEMORY, detail)
        else:
            self._lost(task, now)

    def _lost(self, task: Task, now: float) -> None:
        """Its loader went away, or could not go on; it starts over, and alone once that happens too often."""
        self._end_fetch(task, Reason.LOADER_LOST, now)
        task.losses += 1
        task.solo = task.solo or task.losses > MOST_LOSSES
        self.take(task, now)

    def _end_fetch(self, task: Task, reason: Reason, now: float) -> None:
        if task.phase is Phase.FETCHING:
            self.hosts.end(task.host, reason, now)
