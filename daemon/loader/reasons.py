"""Writes docs/reasons.md from the list itself: `python -m daemon.loader.reasons > docs/reasons.md`."""

import sys
from collections.abc import Iterator

from daemon.errors import FailureClass, Reason

HEAD = """# Reasons

Why an image has no vector. The names are stable: `failures`, `why`, the logs, the metrics and the API show them, and
`retry --reason` takes them. What happens next follows from the class alone.

This page is made from `daemon/errors.py` by `python -m daemon.loader.reasons > docs/reasons.md`.
"""

CLASSES = {
    FailureClass.PERMANENT: "Dead at once: trying again would give the same. It is tried again when the location "
    "changes, or when someone retries it or has everything made anew.",
    FailureClass.TRANSIENT: "Tried again with growing pauses (a server's Retry-After is honoured); dead after "
    "`queue.max_attempts`.",
    FailureClass.CRASH: "Decoding it brought its loader down. It is tried again alone, so that it cannot take others "
    "with it; dead the second time. `daemon_lost` is found at the claim: dead once twice `queue.max_attempts` daemons "
    "died over it.",
    FailureClass.SYSTEM: "Not the image's fault: it waits, and no attempt is charged.",
}


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for kind, meaning in CLASSES.items():
        yield f"## {kind.value.capitalize()}\n\n{meaning}\n\n| reason | what it means |\n| --- | --- |"
        yield from (f"| `{reason}` | {reason.explanation} |" for reason in Reason if reason.failure_class is kind)
        yield ""


if __name__ == "__main__":
    sys.stdout.write(page())
