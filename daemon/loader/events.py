"""What the pool has to say besides its results: frozen events, for logs and metrics to be made of elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass

from daemon.errors import Reason


def cause_in(last_words: str) -> str:
    """Of a traceback, the last line says what it is about."""
    return last_words.strip().rpartition("\n")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderStarted:
    """A loader is up, `seconds` after it was started."""

    pid: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderEnded:
    """A loader is gone. `expected`: it was recycled or told to go."""

    pid: int
    expected: bool
    cause: str
    images: int
    """How many it finished."""
    last_words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderStartFailed:
    """Loaders keep dying before they have done anything; the next one is started after `pause` seconds."""

    failures: int
    pause: float
    last_words: str

    @property
    def cause(self) -> str:
        """One line of the last words."""
        return cause_in(self.last_words)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFinished:
    """An image is loaded (`reason` None) or failed. Seconds are the child's."""

    reason: Reason | None
    size: int
    fetch_seconds: float
    decode_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLeftAlone:
    """An image was sent back because its host is failing, asked to wait, or is busy."""

    host: str
    seconds: float


Event = LoaderStarted | LoaderEnded | LoaderStartFailed | ImageFinished | HostLeftAlone
Emit = Callable[[Event], None]
