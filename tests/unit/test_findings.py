from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from daemon.db.figures import Certainty, Figure, counted, scaled
from daemon.db.findings import (
    Backlog,
    JobSeen,
    Status,
    SweepSeen,
    VectorSeen,
    Why,
    explain,
    foreign,
    rate,
    seconds_left,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SIGNATURE = "vectord:mobilenetv2_1.0_224:1a2b3c4d:g1"
JOB = JobSeen(
    state="pending",
    revision=1,
    attempts=2,
    not_before=NOW,
    leased_until=None,
    worker=None,
    reason=None,
    detail="",
    enqueued_at=NOW,
    failed_at=None,
    due=True,
    leased=False,
)
VECTOR = VectorSeen(version=SIGNATURE, present=True, created=None, updated=None)
WHY = Why(image_id="7", exists=True, location="http://x", vector=None, job=None, signature=SIGNATURE)
DEAD = replace(JOB, state="dead", reason="not_found")


@pytest.mark.parametrize(
    ("why", "words"),
    [
        (replace(WHY, exists=False), "there is no image 7"),
        (WHY, "the sweep queues it"),
        (replace(WHY, vector=VECTOR), "done"),
        (replace(WHY, vector=VECTOR, signature=None), "done"),
        (replace(WHY, vector=replace(VECTOR, present=False, version=SIGNATURE[:-1] + "0")), "an older generation"),
        (replace(WHY, vector=replace(VECTOR, present=False, version="vectord:other:12345678:g1")), "another model"),
        (
            replace(WHY, vector=replace(VECTOR, present=False, version="MobileNetV2")),
            "another program made (MobileNetV2)",
        ),
        (replace(WHY, vector=replace(VECTOR, present=False, version=None)), "no model_version"),
        (replace(WHY, job=JOB), "waits for its turn"),
        (replace(WHY, job=JOB, vector=VECTOR), "until then its vector of vectord:"),
        (replace(WHY, job=replace(JOB, leased=True, worker="host:1")), "host:1 works on it (attempt 2)"),
        (replace(WHY, job=replace(JOB, due=False, reason="read_timeout")), "next try at 2026-11-23 12:00:00 UTC"),
        (replace(WHY, job=DEAD), "failed for good after 2 attempts: not_found, 404"),
        (replace(WHY, job=DEAD), "retry --id 7"),
    ],
)
def test_the_verdict_says_how_an_image_stands(why: Why, words: str) -> None:
    assert words in why.verdict


def test_figures_say_how_well_they_are_known() -> None:
    assert str(counted(1234, 5000)) == "1,234"
    assert str(counted(5000, 5000)) == "5,000 or more"
    assert str(scaled(1234, 1.0)) == "123,400 (estimate)"
    assert scaled(1234, 100.0) == Figure(number=1234)


def test_the_time_left_follows_from_the_pace_so_far() -> None:
    assert seconds_left(done=0, total=10, elapsed=5.0) is None
    assert seconds_left(done=2, total=10, elapsed=5.0) == pytest.approx(20.0)
    assert seconds_left(done=10, total=10, elapsed=5.0) == 0.0


def test_a_reason_of_another_version_has_no_explanation() -> None:
    assert explain("not_found").startswith("404")
    assert explain("unheard_of") == ""
    assert explain(None) == ""


def status(writes: int, seconds: float, versions: dict[str | None, Figure]) -> Status:
    return Status(
        taken_at=NOW + timedelta(seconds=seconds),
        signature=SIGNATURE,
        images=Figure(number=0),
        backlog=Backlog(pending=Figure(number=0), leased=0, due=0, waiting=0, oldest=None),
        dead={},
        workers=(),
        sweep=SweepSeen(
            cursor=None, cycle=0, looked=0, found=0, cycle_started_at=None, cycle_ended_at=None, ticked_at=None
        ),
        reprocess=None,
        versions=versions,
        writes=writes,
    )


def test_the_rate_is_what_was_written_between_two_looks() -> None:
    assert rate(status(100, 0, {}), status(350, 10, {})) == pytest.approx(25.0)
    assert rate(status(100, 0, {}), status(100, 0, {})) == 0.0
    # PostgreSQL's counters begin anew after a crash.
    assert rate(status(100, 0, {}), status(10, 10, {})) == 0.0


def test_foreign_vectors_are_all_but_vectords_own() -> None:
    versions: dict[str | None, Figure] = {
        SIGNATURE: Figure(number=90),
        "MobileNetV2": Figure(number=7),
        None: Figure(number=3),
    }
    assert foreign(versions) == Figure(number=10)
    sampled: dict[str | None, Figure] = {SIGNATURE: Figure(number=90, certainty=Certainty.ESTIMATE)}
    assert foreign(sampled) == Figure(number=0, certainty=Certainty.ESTIMATE)
