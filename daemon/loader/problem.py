"""The one exception of the child's side: a picture cannot be had, and why."""

from daemon.errors import Reason


class LoadError(Exception):
    """Ends the loading of one image. `detail` is for people and never holds credentials or fetched content."""

    def __init__(self, reason: Reason, detail: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after
