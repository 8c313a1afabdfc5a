"""The tasks that no loader has yet."""

from dataclasses import dataclass, field

from daemon.loader.intake import Intake
from daemon.loader.tasks import Task


@dataclass(slots=True, kw_only=True)
class Lane:
    """Tasks that run among others, or those that run alone; and those of them that wait for the database."""

    intake: Intake = field(default_factory=Intake)
    reading: dict[int, Task] = field(default_factory=dict)
    """By their numbers."""

    def __len__(self) -> int:
        return len(self.intake) + len(self.reading)

    def clear(self) -> list[Task]:
        """Gives up all of them."""
        tasks = [*self.intake.remove(lambda _: True), *self.reading.values()]
        self.reading.clear()
        return tasks
