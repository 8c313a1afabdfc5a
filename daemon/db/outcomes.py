"""Writes what became of claims: vectors, failures, retries, releases. Fenced, and nothing is left half-done."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any
from uuid import UUID

import numpy as np

from daemon.db.driver import Cursor
from daemon.db.encode import VectorColumn, encode, id_kind
from daemon.db.jobs import fences
from daemon.db.names import QUERIES, Names, load_queries
from daemon.db.pool import Pool
from daemon.db.row_faults import Patience, RowLockedError, RowRefusedError, locks_of_rows, refusals_of_rows
from daemon.db.settlement import POSTPONE_SECONDS, Settlement, postponement, settlement
from daemon.errors import Reason, sqlstate
from daemon.records import Claim, Dead, ImageId, Outcome, Released, Retry, Stored

STAGE = "store"
QUERIES_STORE = QUERIES.with_name("queries_store.sql")
LOCK_TIMEOUT = "500ms"
"""Shorter than PostgreSQL's deadlock_timeout (1 s), so that in a deadlock it is never the users' session that loses."""
REFUSED_IN_A_ROW = 8
"""Vectors that the table refused, and took none in between: it is not the images, then, but the table."""
REFUSED_SECONDS = 60.0
"""Until an image is tried again whose vector a table refused that takes none at all."""
LOCK_IMAGE = "FOR KEY SHARE SKIP LOCKED"
FOREIGN_KEY_VIOLATION = "23503"

_Failed = tuple[Outcome, RowLockedError | RowRefusedError]
_Key = tuple[ImageId, UUID]
"""Of a claim: of one image, there may be an overtaken one beside the one that holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """How many of each outcome took effect, and the claims whose outcome did not.

    Those were overtaken (changed, deleted, taken over), or were locked by another session and go back to the queue.
    `locked` are claims whose job was locked, so that it was neither written nor given back: to be written again.
    `refused` are outcomes that took effect instead of others, and count as what they are: the table refuses the vector,
    so the image is dead as `vector_refused`; or it refuses all, and the image waits, as `target_refuses`.
    """

    stored: int = 0
    dead: int = 0
    retried: int = 0
    released: int = 0
    overtaken: tuple[Claim, ...] = ()
    locked: tuple[Claim, ...] = ()
    refused: tuple[Dead | Retry, ...] = ()

    def __add__(self, other: "Written") -> "Written":
        return Written(
            stored=self.stored + other.stored,
            dead=self.dead + other.dead,
            retried=self.retried + other.retried,
            released=self.released + other.released,
            overtaken=self.overtaken + other.overtaken,
            locked=self.locked + other.locked,
            refused=self.refused + other.refused,
        )


class OutcomeWriter:
    """The only writer of outcomes. `may_lock` says whether the role may lock images (`schema.Layout`).

    A dead job's image keeps the vector that it had: nothing is ever deleted from the target.
    """

    def __init__(
        self, pool: Pool, names: Names, *, vector_column: VectorColumn, signature: str, may_lock: bool = True
    ) -> None:
        self._pool = pool
        self._column = vector_column
        self._signature = signature
        self._refused_in_a_row = 0
        self._statements = cache(lambda kind: _statements(names, vector_column, kind, may_lock=may_lock))

    def sign_as(self, signature: str) -> None:
        """Vectors bear this signature from now on: the generation was raised."""
        self._signature = signature

    def write(self, outcomes: Sequence[Outcome]) -> Written:
        """Writes all of them in one transaction; in several when a row is refused, or locked by another session.

        Raises `DatabaseUnavailableError` or `DatabaseError`; calling again with the same outcomes is then right.
        """
        if not outcomes:
            return Written()
        failed: list[_Failed] = []
        written = self._write_parts(outcomes, Patience(), failed)
        refused = sum(isinstance(error, RowRefusedError) for _, error in failed)
        self._refused_in_a_row = 0 if written.stored else self._refused_in_a_row + refused
        for outcome, error in failed:
            written += self._write_instead(outcome, error)
        return written

    def _write_parts(self, outcomes: Sequence[Outcome], patience: Patience, failed: list[_Failed]) -> Written:
        """The whole, or else its halves: that singles out the rows that are to blame, which it adds to `failed`."""
        if patience.is_over:
            return self._write_without_vectors(outcomes)
        try:
            return self._write(outcomes)
        except (RowLockedError, RowRefusedError) as error:
            patience.spend(error)
            if len(outcomes) == 1:
                failed.append((outcomes[0], error))
                return Written()
        half = len(outcomes) // 2
        first = self._write_parts(outcomes[:half], patience, failed)
        return first + self._write_parts(outcomes[half:], patience, failed)

    def _write(self, outcomes: Sequence[Outcome]) -> Written:
        stored = [outcome for outcome in outcomes if isinstance(outcome, Stored)]
        settled = [settlement(outcome) for outcome in outcomes if not isinstance(outcome, Stored)]
        # Deferred constraints and triggers object at COMMIT only.
        with refusals_of_rows(), self._pool.transaction() as cursor:
            done = self._store(cursor, stored) | self._settle(cursor, settled)
            locked = self._locked(cursor, [one.claim for one in outcomes if _key(one.claim) not in done])
        return _count(outcomes, done, locked)

    def _write_without_vectors(self, outcomes: Sequence[Outcome]) -> Written:
        """Images with a vector go back to the queue; everything else is written."""
        settled = [postponement(one.claim) if isinstance(one, Stored) else settlement(one) for one in outcomes]
        with self._pool.transaction() as cursor:
            done = self._settle(cursor, settled)
            locked = self._locked(cursor, [one.claim for one in outcomes if _key(one.claim) not in done])
        others = done - {_key(one.claim) for one in outcomes if isinstance(one, Stored)}
        return _count(outcomes, others, locked)

    def _write_instead(self, outcome: Outcome, error: RowLockedError | RowRefusedError) -> Written:
        """One whose row PostgreSQL did not take goes back to the queue when it was locked, and is refused otherwise."""
        if sqlstate(error) == FOREIGN_KEY_VIOLATION:
            # Its image was deleted in mid-store, where it may not be locked against that. By now that shows.
            with suppress(RowRefusedError):
                return self._write([outcome])
        instead = None if isinstance(error, RowLockedError) else self._refused(outcome.claim, error)
        with self._pool.transaction() as cursor:
            done = self._settle(cursor, [settlement(instead) if instead else postponement(outcome.claim)])
            held = () if done else self._locked(cursor, [outcome.claim])
        if done and instead:
            return Written(dead=isinstance(instead, Dead), retried=isinstance(instead, Retry), refused=(instead,))
        return Written(locked=held) if held else Written(overtaken=(outcome.claim,))

    def _refused(self, claim: Claim, error: RowRefusedError) -> Dead | Retry:
        """What becomes of an image whose vector is not to the table's liking, or of any where none is."""
        if self._refused_in_a_row < REFUSED_IN_A_ROW:
            return Dead(claim=claim, stage=STAGE, reason=Reason.VECTOR_REFUSED, detail=str(error))
        return Retry(
            claim=claim,
            stage=STAGE,
            reason=Reason.TARGET_REFUSES,
            detail=str(error),
            delay=REFUSED_SECONDS,
            charged=False,
        )

    def _store(self, cursor: Cursor, stored: Sequence[Stored]) -> set[_Key]:
        """The claims whose vectors were written."""
        if not stored:
            return set()
        claims, vectors = [one.claim for one in stored], np.stack([one.vector for one in stored])
        statements = self._statements(id_kind(claims[0].image_id))
        cursor.execute(statements["prepare_store"])
        with locks_of_rows():
            cursor.copy_expert(statements["stage"], BytesIO(encode(claims, vectors, self._column.kind)))
            cursor.execute(statements["store"], self._parameters(vectors.shape[1]))
        return set(cursor.fetchall())

    def _parameters(self, dimension: int) -> dict[str, Any]:
        return {"signature": self._signature, "dimension": dimension, "postpone_seconds": POSTPONE_SECONDS}

    def _settle(self, cursor: Cursor, settled: Sequence[Settlement]) -> set[_Key]:
        """The claims whose jobs were changed."""
        if not settled:
            return set()
        columns = zip(*(one[1:] for one in settled), strict=True)
        values = dict(zip(Settlement._fields[1:], map(list, columns), strict=True))
        claims = [one.claim for one in settled]
        cursor.execute(self._statements(id_kind(claims[0].image_id))["settle"], values | fences(claims))
        return set(cursor.fetchall())

    def _locked(self, cursor: Cursor, claims: Sequence[Claim]) -> tuple[Claim, ...]:
        """Those of these claims, for which nothing was written, that hold all the same."""
        if not claims:
            return ()
        cursor.execute(self._statements(id_kind(claims[0].image_id))["hold"], fences(claims))
        held = set(cursor.fetchall())
        return tuple(claim for claim in claims if _key(claim) in held)


def _key(claim: Claim) -> _Key:
    return claim.image_id, claim.token


def _count(outcomes: Sequence[Outcome], done: set[_Key], locked: tuple[Claim, ...]) -> Written:
    kinds = [type(outcome) for outcome in outcomes if _key(outcome.claim) in done]
    settled = done | {_key(claim) for claim in locked}
    return Written(
        stored=kinds.count(Stored),
        dead=kinds.count(Dead),
        retried=kinds.count(Retry),
        released=kinds.count(Released),
        overtaken=tuple(one.claim for one in outcomes if _key(one.claim) not in settled),
        locked=locked,
    )


def _statements(names: Names, column: VectorColumn, kind: str, *, may_lock: bool) -> Mapping[str, str]:
    """The statements for ids of this kind. The staging table's name goes with its columns: sessions may be shared."""
    made_for = f"{names.target_table}|{names.target_vector}|{column}|{kind}"
    stage = f"vectord_stage_{hashlib.sha256(made_for.encode()).hexdigest()[:12]}"
    lock_image = LOCK_IMAGE if may_lock else ""
    return load_queries(
        names, QUERIES_STORE, stage=f"pg_temp.{stage}", id_kind=kind, lock_image=lock_image, lock_timeout=LOCK_TIMEOUT
    )
