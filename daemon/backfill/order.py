"""What the workers of a backfill are told, and what passes between them."""

from dataclasses import dataclass
from datetime import datetime

from daemon.config import Settings
from daemon.db.backfill import Span
from daemon.db.schema import Layout
from daemon.records import Claim, Failure, Pixels, Released

LEAST_UNIT = 64
LEASES = 3.0
"""A parcel also waits between the stages, where nobody renews its leases: they last so many times longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The same for all workers; fit to be sent to them. `worker` is the name that their leases bear."""

    settings: Settings
    dsn: str
    layout: Layout
    signature: str
    worker: str
    forced_since: datetime | None = None

    @property
    def unit(self) -> int:
        """Images of a unit: what a loader works on at a time, and a batch or more for the engine."""
        return max(LEAST_UNIT, self.settings.engine.batch_max)

    @property
    def lease_seconds(self) -> float:
        return LEASES * self.settings.queue.lease_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A part of a shard."""

    shard: int
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A unit loaded: uint8 `[N, H, W, 3]` for N claims, and what became of the others."""

    shard: int
    claims: tuple[Claim, ...]
    pixels: Pixels
    rest: tuple[Failure | Released, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of a unit's images, as written."""

    shard: int
    claimed: int = 0
    stored: int = 0
    dead: int = 0
    retried: int = 0
    released: int = 0
    overtaken: int = 0
