"""What happens in the daemon, as frozen events: `telemetry` turns each into a log line and a metric.

A stage is handed an `Emit` and knows nothing of logs or Prometheus.
"""

from collections.abc import Callable
from dataclasses import dataclass

from daemon.records import Outcome, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """A stage did `items` items in `seconds`."""

    stage: str
    items: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of a claim, as written; `seconds` since its job was made, where that is known."""

    outcome: Outcome
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overtaken:
    """Claims whose outcome was refused: the image had changed, gone, or been taken over meanwhile."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """Claims whose outcome waits, since another session holds a lock on their jobs. Told once of each."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindered:
    """A stage met a fault that is nobody's image's, and pauses for `pause` seconds before it goes on."""

    stage: str
    error: Exception
    pause: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An HTTP request was answered, `seconds` after its first line came. `route` is the path as declared, no id in it.

    `request` is the request's id, which also stands in the lines about the images that it asked for.
    """

    method: str
    route: str
    status: int
    seconds: float
    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """A caller's picture, which is no image of the table, came to a vector, to a failure, or was given back."""

    result: Result


Event = Worked | Settled | Overtaken | Locked | Hindered | Answered | Extracted
Emit = Callable[[Event], None]
