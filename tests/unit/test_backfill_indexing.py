"""What becomes of the vector index in a backfill that does without it meanwhile."""

from collections.abc import Generator
from contextlib import nullcontext
from io import StringIO
from typing import cast

import pytest
from rich.console import Console

from daemon.backfill.indexing import without_index
from daemon.db.index import Progress, VectorIndex
from daemon.service.signals import StopRequest


class Index:
    """Takes three looks to be built. `asks`: somebody asks for the end at the first of them."""

    def __init__(self, stop: StopRequest, *, asks: bool = False) -> None:
        self.did: list[str] = []
        self._stop, self._asks = stop, asks

    def drop(self) -> None:
        self.did.append("drop")

    def build(self) -> Generator[Progress]:
        try:
            for done in range(3):
                if self._asks:
                    self._stop.ask()
                yield Progress(phase="building", done=done, total=3)
            self.did.append("built")
        finally:
            self.did.append("left")


def told(index: Index, stop: StopRequest, *, breaks: bool = False) -> str:
    """What a backfill says."""
    out = StringIO()
    with (
        pytest.raises(ZeroDivisionError) if breaks else nullcontext(),
        without_index(cast("VectorIndex", index), stop, Console(file=out, width=200)),
    ):
        index.did.append("work")
        if breaks:
            raise ZeroDivisionError
    return out.getvalue()


def test_it_is_dropped_before_and_built_after() -> None:
    index = Index(stop := StopRequest())
    assert "no vector index" not in told(index, stop)
    assert index.did == ["drop", "work", "built", "left"]


def test_a_build_ends_when_somebody_asks_for_the_end() -> None:
    index = Index(stop := StopRequest(), asks=True)
    assert "index --build" in told(index, stop)
    assert index.did == ["drop", "work", "left"]


def test_it_stays_where_nothing_is_begun() -> None:
    index = Index(stop := StopRequest())
    stop.ask()
    assert told(index, stop) == ""
    assert index.did == ["work"]


def test_a_fault_says_that_it_is_gone() -> None:
    index = Index(stop := StopRequest())
    assert "index --build" in told(index, stop, breaks=True)
    assert index.did == ["drop", "work"]
