"""Which signature this daemon works under, and whether it still counts."""

from collections.abc import Callable

import structlog

from daemon.errors import NotServingError
from daemon.reprocess import Standing

_log = structlog.get_logger("vectord")


class Presence:
    """Told after every tick of the sweep how the daemon's signature stands beside the one that counts.

    `renew` is called with the new signature when the generation was raised; `suspend` with whether to stand back,
    when another daemon's model took over, and when it is the other way round again.
    """

    def __init__(self, signature: str, *, renew: Callable[[str], None], suspend: Callable[[bool], None]) -> None:
        self.signature = signature
        self.superseded = False
        self._renew = renew
        self._suspend = suspend

    def storing(self) -> str:
        """The signature to store vectors under. Raises `NotServingError` while another daemon's model counts."""
        if self.superseded:
            raise NotServingError("another daemon's model counts now, so this one stores nothing: ask that one")
        return self.signature

    def hear(self, standing: Standing, present: str | None) -> bool:
        """Takes the news in; True when the daemon works under another signature from now on."""
        self._stand_back(superseded=standing is Standing.SUPERSEDED, present=present)
        if standing is not Standing.RAISED or present is None:
            return False
        self.signature = present
        self._renew(present)
        _log.info("signature.raised", signature=present)
        return True

    def _stand_back(self, *, superseded: bool, present: str | None) -> None:
        if superseded is self.superseded:
            return
        self.superseded = superseded
        self._suspend(superseded)
        if superseded:
            _log.warning("signature.superseded", own=self.signature, present=present, remedy="stop one of the daemons")
        else:
            _log.info("signature.counts", signature=self.signature)
