"""The dashboard as Grafana imports it."""

import json

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tools.dashboard.board import build
from tools.dashboard.parts import ENGINE, LOADERS, STAGES
from tools.dashboard.surroundings import DATABASE, HTTP, PROCESS, WAKING
from tools.dashboard.work import BACKLOG, FAILURES, OVERVIEW

ROWS = {
    "Overview": OVERVIEW,
    "Backlog and throughput": BACKLOG,
    "Failures": FAILURES,
    "Stages: where the bottleneck is": STAGES,
    "Loaders": LOADERS,
    "Engine and GPU": ENGINE,
    "Sweep and listener": WAKING,
    "Database": DATABASE,
    "HTTP": HTTP,
    "Process": PROCESS,
}


def page() -> str:
    """JSON, laid out so that a change shows as one."""
    return json.dumps(build(ROWS).build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
