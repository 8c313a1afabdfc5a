"""The sweep's decisions, pure: where the walk is, how far a window got, how much the queue has room for."""

from dataclasses import dataclass, replace

from daemon.records import ImageId
from daemon.reprocess import Standing

WAITING_FACTOR = 10
"""Jobs that wait (for a retry, for a host that is down) do not count against `high_water`, or one dead host would
starve all others; but with them the queue is at most so many times as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where the sweep is. `cursor` None: at the beginning of a cycle. The last three count since then."""

    cursor: ImageId | None = None
    highest: ImageId | None = None
    """The highest id ever seen. A hint for finding new images early, never a reason to skip one."""
    cycle: int = 0
    looked: int = 0
    found: int = 0
    left_out: int = 0
    """Images not queued, since another session held their jobs; and windows of which a backfill had a part."""

    def ended(self, before: "Position") -> bool:
        """Whether a cycle has ended since then."""
        return self.cycle > before.cycle


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The next ids: how many there were, the last of them, and those with neither vector nor job, `room` at most."""

    looked: int
    last: ImageId | None
    missing: tuple[ImageId, ...]
    held: bool = False
    """A backfill works on others of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one tick did.

    `present` is the signature that counts, None while no daemon told its model. Where `standing` is not PRESENT the
    tick did nothing; nor did it without the lock (`leader` False), nor where the queue was full (`full`).
    """

    leader: bool = True
    standing: Standing = Standing.PRESENT
    present: str | None = None
    full: bool = False
    looked: int = 0
    queued: int = 0
    forgotten: int = 0
    """Jobs dropped because their image is gone."""
    cycle: int = 0
    cycle_found: int = 0
    """Images queued in this cycle so far."""
    cycle_ended: bool = False
    cursor: ImageId | None = None
    reprocessing: bool = False
    """A reprocess is not over yet."""
    run_open: bool = False
    """A run that somebody asked for is not over yet."""
    run_more: bool = False
    """It has more to walk, and the queue room for it."""

    @property
    def walked(self) -> bool:
        """Whether this tick looked at a window."""
        return self.leader and self.standing is Standing.PRESENT and not self.full

    @property
    def more(self) -> bool:
        """Whether this cycle has more to walk, and the queue room for it."""
        return self.walked and not self.cycle_ended


def most_pending(high_water: int) -> int:
    """How long the queue may become, and how far it is counted."""
    return high_water * WAITING_FACTOR


def room_left(pending: int, workable: int, high_water: int) -> int:
    """How many jobs may be added: up to `high_water` that can be worked on."""
    return max(0, min(high_water - workable, most_pending(high_water) - pending))


def reached(found: Found, room: int, before: ImageId | None) -> ImageId | None:
    """How far it got: to the end of the window, or to the last id that there was room for."""
    if _cut_short(found, room):
        return found.missing[-1]
    return before if found.last is None else found.last


def advance(position: Position, found: Found, *, room: int, window: int, queued: int, left_out: int = 0) -> Position:
    """The position after a window; at the end of the table that is the beginning of the next cycle."""
    where = reached(found, room, position.cursor)
    begun = position if position.cursor is not None else replace(position, looked=0, found=0, left_out=0)
    counted = replace(
        begun,
        looked=begun.looked + found.looked,
        found=begun.found + queued,
        left_out=begun.left_out + left_out,
    )
    if found.looked < window and not _cut_short(found, room):
        # Ids above may have gone since they were seen, so what counts as new is put right once a cycle.
        return replace(counted, cursor=None, highest=where, cycle=position.cycle + 1)
    return replace(counted, cursor=where)


def _cut_short(found: Found, room: int) -> bool:
    return bool(found.missing) and len(found.missing) >= room
