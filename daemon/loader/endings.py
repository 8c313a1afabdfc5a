"""How a task ends: with one delivery, or forgotten without; either way its file is closed and its slot accounted for.

Touched by the dispatcher's thread only.
"""

from collections.abc import Callable

import numpy as np

from daemon.errors import Reason
from daemon.loader.events import Emit, ImageFinished
from daemon.loader.shared import Arena
from daemon.loader.slots import Slots
from daemon.loader.tasks import Phase, Task
from daemon.loader.wire import Report
from daemon.records import Claim, Delivered, Failure, Loaded, Pixels, Released, Thumbnail

STAGE = "load"

JPEG = b"\xff\xd8\xff"
"""How one begins: what a loader gives for a picture is passed on to browsers."""

Deliver = Callable[[Delivered], None]


class Endings:
    """Ends tasks. `deliver` is called with each result, `emit` once for each image that a loader has dealt with."""

    def __init__(self, *, slots: Slots, arena: Arena, deliver: Deliver, emit: Emit) -> None:
        self._slots = slots
        self._arena = arena
        self._deliver = deliver
        self._emit = emit

    def loaded(self, task: Task, report: Report) -> None:
        """Deliver what the loader made: pixels, whose slot is to be released, or a thumbnail."""
        self._count(task, report)
        if task.thumbnail:
            self._looked_at(task, report.made)
        else:
            self._close(task)
            self._deliver(Loaded(claim=task.claim, pixels=self._pixels(task.slot), slot=task.slot))

    def failed(self, task: Task, report: Report, reason: Reason) -> None:
        """Deliver the failure that the loader reports."""
        self._count(task, report)
        self.fail(task, reason, report.detail, report.retry_after)

    def excused(self, task: Task, report: Report, reason: Reason, retry_after: float) -> None:
        """Deliver a failure that the host is charged with, not the image."""
        self._count(task, report)
        self.fail(task, Reason.HOST_UNAVAILABLE, f"{reason}: {report.detail}".rstrip(": "), retry_after)

    def fail(self, task: Task, reason: Reason, detail: str = "", retry_after: float | None = None) -> None:
        """Deliver a failure."""
        claim = self.forget(task)
        self._deliver(Failure(claim=claim, stage=STAGE, reason=reason, detail=detail, retry_after=retry_after))

    def withdraw(self, task: Task) -> None:
        """Deliver it as given back."""
        self._deliver(Released(claim=self.forget(task)))

    def forget(self, task: Task) -> Claim:
        """End it without a delivery; its claim."""
        self._close(task)
        self._slots.settle(task.slot)
        return task.claim

    def _looked_at(self, task: Task, length: int) -> None:
        """A thumbnail is copied at once, so its slot is free again."""
        jpeg = self._arena.get(task.slot, length)
        if not jpeg.startswith(JPEG):
            self.fail(task, Reason.LOADER_LOST, "no thumbnail")
            return
        self._deliver(Thumbnail(claim=self.forget(task), jpeg=jpeg))

    def _pixels(self, slot: int) -> Pixels:
        side, size = self._arena.side, self._arena.slot_bytes
        pixels: Pixels = np.frombuffer(self._arena.memory, np.uint8, count=size, offset=slot * size)
        return pixels.reshape(side, side, 3)

    def _close(self, task: Task) -> None:
        task.close_file()
        task.phase = Phase.DELIVERED

    def _count(self, task: Task, report: Report) -> None:
        decoding = 0.0 if task.phase is Phase.FETCHING else report.seconds
        self._emit(
            ImageFinished(
                reason=report.reason, size=task.size, fetch_seconds=task.fetch_seconds, decode_seconds=decoding
            )
        )
