"""What a loader's death says about the image that it was decoding. Pure."""

import signal
from dataclasses import dataclass

from daemon.errors import Reason

_MEMORY_WORDS = ("memoryerror", "bad_alloc", "out of memory", "cannot allocate", "memory allocation")

MOST_LOSSES = 2
"""Deaths from outside that an image survives before it is suspected itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How a loader ended."""

    status: int
    """As `subprocess` gives it: negative for a signal."""
    killed_for: Reason | None
    """Why the parent killed it, if it did."""
    last_words: str = ""
    """The end of its error output."""
    peak_bytes: int = 0
    """The most memory that it had resident; 0 where that cannot be told from its parent's."""

    def describe(self) -> str:
        if self.killed_for is not None:
            return f"killed: {self.killed_for}"
        if self.status >= 0:
            return f"exit status {self.status}"
        try:
            return signal.Signals(-self.status).name
        except ValueError:
            return f"signal {-self.status}"


def blame(death: Death, *, memory_limit: int) -> Reason | None:
    """What the image in decoding is charged with; None when the death came from outside.

    Nobody but the kernel, short of memory, or someone at a keyboard sends SIGKILL; the first has its reasons in the
    size of the loader.
    """
    if death.killed_for is not None:
        return death.killed_for
    if death.status == -signal.SIGXCPU:
        return Reason.DECODER_TIMEOUT
    if death.status == -signal.SIGKILL:
        return Reason.DECODER_MEMORY if death.peak_bytes > memory_limit // 2 else None
    if death.status == 0:
        return None
    words = death.last_words.lower()
    return Reason.DECODER_MEMORY if any(word in words for word in _MEMORY_WORDS) else Reason.DECODER_CRASH
