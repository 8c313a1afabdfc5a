"""Tasks that wait for a loader: in order, but none waits behind another whose host has no room."""

from collections import deque
from collections.abc import Callable, Iterator
from uuid import UUID

from daemon.loader.tasks import Task
from daemon.records import Claim

URGENT = 0
Key = tuple[int, str]
"""The rank, the lowest first, and the host."""


def rank(claim: Claim) -> int:
    """Who waits for an answer comes first, then what has just been written, then what the sweep found."""
    return URGENT if claim.urgent else 1 + claim.backfill


class Intake:
    """A queue per rank and host; of the tasks whose host has room, the oldest of the lowest rank comes first."""

    def __init__(self) -> None:
        self._queues: dict[Key, deque[Task]] = {}

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def __iter__(self) -> Iterator[Task]:
        for queue in self._queues.values():
            yield from queue

    def put(self, task: Task) -> None:
        """At the end, or where its number says when it comes back."""
        queue = self._queues.setdefault((rank(task.claim), task.host), deque())
        if queue and queue[0].number > task.number:
            queue.appendleft(task)
        else:
            queue.append(task)

    def take(self, has_room: Callable[[str], bool], *, urgent: bool = False) -> Task | None:
        """The next task whose host has room; none that is not urgent, if that is asked for."""
        open_keys = (
            (key[0], queue[0].number, key)
            for key, queue in self._queues.items()
            if (key[0] == URGENT or not urgent) and has_room(key[1])
        )
        first = min(open_keys, default=None)
        return None if first is None else self._pop(first[2])

    def remove(self, condition: Callable[[str], bool], *, keep: int = 0) -> list[Task]:
        """Take out the tasks of all hosts of which this holds, but the first few of each."""
        found: list[Task] = []
        for key in [key for key in self._queues if condition(key[1])]:
            queue = self._queues[key]
            found += list(queue)[keep:]
            self._queues[key] = deque(list(queue)[:keep])
            if not self._queues[key]:
                del self._queues[key]
        return found

    def discard(self, token: UUID) -> Task | None:
        """Take out the task of this claim, if it is here."""
        for key, queue in self._queues.items():
            for task in queue:
                if task.claim.token == token:
                    queue.remove(task)
                    if not queue:
                        del self._queues[key]
                    return task
        return None

    def _pop(self, key: Key) -> Task:
        queue = self._queues[key]
        task = queue.popleft()
        if not queue:
            del self._queues[key]
        return task
