"""Writes docs/metrics.md from the declarations: `python -m daemon.telemetry.reference > docs/metrics.md`."""

import sys
from collections.abc import Iterable, Iterator

from daemon.errors import FailureClass
from daemon.telemetry.declarations import SECTIONS, Declared, Kind
from daemon.telemetry.lookout import LOOK_SECONDS, STALE_SECONDS
from daemon.telemetry.metrics import ENDS, EXTRACTS, METHODS, OTHER_METHOD, STAGES, STATUSES
from daemon.telemetry.organs import LISTENER_STATES

HEAD = f"""# Metrics

What `GET /metrics` shows, in Prometheus' text format. Alert rules, their tests and a Grafana dashboard are in
`systemd/monitoring/`; what to do about each alert stands in [operations.md](operations.md).

This page is made from `daemon/telemetry/declarations.py` by `python -m daemon.telemetry.reference > docs/metrics.md`.

Counters and histograms exist from the start, with 0 where nothing happened yet; series of HTTP with other labels than
usual come with the first request. Gauges of the daemon's parts come when the model is warm, and are absent where their
text says so.

A daemon looks at the database every {LOOK_SECONDS:g} s on a thread of its own, and never because somebody scrapes.
After a look that failed, or when the last one is older than {STALE_SECONDS:g} s, `vectord_database_up` is 0 and the
metrics of the section Queue are absent: old figures would pass for present ones. They are the database's, so all
daemons of one database show the same: take their maximum, not their sum.
"""


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


LABELS = f"""## Labels

| label | values |
| --- | --- |
| `stage` | {_quoted(STAGES)}, whose items are leases |
| `status` | of images: {_quoted(STATUSES)}; of callers' pictures: {_quoted(EXTRACTS)}; of HTTP: the code |
| `reason` | those of [reasons.md](reasons.md) |
| `class` | {_quoted(FailureClass)} |
| `end` | {_quoted(ENDS)} |
| `state` | {_quoted(LISTENER_STATES)} |
| `method` | {_quoted(sorted(METHODS))}, `{OTHER_METHOD}` |
| `route` | the path as the API declares it, with no id in it; `unknown` for all others |
| `gpu` | NVML's number of the GPU, the one that `nvidia-smi` shows |

## Others

`process_*` are the main process's (CPU, memory, files open, when it started), and `python_info` its interpreter's, as
prometheus_client collects them. The loaders are processes of their own, hence `vectord_loader_*`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_sections(), LABELS])


def _sections() -> Iterator[str]:
    for title, metrics in SECTIONS.items():
        yield f"## {title}\n\n| metric | type | labels | what it is |\n| --- | --- | --- | --- |"
        yield from map(_row, metrics)
        yield ""


def _row(metric: Declared) -> str:
    kind = f"{metric.kind}, up to {metric.buckets[-1]:g}" if metric.kind is Kind.HISTOGRAM else metric.kind
    return f"| `{metric.series}` | {kind} | {_quoted(metric.labels)} | {metric.text} |"


if __name__ == "__main__":
    sys.stdout.write(page())
