"""A wall clock that can be set, for one process and its children: Debian's libfaketime. Monotonic clocks go on."""

import os
import time
from pathlib import Path

import pytest

CACHED = 1
"""Seconds for which the library believes what it has read."""


class WallClock:
    """To be set while processes with its `variables` run. Skips where the library is missing; in CI that is a failure.

    The library looks into a file, once a second: at every reading, TensorFlow takes half a minute to start.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._write(0)
        self.variables = {
            "LD_PRELOAD": _library(),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": str(CACHED),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, seconds: int) -> None:
        """So far from the real time, from now on; returns when everybody has noticed."""
        self._write(seconds)
        time.sleep(CACHED + 0.1)  # The library tells nobody when it has looked.

    def _write(self, seconds: int) -> None:
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
