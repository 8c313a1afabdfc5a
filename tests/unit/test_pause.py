"""The pauses between restarts, with a record on a real disk and moments given."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.service import pause
from daemon.service.pause import FORGOTTEN, KEPT, LONGEST, RECORD


def after(failures: int) -> float:
    return pause.pause([float(moment) for moment in range(failures)], float(max(0, failures - 1)))


def test_it_grows_from_the_second_failure_on() -> None:
    assert [after(failures) for failures in range(6)] == [0, 0, 1, 2, 4, 8]
    assert after(30) == LONGEST


def test_what_was_waited_anyway_counts() -> None:
    assert pause.pause([0.0, 1.0, 2.0], 3.5) == 0.5
    assert pause.pause([0.0, 1.0, 2.0], 100.0) == 0


def test_a_failure_long_ago_has_nothing_to_do_with_the_next() -> None:
    assert pause.pause([0.0, 1.0, 2.0, 3.0 + FORGOTTEN], 3.0 + FORGOTTEN) == 0
    assert pause.pause([0.0, 1.0, 2.0], 3.0 + FORGOTTEN) == 0


@given(st.lists(st.floats(0, 1e6), max_size=KEPT).map(sorted), st.floats(0, 1e6))
def test_it_is_never_negative_nor_longer_than_the_unit_allows(failures: list[float], later: float) -> None:
    now = (failures[-1] if failures else 0.0) + later
    assert 0 <= pause.pause(failures, now) <= LONGEST


def test_failures_are_noted_until_an_end_that_somebody_asked_for(tmp_path: Path) -> None:
    slept: list[float] = []
    for moment in (10.0, 11.0, 12.0):
        pause.note(tmp_path, moment, "exit-code")
    pause.wait(tmp_path, 12.5, slept.append)
    assert slept == [1.5]
    pause.note(tmp_path, 13.0, "success")
    pause.wait(tmp_path, 13.0, slept.append)
    assert slept == [1.5]
    assert list(tmp_path.iterdir()) == []


def test_the_record_does_not_grow_for_ever(tmp_path: Path) -> None:
    for moment in range(3 * KEPT):
        pause.note(tmp_path, float(moment), "watchdog")
    assert len((tmp_path / RECORD).read_text().split()) == KEPT


@pytest.mark.parametrize("rubbish", ["not a number", "\xff"])
def test_a_record_that_cannot_be_read_stops_no_start(tmp_path: Path, rubbish: str) -> None:
    (tmp_path / RECORD).write_text(rubbish, encoding="latin-1")
    slept: list[float] = []
    pause.wait(tmp_path, 1.0, slept.append)
    assert slept == []


def test_it_waits_even_where_nothing_can_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for moment in (10.0, 11.0):
        pause.note(tmp_path, moment, "exit-code")
    slept: list[float] = []
    with Path(os.devnull).open("w") as closed:
        monkeypatch.setattr("sys.stderr", closed)
    pause.wait(tmp_path, 11.0, slept.append)
    assert slept == [1.0]


def test_as_systemd_calls_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"RUNTIME_DIRECTORY": str(tmp_path), "SERVICE_RESULT": "signal"}
    for _ in range(2):
        pause.main(["note"], environment)
    # Both failed just now, so a second is waited for: less what has passed since.
    pause.main(["wait"], environment)
    told = json.loads(capsys.readouterr().err)
    assert (told["event"], told["failures"]) == ("restart.paused", 2)
    assert 0 < told["seconds"] <= 1
    pause.main(["note"], {"RUNTIME_DIRECTORY": str(tmp_path), "SERVICE_RESULT": "success"})
    pause.main(["wait"], environment)
    pause.main(["wait"], {})
    pause.main(["note"], {"RUNTIME_DIRECTORY": str(tmp_path / "missing"), "SERVICE_RESULT": "signal"})
    assert capsys.readouterr().err == ""
