"""A crowd of callers: while their pictures keep all loaders busy, others are handed out now and then only.

On cores that are all busy, whatever else is loaded takes from the callers' rate what it takes of the cores.
"""

from collections.abc import Callable, Iterable

from daemon.fairness import FAIR_EVERY
from daemon.loader.tasks import Phase, Task

CROWD = 8
"""Pictures for each loader that callers wait for: it has no time for others then."""


class Crowd:
    """`callers` says how many urgent images are in work, here or later on; `loaders` how many there are."""

    def __init__(self, callers: Callable[[], int], loaders: int) -> None:
        self._callers = callers
        self._least = CROWD * loaders
        self._passed = 0

    def handed_out(self, task: Task) -> None:
        """To be told of each."""
        self._passed = self._passed + 1 if task.claim.urgent else 0

    def keeps_out(self, tasks: Iterable[Task]) -> bool:
        """Whether an ordinary image has to wait. Of `tasks`, which loaders have or will have, some wait for the network
        and keep no loader busy.
        """
        if self._passed >= FAIR_EVERY or self._callers() < self._least:
            return False
        return self._callers() - sum(task.claim.urgent and _is_far_away(task) for task in tasks) >= self._least


def _is_far_away(task: Task) -> bool:
    return task.host != "" and task.phase in {Phase.WAITING, Phase.FETCHING}
