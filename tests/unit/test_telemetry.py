"""logs and metrics: what each event becomes, and what never shows."""

import io
import json
import os
import subprocess
import sys
from typing import Any, get_args
from uuid import uuid4

import numpy as np
import pytest
from prometheus_client.samples import Sample

from daemon.errors import DatabaseUnavailableError, Reason
from daemon.events import Answered, Event, Extracted, Hindered, Locked, Overtaken, Settled, Worked
from daemon.loader.events import Event as LoaderEvent
from daemon.loader.events import HostLeftAlone, ImageFinished, LoaderEnded, LoaderStarted, LoaderStartFailed
from daemon.records import Claim, Dead, Failure, Released, Retry, Stored
from daemon.redact import redact
from daemon.telemetry import logs
from daemon.telemetry.logs import EventLog
from daemon.telemetry.metrics import Metrics

CLAIM = Claim(image_id=7, revision=1, token=uuid4(), location="http://x/7", attempt=2)
GONE = DatabaseUnavailableError("no connection to postgresql://bob:hunter2@db/x")
EVENTS: dict[str, Event | LoaderEvent] = {
    "worked": Worked(stage="embed", items=8, seconds=0.5),
    "stored": Settled(outcome=Stored(claim=CLAIM, vector=np.ones(2, np.float32)), seconds=1.5),
    "released": Settled(outcome=Released(claim=CLAIM), seconds=None),
    "dead": Settled(
        outcome=Dead(claim=CLAIM, stage="load", reason=Reason.NOT_FOUND, detail="404 for http://u:p@x/7"), seconds=1.0
    ),
    "retry": Settled(
        outcome=Retry(claim=CLAIM, stage="load", reason=Reason.READ_TIMEOUT, detail="", delay=5.04, charged=True),
        seconds=1.0,
    ),
    "overtaken": Overtaken(count=3),
    "locked": Locked(count=2),
    "hindered": Hindered(stage="store", error=GONE, pause=0.2),
    "image finished": ImageFinished(reason=None, size=1000, fetch_seconds=0.25, decode_seconds=0.5),
    "loader started": LoaderStarted(pid=1, seconds=0.3),
    "loader ended": LoaderEnded(pid=1, expected=False, cause="signal 11", images=3, last_words=""),
    "loader start failed": LoaderStartFailed(failures=2, pause=1.0, last_words="no memory"),
    "host left alone": HostLeftAlone(host="example.org", seconds=5.0),
    "answered": Answered(method="GET", route="/health", status=200, seconds=0.01, request="r1"),
    "extracted": Extracted(result=Failure(claim=CLAIM, stage="load", reason=Reason.NOT_FOUND, detail="404")),
}


def lines(level: str, *events: Event | LoaderEvent) -> list[dict[str, Any]]:
    out = io.StringIO()
    logs.configure(level=level, form="json", stream=out)
    log = EventLog()
    for event in events:
        log(event)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_loader_that_cannot_start_tells_the_whole_story_once() -> None:
    story = "Traceback (most recent call last):\n  File somewhere\nOSError: fetch.ca_file: no certificates"
    told = lines("info", *(LoaderStartFailed(failures=n, pause=1.0, last_words=story) for n in (1, 2, 3)))
    assert [line["last_words"] for line in told] == [story, *[story.splitlines()[-1]] * 2]


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def samples(metrics: Metrics) -> list[Sample]:
    """What events alone change."""
    collected = (sample for family in metrics.registry.collect() for sample in family.samples)
    return [one for one in collected if one.name.startswith("vectord_") and not one.name.endswith("_created")]


def test_no_event_is_left_out_of_these_tests() -> None:
    assert {type(event) for event in EVENTS.values()} == {*get_args(Event), *get_args(LoaderEvent)}


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_has_a_log_line_and_a_metric(name: str) -> None:
    metrics = Metrics()
    before = samples(metrics)
    metrics(EVENTS[name])
    assert samples(metrics) != before
    assert len(lines("debug", EVENTS[name])) == 1


def test_a_failed_image_gets_one_line_that_says_why() -> None:
    (line,) = lines("info", EVENTS["dead"])
    assert line["event"] == "image.settled"
    assert (line["status"], line["image_id"], line["reason"], line["stage"], line["attempt"]) == (
        "dead", "7", "not_found", "load", 2,
    )  # fmt: skip


def test_successes_are_told_at_debug_only() -> None:
    assert lines("info", EVENTS["stored"], EVENTS["worked"], EVENTS["released"]) == []


def test_a_log_that_nobody_can_write_stops_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as out:
        logs.configure(level="debug", form="json", stream=out)
        try:
            EventLog()(EVENTS["dead"])
        finally:
            # What lies in the buffer cannot be written either; the test is over.
            os.dup2(os.open(os.devnull, os.O_WRONLY), writer)


@pytest.mark.parametrize("name", ["dead", "hindered"])
def test_credentials_never_reach_the_log(name: str) -> None:
    (line,) = lines("info", EVENTS[name])
    assert "hunter2" not in str(line)
    assert "u:p@" not in str(line)
    assert "***@" in str(line)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("http://user:pass@host/a.jpg", "http://***@host/a.jpg"),
        ("s3://key@bucket/x", "s3://***@bucket/x"),
        ("host=db password='it\\'s me' dbname=x", "host=db password=*** dbname=x"),
        ("PASSWORD = abc user=x", "PASSWORD = *** user=x"),
        ("http://h/x?a=1&X-Amz-Signature=abc&b=2", "http://h/x?a=1&X-Amz-Signature=***&b=2"),
        ("http://h/x?token=abc#f", "http://h/x?token=***#f"),
        ("http://h/a@b.jpg", "http://h/a@b.jpg"),
        ("nothing secret", "nothing secret"),
    ],
)
def test_redaction(text: str, safe: str) -> None:
    assert redact(text) == safe


def test_events_move_the_metrics() -> None:
    metrics = Metrics()
    for event in EVENTS.values():
        metrics(event)
    assert value(metrics, "vectord_stage_items_total", stage="embed") == 8
    assert value(metrics, "vectord_stage_seconds_sum", stage="embed") == 0.5
    assert value(metrics, "vectord_batch_size_sum") == 8
    settled = {name: value(metrics, "vectord_images_total", status=name) for name in ("stored", "dead", "retry")}
    assert settled == {"stored": 1, "dead": 1, "retry": 1}
    load = {"stage": "load", "class": "permanent"}
    assert value(metrics, "vectord_failures_total", reason="not_found", **load) == 1
    assert value(metrics, "vectord_failures_total", reason="gone", **load) == 0
    assert value(metrics, "vectord_overtaken_total") == 3
    assert value(metrics, "vectord_locked_total") == 2
    assert value(metrics, "vectord_stage_faults_total", stage="store") == 1
    assert value(metrics, "vectord_latency_seconds_sum") == 1.5
    assert value(metrics, "vectord_stage_seconds_sum", stage="load") == 0.75
    assert value(metrics, "vectord_fetched_bytes_total") == 1000
    assert value(metrics, "vectord_loader_ends_total", end="unexpected") == 1


def test_two_daemons_in_one_process_do_not_share_their_metrics() -> None:
    one, other = Metrics(), Metrics()
    one(Overtaken(count=1))
    assert value(other, "vectord_overtaken_total") == 0


def test_no_metric_has_an_id_or_a_url_in_a_label() -> None:
    metrics = Metrics()
    for event in EVENTS.values():
        metrics(event)
    families = [family for family in metrics.registry.collect() if family.name.startswith("vectord_")]
    labels = {label for family in families for sample in family.samples for label in sample.labels}
    assert labels <= {"stage", "status", "reason", "class", "le", "end", "method", "route"}


def test_importing_the_api_loads_neither_an_engine_nor_the_database() -> None:
    heavy = {"tensorflow", "keras", "openvino", "psycopg2", "PIL", "requests"}
    code = f"import daemon.api.app, daemon.api.server, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_commands_that_only_ask_load_nothing_to_serve_with() -> None:
    heavy = {"tensorflow", "keras", "openvino", "fastapi", "uvicorn", "apscheduler", "PIL", "requests"}
    commands = "daemon.cli, daemon.ground, daemon.doctor.examination"
    code = f"import {commands}, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
