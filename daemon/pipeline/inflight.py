"""The claims that are being worked on: what is renewed, what bounds the claiming, what a shutdown waits for."""

from collections.abc import Iterable
from threading import Condition, Lock
from uuid import UUID

from daemon.records import Claim, ImageId

Key = tuple[ImageId, UUID]


class Inflight:
    """At most `limit` claims at a time. Every method may be called from any thread."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._claims: dict[Key, Claim] = {}
        self._changed = Condition()
        self.settling = Lock()
        """Held while outcomes are written or leases renewed: either passes over the rows that the other has locked,
        and an outcome passed over is one lost."""

    def __len__(self) -> int:
        return len(self._claims)

    @property
    def room(self) -> int:
        """How many more may be claimed."""
        return max(0, self.limit - len(self._claims))

    def claims(self) -> list[Claim]:
        """Those in work now."""
        with self._changed:
            return list(self._claims.values())

    def add(self, claims: Iterable[Claim]) -> None:
        with self._changed:
            self._claims.update((_key(claim), claim) for claim in claims)

    def remove(self, claims: Iterable[Claim]) -> None:
        with self._changed:
            for claim in claims:
                self._claims.pop(_key(claim), None)
            self._changed.notify_all()

    def wait_empty(self, timeout: float) -> bool:
        """Waits until nothing is in work; False when `timeout` seconds were not enough."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._claims, timeout)


def _key(claim: Claim) -> Key:
    return claim.image_id, claim.token
