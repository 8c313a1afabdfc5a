"""Reads images that lie in the database, in a thread of its own: the dispatcher never waits for PostgreSQL."""

import queue
import threading
from collections.abc import Callable

from daemon.loader.tasks import Task
from daemon.records import Claim

ReadStored = Callable[[Claim], bytes | None]
"""The bytes of the claim's row; None when there are none any more. May raise anything."""
Answered = Callable[[Task, bytes | Exception | None], None]


class StoredReader:
    """Takes tasks, reads their bytes, and hands them to `answered`, in its own thread."""

    def __init__(self, read: ReadStored, answered: Answered) -> None:
        self._read = read
        self._answered = answered
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="loader-stored", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask(self, task: Task) -> None:
        self._tasks.put(task)

    def close(self, timeout: float) -> None:
        self._tasks.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                answer: bytes | Exception | None = self._read(task.claim)
            except Exception as error:  # noqa: BLE001 - told to the dispatcher, whatever the database raised
                answer = error
            self._answered(task, answer)
