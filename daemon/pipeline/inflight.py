"""The claims that are being worked on: what is renewed, what bounds the claiming, what a shutdown waits for."""

from collections.abc import Iterable
from threading import Lock
from uuid import UUID

from daemon.records import Claim, ImageId

Key = tuple[ImageId, UUID]


class Inflight:
    """At most `limit` claims at a time, those not counted that only wait for a lock to end. For any thread.

    Its length is how many are in work.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._claims: dict[Key, Claim] = {}
        self._parked: dict[Key, Claim] = {}
        self._lock = Lock()
        self.settling = Lock()
        """Held while outcomes are written or leases renewed: either passes over the rows that the other has locked,
        and an outcome passed over has to be written once more."""

    def __len__(self) -> int:
        return len(self._claims)

    @property
    def room(self) -> int:
        """How many more may be claimed."""
        return max(0, self.limit - len(self._claims))

    def claims(self) -> list[Claim]:
        """Those whose leases are to be renewed: in work, or parked."""
        with self._lock:
            return [*self._claims.values(), *self._parked.values()]

    def add(self, claims: Iterable[Claim]) -> None:
        with self._lock:
            self._claims.update((_key(claim), claim) for claim in claims)

    def park(self, claims: Iterable[Claim]) -> int:
        """The work on these is done, and only a lock that somebody holds is in the way. Counts the ones new to it."""
        with self._lock:
            before = len(self._parked)
            for claim in claims:
                self._claims.pop(_key(claim), None)
                self._parked[_key(claim)] = claim
            return len(self._parked) - before

    def remove(self, claims: Iterable[Claim]) -> None:
        with self._lock:
            for claim in claims:
                self._claims.pop(_key(claim), None)
                self._parked.pop(_key(claim), None)


def _key(claim: Claim) -> Key:
    return claim.image_id, claim.token
