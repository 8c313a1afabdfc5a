"""A wall clock that can be set, for one process and its children: Debian's libfaketime. Monotonic clocks go on."""

import os
from pathlib import Path

import pytest


class WallClock:
    """To be set while processes with its `variables` run. Skips where the library is missing; in CI that is a failure.

    Every reading of the clock looks into a file, so a step takes effect at once.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.step(0)
        self.variables = {
            "LD_PRELOAD": _library(),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, seconds: int) -> None:
        """So far from the real time, from now on."""
        made = self._file.with_suffix(".new")
        made.write_text(f"{seconds:+d}s\n")
        made.chmod(0o644)
        made.replace(self._file)


def _library() -> str:
    found = next((str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), "")
    if not found:
        missing = "libfaketime is not installed (Debian's package faketime)"
        assert "CI" not in os.environ, missing
        pytest.skip(missing)
    return found
