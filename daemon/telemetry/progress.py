"""How far it is: a bar on a terminal, a line now and then elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

LINE_SECONDS = 2.0


class Reporter:
    """Shows how many of `total` are done; a `total` of 0 is one that is not known yet."""

    def __init__(self, console: Console, *, total: int = 0, what: str = "images") -> None:
        self._console = console
        self._total = total
        self._what = what
        self._told = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task(what, total=total or None)

    def show(self, done: int, *, total: int | None = None, what: str | None = None) -> None:
        """`done` of `total`, which may be another total, and another thing that is counted, than before."""
        self._total = self._total if total is None else total
        self._what = what or self._what
        self._bar.update(self._task, completed=done, total=self._total or None, description=self._what)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._told >= LINE_SECONDS:
            self._told = now
            self._console.print(f"{done} of {self._total or '?'} {self._what}")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
