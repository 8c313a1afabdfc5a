"""What travels through the pipeline: one frozen record per step.

Claim ─ load ─ Loaded ─ embed ─ Embedded ─┐
  └────────────── Failure ────────────────┴─ store ─ Outcome
"""

from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from daemon.errors import Reason

ImageId = int | str | UUID
"""An image's id as psycopg2 gives it: int for integer and bigint columns, str for text, UUID for uuid."""

Pixels = NDArray[np.uint8]
"""uint8, `[H, W, 3]` for one image or `[N, H, W, 3]` for a batch, RGB, 0 to 255."""

Vectors = NDArray[np.float32]
"""float32, `[D]` for one image or `[N, D]` for a batch, unit length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBytes:
    """The location column is a bytea: the image's bytes lie in the row itself, `size` of them."""

    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A job leased to this daemon. `revision` and `token` fence what is written about it."""

    image_id: ImageId
    revision: int
    token: UUID
    location: str | StoredBytes
    attempt: int = 1
    """Which attempt this is, counted from one, this claim included."""
    suspect: bool = False
    """A loader died over it before: it is loaded alone."""
    backfill: bool = False
    """Found by the sweep. What somebody has just written goes before it."""
    enqueued_at: datetime | None = None
    """When the job was made, for the end-to-end latency. None where nobody asked."""
    request: str = ""
    """The id of the HTTP request that waits for it, if one does."""
    lent: bool = False
    """The location is one that the caller gave instead of the image's own."""

    @property
    def urgent(self) -> bool:
        """Somebody waits, so it goes ahead of the queue."""
        return bool(self.request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A claim's picture. `pixels` is a view of a shared-memory slot: valid until `release` of that slot."""

    claim: Claim
    pixels: Pixels
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A claim's picture for people to look at: a small JPEG, made by a loader."""

    claim: Claim
    jpeg: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A claim's vector."""

    claim: Claim
    vector: Vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong with a claim, and where. Whether it is tried again follows from the reason's class."""

    claim: Claim
    stage: str
    reason: Reason
    detail: str = ""
    """For people; never holds credentials."""
    retry_after: float | None = None
    """Seconds that the server asked to wait, where it did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Outcome: the vector is to be written."""

    claim: Claim
    vector: Vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """Outcome: failed for good."""

    claim: Claim
    stage: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Outcome: to be tried again after `delay` seconds; `charged` says whether the attempt counts."""

    claim: Claim
    stage: str
    reason: Reason
    detail: str
    delay: float
    charged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """Outcome: given back untouched, due now, its attempt not counted."""

    claim: Claim


Result = Embedded | Failure | Released
"""How work on a claim ended, before `store` decides what that means."""

Outcome = Stored | Dead | Retry | Released
"""What is written about a claim."""


Delivered = Loaded | Thumbnail | Failure | Released
"""What the loaders give for a claim."""

Answer = Result | Thumbnail
"""How work for a caller ended: only callers have thumbnails made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A caller's picture on its way, and what will come of it: `Released` where the daemon ends or the caller has."""

    claim: Claim
    result: Future[Answer]
    thumbnail: bool = False
    """It is to be looked at, not embedded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was written about a claim that a caller waits for; without effect where the claim had been overtaken."""

    outcome: Outcome
    took_effect: bool
