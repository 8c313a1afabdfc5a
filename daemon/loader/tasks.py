"""What the pool has in hand: one task per claim, from `submit` until its pixels are released or it failed."""

import os
from dataclasses import dataclass
from enum import Enum, auto

from daemon.records import Claim


class Phase(Enum):
    """How far a task is."""

    WAITING = auto()
    READING = auto()
    """Its bytes are being read from the database."""
    FETCHING = auto()
    FETCHED = auto()
    """Its bytes wait inside a loader for their turn."""
    DECODING = auto()
    DELIVERED = auto()


@dataclass(slots=True, kw_only=True)
class Task:
    """One claim in the pool. Changed by the dispatcher's thread only."""

    number: int
    claim: Claim
    host: str
    solo: bool = False
    """To be loaded with nothing else in hand."""
    thumbnail: bool = False
    """To be looked at: a small JPEG is made of it instead of pixels."""
    phase: Phase = Phase.WAITING
    since: float = 0.0
    """When the phase began, on the monotonic clock."""
    slot: int = -1
    file: int | None = None
    """The open file that holds its bytes, where the parent has them."""
    size: int = 0
    fetch_seconds: float = 0.0
    losses: int = 0
    """Loaders that went away under it, through no fault that could be shown."""

    def move(self, phase: Phase, now: float) -> None:
        self.phase = phase
        self.since = now

    def is_decoding(self) -> bool:
        return self.phase is Phase.DECODING

    def close_file(self) -> None:
        if self.file is not None:
            os.close(self.file)
            self.file = None
