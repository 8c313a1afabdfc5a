"""Pauses between restarts that grow, for every systemd: RestartSteps= would need version 254.

    python -m daemon.service.pause wait    before a start (ExecStartPre=)
    python -m daemon.service.pause note    after every end (ExecStopPost=)

`note` writes down when a run failed, into $RUNTIME_DIRECTORY, which systemd keeps over restarts and no longer
(RuntimeDirectoryPreserve=restart); an end that somebody asked for wipes the record out. `wait` sleeps by it: the unit
is `activating` meanwhile, and `systemctl stop` or `restart` ends the pause at once. Neither ever fails: a start must
not depend on them.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

RECORD = "failures"
FIRST, LONGEST = 1.0, 300.0
"""Seconds of pause after the second failure in a row, and at most. The first one is followed by RestartSec= alone."""
KEPT = 32
FORGOTTEN = 900.0
"""Seconds. A failure longer ago than this has nothing to do with the next one."""


def pause(failures: Sequence[float], now: float) -> float:
    """Seconds to wait before a start, after failures at these moments: 0, 1, 2, 4 … 300.

    What was waited since the last failure counts.
    """
    row = _in_a_row(failures, now)
    if len(row) < 2:
        return 0.0
    whole = min(LONGEST, FIRST * 2.0 ** min(len(row) - 2, 32))
    return max(0.0, whole - (now - row[-1]))


def _in_a_row(failures: Sequence[float], now: float) -> Sequence[float]:
    """The last of them, each at most `FORGOTTEN` seconds after the one before; none when even the last is long ago."""
    following = [*failures[1:], now]
    first = max((at + 1 for at, moment in enumerate(failures) if following[at] - moment > FORGOTTEN), default=0)
    return failures[first:]


def wait(folder: Path, now: float, sleep: Callable[[float], None]) -> None:
    """Before a start."""
    failures = _read(folder / RECORD)
    if (seconds := pause(failures, now)) > 0:
        with suppress(OSError, ValueError):  # A journal that is away, or a stream that is closed.
            _tell(seconds, len(_in_a_row(failures, now)))
        sleep(seconds)


def note(folder: Path, now: float, result: str) -> None:
    """After an end, with systemd's $SERVICE_RESULT. Source: systemd.exec(5)."""
    record = folder / RECORD
    if result == "success":
        record.unlink(missing_ok=True)
        return
    failures = [*_in_a_row(_read(record), now), now][-KEPT:]
    record.write_text("".join(f"{moment}\n" for moment in failures), encoding="ascii")


def _read(record: Path) -> list[float]:
    with suppress(OSError, ValueError):
        return [float(line) for line in record.read_text(encoding="ascii").split()]
    return []


def _tell(seconds: float, failures: int) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    structlog.get_logger("vectord").warning("restart.paused", seconds=round(seconds, 1), failures=failures)


def main(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """`wait` or `note`. Does nothing outside of systemd."""
    folder = environment.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if not folder:
        return
    # The kernel's clock since boot, not the wall's, which may be set meanwhile; the folder does not outlive a boot.
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    with suppress(OSError):
        if arguments == ["wait"]:
            wait(Path(folder), now, time.sleep)
        else:
            note(Path(folder), now, environment.get("SERVICE_RESULT", ""))


if __name__ == "__main__":
    main(sys.argv[1:])
