"""The queue: who works on which image, and until when."""

import logging
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from daemon.db.driver import Cursor, text_of
from daemon.db.names import Names, load_queries
from daemon.db.pool import Pool
from daemon.errors import Reason
from daemon.policy import LONGEST_DELAY
from daemon.records import Claim, Dead, ImageId, StoredBytes

log = logging.getLogger(__name__)

STAGE = "claim"
CALLED_BACK = 1000
"""Jobs at a time whose due time the server's clock left behind."""
CLOCK_SLACK = 600.0
"""Seconds by which a clock may be set back before that counts: less than what a retry may wait for anyway."""
LOOK_AGAIN_SECONDS = 0.05
"""What is due and could not be claimed, or is about to be committed, is not worth spinning for."""
POLLS_PER_BELL = 3
"""The bell stays up for so many polls, each of which renews it: a dead daemon's comes off by itself."""

Location = str | StoredBytes


class JobQueue:
    """Jobs leased to one daemon. Every method is one short transaction and may be called from any thread.

    `stored_bytes` says that the location column holds the picture itself (a bytea). A job that was in work at the
    death of `max_attempts` daemons is claimed one at a time from then on; after twice as many it ends dead as
    `daemon_lost`, at the next claim after its last lease.
    `poll_seconds` is how often somebody looks when nobody calls.

    The triggers call by NOTIFY only while the bell is up, as NOTIFY makes the users' commits queue up: a claim that
    came back full takes it off, since there is more to do anyway, and `seconds_until_due` puts it up again.
    All raise `DatabaseUnavailableError` or `DatabaseError`.
    """

    def __init__(
        self,
        pool: Pool,
        names: Names,
        *,
        worker: str,
        lease_seconds: float,
        max_attempts: int = 5,
        stored_bytes: bool = False,
        signature: str = "",
        poll_seconds: float = 5.0,
    ) -> None:
        self._pool = pool
        self._queries = load_queries(names)
        self._worker = {"worker": worker, "host": platform.node(), "pid": os.getpid(), "signature": signature}
        self._lease = {"worker": worker, "lease_seconds": lease_seconds, "max_attempts": max_attempts}
        self._stored_bytes = stored_bytes
        self.tell: Callable[[Dead], None] = lambda _: None
        """Hears of each job that a claim found dead as `daemon_lost`: nobody lives that could have said so."""
        self._farthest = max(LONGEST_DELAY, lease_seconds) + CLOCK_SLACK
        self.poll_every(poll_seconds)
        self._bell_is_up = False
        self._found_nothing = False

    def poll_every(self, seconds: float) -> None:
        """How often somebody looks when nobody calls, from now on."""
        self._bell = {"bell_seconds": seconds * POLLS_PER_BELL}

    def sign_as(self, signature: str) -> None:
        """What `worker` tells of this daemon from its next sign of life on: the generation was raised."""
        self._worker["signature"] = signature

    def claim(self, limit: int) -> list[Claim]:
        """Leases up to `limit` due jobs. Those whose image is gone are removed instead."""
        token = uuid4()
        with self._pool.transaction() as cursor:
            rows, lost = self._lease_jobs(cursor, token, limit)
            claims = self._with_locations(cursor, token, rows) if rows else []
            self._take_off_the_bell(cursor, more=len(rows) == limit)
        for row in lost:
            self.tell(Dead(claim=_claim(row, token, ""), stage=STAGE, reason=Reason.DAEMON_LOST, detail=""))
        self._found_nothing = not claims
        return claims

    def renew(self, claims: Sequence[Claim]) -> int:
        """Extends the leases that are still ours, tells that this daemon lives, and counts the leases extended."""
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries["seen"], self._worker)
            if not claims:
                return 0
            cursor.execute(self._queries["renew"], self._lease | fences(claims))
            return cursor.rowcount

    def leave(self) -> None:
        """Tells that this daemon has ended in good order, so that nobody waits for its next sign of life."""
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries["leave"], self._worker)

    def release(self, claims: Sequence[Claim]) -> int:
        """Gives claims back untouched: due now, the attempt not counted. Counts those that were still ours.

        Raises `DatabaseUnavailableError` where another session keeps one of their jobs locked; their leases then end.
        """
        if not claims:
            return 0
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries["release"], fences(claims))
            return cursor.rowcount

    def seconds_until_due(self) -> float | None:
        """How long to sleep: 0 when a job is due, None when nothing is pending. From now on the triggers call.

        What is due and escaped the last claim is locked by another session, so it is looked for a little later, and so
        are the jobs of transactions that found no bell and have not ended. What is due later than anything is ever put
        off to, since the server's clock was set back, is due now.
        """
        with self._pool.transaction() as cursor:
            # The order matters: see migrations/ring.sql. Each statement sees what was committed before it.
            cursor.execute(self._queries["put_up_the_bell"], self._bell)
            self._bell_is_up = True
            cursor.execute(self._queries["writers"])
            writers = bool(_only(cursor))
            cursor.execute(self._queries["until_due"])
            first, last = cursor.fetchone() or (None, None)
            if last is not None and last > self._farthest and self._call_back(cursor):
                return 0.0
            return self._sleep(first, writers=writers)

    def read_stored(self, claim: Claim) -> bytes:
        """The picture out of the location column; empty when the row, or what was in it, is gone."""
        with self._pool.transaction() as cursor:
            cursor.execute(self._queries["stored_bytes"], {"id": claim.image_id})
            return bytes(_only(cursor) or b"")

    def _call_back(self, cursor: Cursor) -> bool:
        cursor.execute(self._queries["call_back"], {"seconds": self._farthest, "limit": CALLED_BACK})
        if cursor.rowcount:
            log.warning("the server's clock was set back: what was due hours from now is due now")
        return cursor.rowcount > 0

    def _sleep(self, until_due: float | None, *, writers: bool) -> float | None:
        if until_due is not None and until_due <= 0:
            return LOOK_AGAIN_SECONDS if self._found_nothing else 0.0
        if not writers:
            return until_due
        return LOOK_AGAIN_SECONDS if until_due is None else min(until_due, LOOK_AGAIN_SECONDS)

    def _take_off_the_bell(self, cursor: Cursor, *, more: bool) -> None:
        if more and self._bell_is_up:
            cursor.execute(self._queries["take_off_the_bell"])
            self._bell_is_up = False

    def _lease_jobs(self, cursor: Cursor, token: UUID, limit: int) -> tuple[list[list[Any]], list[list[Any]]]:
        """The jobs leased, and those that are dead instead."""
        lost = {"lost_reason": Reason.DAEMON_LOST.label}
        cursor.execute(self._queries["claim"], self._lease | lost | {"token": token, "limit": limit})
        # RETURNING keeps no order; `place` is that of the queue.
        found = sorted(cursor.fetchall())
        leased, dead = ([row for _, judged, *row in found if judged == fate] for fate in ("leased", "dead"))
        return leased, dead

    def _with_locations(self, cursor: Cursor, token: UUID, rows: list[list[Any]]) -> list[Claim]:
        locations = self._locations(cursor, [row[0] for row in rows])
        gone = [row[0] for row in rows if row[0] not in locations]
        if gone:
            cursor.execute(self._queries["forget"], {"ids": gone, "token": token})
        return [_claim(row, token, locations[row[0]]) for row in rows if row[0] in locations]

    def _locations(self, cursor: Cursor, ids: list[ImageId]) -> Mapping[ImageId, Location]:
        if not self._stored_bytes:
            cursor.execute(self._queries["locations"], {"ids": ids})
            return {image_id: text_of(kept, cursor) for image_id, kept in cursor.fetchall()}
        cursor.execute(self._queries["sizes"], {"ids": ids})
        return {image_id: StoredBytes(size=size) for image_id, size in cursor.fetchall()}


def fences(claims: Sequence[Claim]) -> dict[str, Any]:
    """What tells whether claims are still ours, as the arrays of a statement."""
    return {
        "ids": [claim.image_id for claim in claims],
        "revisions": [claim.revision for claim in claims],
        "tokens": [claim.token for claim in claims],
    }


def _claim(row: list[Any], token: UUID, location: Location) -> Claim:
    image_id, revision, attempt, suspect, enqueued_at, backfill = row
    return Claim(
        image_id=image_id,
        revision=revision,
        token=token,
        location=location,
        attempt=attempt,
        suspect=suspect,
        backfill=backfill,
        enqueued_at=enqueued_at,
    )


def _only(cursor: Cursor) -> Any:
    row = cursor.fetchone()
    return row[0] if row else None
