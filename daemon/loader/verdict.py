"""What a loader's death says about the image that it was decoding. Pure."""

import signal
from dataclasses import dataclass

from daemon.errors import Reason

_MEMORY_WORDS = ("memoryerror", "bad_alloc", "out of memory", "cannot allocate", "memory allocation")
_REFUSAL = "memory allocation error: security limit exceeded"
"""How libheif says that a picture is larger than it takes: nothing was allocated."""

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
    return Reason.DECODER_MEMORY if tells_of_memory(death.last_words) else Reason.DECODER_CRASH


def tells_of_memory(words: str) -> bool:
    """Whether a library says in these words that it got no memory.

    That it refuses to ask for so much is another matter: the picture is to blame, and the process as good as before.
    """
    lower = words.lower().replace(_REFUSAL, "")
    return any(word in lower for word in _MEMORY_WORDS)
