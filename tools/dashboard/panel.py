"""What a panel of the dashboard is, and the queries that several panels share.

In a query `$$` stands for the selection of jobs and instances. What the database says is the same for all of its
daemons, so those queries take the maximum over a job.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

SELECT = 'job=~"$job", instance=~"$instance"'
RATE = "[$__rate_interval]"
IMAGES_PER_SECOND = "suffix: images/s"


class Form(Enum):
    """How a panel shows its queries."""

    LINES = auto()
    AREAS = auto()
    NUMBER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel. `queries` maps legends to PromQL; `width` is out of 24.

    `bounds` are where a number's colour changes, through `colours`, which are one more. `most` is the axis' end.
    """

    title: str
    text: str
    unit: str
    queries: Mapping[str, str]
    form: Form = Form.LINES
    width: int = 8
    bounds: tuple[float, ...] = ()
    colours: tuple[str, ...] = ("text",)
    most: float | None = None


def quantiles(metric: str, *by: str) -> dict[str, str]:
    """The median, and what 5 % and 1 % of the observations exceed."""
    labels = "".join(f"{{{{{label}}}}} " for label in by)
    group = ", ".join(("le", *by))
    return {
        f"{labels}p{share}": f"histogram_quantile(0.{share}, sum by ({group}) (rate({metric}_bucket{{$$}}{RATE})))"
        for share in ("50", "95", "99")
    }


def quantile(metric: str, *by: str) -> dict[str, str]:
    """What 5 % of the observations exceed, for each value of a label."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    return {legend: f"histogram_quantile(0.95, sum by (le, {', '.join(by)}) (rate({metric}_bucket{{$$}}{RATE})))"}


def of_database(metric: str) -> str:
    """A metric that all daemons of one database tell alike."""
    return f"max by (job) ({metric}{{$$}})"


def age(metric: str) -> str:
    """Seconds since a moment that all daemons of one database tell alike."""
    return f"time() - {of_database(metric)}"
