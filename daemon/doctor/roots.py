"""The folders below which file locations may lie (`fetch.file_roots`): whether the daemon finds anything there."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from daemon.doctor.findings import Finding, ok, warning
from daemon.loader.files import is_away

CHECK = "file roots"
KEY = "fetch.file_roots"


def look_at_roots(roots: Sequence[Path]) -> Iterator[Finding]:
    """A finding for each. Nothing of it stops the daemon: the images below one that is away wait."""
    return map(_look, roots)


def _look(root: Path) -> Finding:
    if not root.is_absolute():
        told = f"{root} is relative: it counts from the folder that the daemon is started in"
        return warning(CHECK, told, f"write it out from / in {KEY}")
    if is_away(str(root)):
        return warning(CHECK, f"{root} is missing or empty: its images wait", f"mount it, or correct {KEY}")
    if not os.access(root, os.X_OK):
        return warning(CHECK, f"{root} cannot be searched by this user", "let the daemon's user in")
    return ok(CHECK, f"{root} is there")
