"""Log lines as they leave the process: secrets, colours, other people's loggers, and the line a minute."""

import io
import json
import logging
import os
import pty
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import structlog

from daemon.errors import DatabaseUnavailableError, Reason
from daemon.events import Answered, Event, Overtaken, Settled
from daemon.records import Claim, Dead, Outcome, Released, Retry, Stored
from daemon.redact import redact
from daemon.telemetry import logs
from daemon.telemetry.logs import EventLog
from daemon.telemetry.summary import Summary
from tests.clock import HandClock

CLAIM = Claim(image_id=7, revision=1, token=uuid4(), location="http://x/7", attempt=2)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)


def written(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def configured(level: str = "info", form: str = "json") -> io.StringIO:
    out = io.StringIO()
    logs.configure(level=level, form=form, stream=out)
    return out


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("http://bob:p@ss@host/a.jpg", "http://***@host/a.jpg"),
        ("HTTPS://bob:hunter2@host?x=1", "HTTPS://***@host?x=1"),
        ("http://bob:hunter2@[::1]:80/", "http://***@[::1]:80/"),
        ("//bob:hunter2@host/a", "//***@host/a"),
        ("/data//photo@2x.jpg", "/data//photo@2x.jpg"),
        ("http://h/?url=http%3A%2F%2Fbob%3Ahunter2%40inner%2Fa", "http://h/?url=http%3A%2F%2F***%40inner%2Fa"),
        ("two http://a:b@x/ and ftp://c:d@y/", "two http://***@x/ and ftp://***@y/"),
        ("PGPASSWORD=hunter2 psql", "PGPASSWORD=*** psql"),
        ("POSTGRES_PASSWORD: 'hun ter2'", "POSTGRES_PASSWORD: ***"),
        ("{'password': 'hunter2', 'user': 'bob'}", "{'password': ***, 'user': 'bob'}"),
        ('{"password": "hun\\"ter2"}', '{"password": ***}'),
        ('password="two words" host=x', "password=*** host=x"),
        ("host=x passwd=hunter2;user=y", "host=x passwd=***;user=y"),
        ("Authorization: Basic Ym9iOmh1bnRlcjI=", "Authorization: Basic ***"),
        ("authorization: bearer abc.def-ghi", "authorization: bearer ***"),
        ("got 401 for Bearer abc.def", "got 401 for Bearer ***"),
        ("https://h/x?X-Amz-Credential=AK/1&X-Amz-Security-Token=t%2F", "https://h/x?X-Amz-Credential=***&X-Amz-Security-Token=***"),
        ("https://h/x?OSSAccessKeyId=LTAI&Signature=vjb&Expires=1", "https://h/x?OSSAccessKeyId=***&Signature=***&Expires=1"),
        ("https://h/x?sv=2020&sig=a%2Bb", "https://h/x?sv=2020&sig=***"),
        ("https://h/x?a=1&amp;api_key=k", "https://h/x?a=1&amp;api_key=***"),
        ("https://h/monkey?donkey=1&keyboard=2", "https://h/monkey?donkey=1&keyboard=2"),
        ("http://h:8080/a.jpg", "http://h:8080/a.jpg"),
    ],
)  # fmt: skip
def test_secrets_in_all_their_forms(text: str, safe: str) -> None:
    assert redact(text) == safe
    assert redact(safe) == safe


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_value_of_a_line_shows_a_secret_however_deep_it_lies(form: str) -> None:
    out = configured(form=form)
    secret = "postgresql://bob:hunter2@db/x"
    log = structlog.get_logger("vectord")
    log.info("a", error=DatabaseUnavailableError(secret), list=[secret, {"deep": (secret,)}], names={secret})
    log.info(secret)
    log.error("failed", exc_info=DatabaseUnavailableError(secret))
    shown = out.getvalue()
    assert "hunter2" not in shown
    assert shown.count("***@db") == 6


@pytest.mark.parametrize("form", ["json", "console"])
def test_other_peoples_loggers_come_out_in_the_same_form(form: str) -> None:
    out = configured(form=form)
    other = logging.getLogger("apscheduler")
    other.warning("cannot reach %s", "http://bob:hunter2@host/")
    other.error("it failed", exc_info=ValueError("http://bob:hunter2@host/"))
    other.info("not told")
    shown = out.getvalue()
    assert "hunter2" not in shown
    assert shown.count("http://***@host/") >= 2
    assert "not told" not in shown
    if form == "json":
        first, second = written(out)
        assert (first["event"], first["level"]) == ("cannot reach http://***@host/", "warning")
        assert second["exception"].startswith("ValueError: ")


def test_colours_on_a_terminal_and_json_elsewhere() -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w", buffering=1) as terminal, os.fdopen(leader, "rb", buffering=0) as screen:
        logs.configure(level="info", form="auto", stream=terminal)
        structlog.get_logger("vectord").info("daemon.ready", address="http://x")
        shown = screen.read(4096)
    assert b"\x1b[" in shown
    assert b"daemon.ready" in shown
    out = configured(form="auto")
    structlog.get_logger("vectord").info("daemon.ready", address="http://x")
    (line,) = written(out)
    assert (line["event"], line["level"], line["address"]) == ("daemon.ready", "info", "http://x")
    assert line["timestamp"].endswith("Z")


def test_the_journal_learns_how_grave_a_line_is(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    file = os.fstat(writer)
    monkeypatch.setenv("JOURNAL_STREAM", f"{file.st_dev}:{file.st_ino}")
    with os.fdopen(reader) as journal:
        with os.fdopen(writer, "w") as out:
            logs.configure(level="info", form="auto", stream=out)
            log = structlog.get_logger("vectord")
            log.info("a")
            log.warning("b")
            log.critical("c")
            logging.getLogger("uvicorn.error").error("d")
        lines = journal.read().splitlines()
    assert [line[:3] for line in lines] == ["<6>", "<4>", "<2>", "<3>"]
    assert [json.loads(line[3:])["event"] for line in lines] == ["a", "b", "c", "d"]
    # The variable is inherited by children whose output goes elsewhere.
    elsewhere = configured()
    structlog.get_logger("vectord").warning("b")
    assert elsewhere.getvalue().startswith("{")


def answered(route: str) -> Answered:
    return Answered(method="GET", route=route, status=200, seconds=0.01234, request="abc")


def test_an_answer_is_told_and_a_probe_only_at_debug() -> None:
    for level, expected in (("info", ["/extract/url"]), ("debug", ["/health", "/ready", "/metrics", "/extract/url"])):
        out = configured(level)
        log = EventLog()
        for route in ("/health", "/ready", "/metrics", "/extract/url"):
            log(answered(route))
        told = written(out)
        assert [line["route"] for line in told] == expected
        last = told[-1]
        assert (last["event"], last["method"], last["status"], last["seconds"], last["request"]) == (
            "http.answered", "GET", 200, 0.0123, "abc",
        )  # fmt: skip


def test_the_outcome_bears_the_request_that_waits_for_it() -> None:
    out = configured()
    asked = Claim(image_id=7, revision=1, token=uuid4(), location="http://x/7", request="abc")
    for claim in (asked, CLAIM):
        EventLog()(Settled(outcome=Dead(claim=claim, stage="load", reason=Reason.GONE, detail=""), seconds=1.0))
    first, second = written(out)
    assert first["request"] == "abc"
    assert "request" not in second


def outcomes() -> list[Event]:
    settled: list[Outcome] = [
        *([Stored(claim=CLAIM, vector=np.ones(2, np.float32))] * 3),
        Dead(claim=CLAIM, stage="load", reason=Reason.GONE, detail=""),
        Retry(claim=CLAIM, stage="load", reason=Reason.READ_TIMEOUT, detail="", delay=5.0, charged=True),
        Released(claim=CLAIM),
    ]
    return [Settled(outcome=outcome, seconds=1.0) for outcome in settled]


def test_a_line_a_minute_while_something_happens() -> None:
    clock = HandClock()
    summary = Summary(clock)
    out = configured()
    summary.tell(2, lambda: 12)
    for event in [*outcomes(), Overtaken(count=1)]:
        summary(event)
    clock.now += 60
    summary.tell(2, lambda: 12)
    clock.now += 60
    summary.tell(2, lambda: 12)
    (line,) = written(out)
    assert line["event"] == "daemon.summary"
    counts = {word: line[word] for word in ("stored", "failed", "retried", "released", "backlog", "in_flight")}
    assert counts == {"stored": 3, "failed": 1, "retried": 1, "released": 1, "backlog": 12, "in_flight": 2}
    assert (line["rate"], line["seconds"]) == (0.05, 60.0)


def test_the_line_goes_without_a_backlog_that_nobody_can_say() -> None:
    def away() -> int:
        raise DatabaseUnavailableError("away")

    clock = HandClock()
    summary = Summary(clock)
    out = configured()
    summary(outcomes()[0])
    clock.now += 60
    summary.tell(0, away)
    (line,) = written(out)
    assert line["stored"] == 1
    assert "backlog" not in line
