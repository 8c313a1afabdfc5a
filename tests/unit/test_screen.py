"""What people see of words that others chose: brackets in them are no markup."""

import io
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console, RenderableType

from daemon import cli
from daemon.commands import screen
from daemon.db.figures import Certainty, Figure
from daemon.db.findings import Backlog, FailureSeen, Status, SweepSeen, WorkerSeen
from daemon.db.similar import Neighbour
from daemon.demo import summary
from daemon.errors import ConfigurationError, DatabaseError, DatabaseUnavailableError, TooSlowError

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ODD = "[/x] CLIP [vit-b]"
NONE, ONE = (Figure(number=number, certainty=Certainty.EXACT) for number in (0, 1))


def shown(what: RenderableType, width: int = 200) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(what)
    return out.getvalue()


def refused(words: str, kind: type[Exception]) -> Exception:
    """PostgreSQL's own words, as the driver's seam passes them on."""
    error, cause = kind(words), Exception()
    cause.pgcode = "42501"  # type: ignore[attr-defined]  # psycopg2's errors have one that cannot be set
    error.__cause__ = cause
    return error


def put_together(table: str) -> str:
    """What stands in a table's cells, without its lines and the breaks in them."""
    return re.sub(r"[\W_]+", "", table)


def test_an_error_keeps_its_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli._fail(ConfigurationError(f"give it the same [model]; {ODD}"), 2)
    assert capsys.readouterr().err == f"error: give it the same [model]; {ODD}\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DatabaseUnavailableError("no route"), "error: no route\n→ see that database.dsn leads to a server"),
        (TooSlowError("too slow"), "error: too slow\n"),
        (refused("permission denied", DatabaseError), "error: permission denied\n→ `python -m daemon check` says "),
        (DatabaseError("run `init` first"), "error: run `init` first\n"),
    ],
)
def test_who_finds_no_database_learns_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(said)


def _worker(**values: Any) -> WorkerSeen:
    usual = WorkerSeen(
        worker="a:1", host="a", pid=1, signature="s", started_at=NOW, seen_at=NOW, ended_at=None, alive=True
    )
    return replace(usual, **values)


def _status(*workers: WorkerSeen, versions: Mapping[str | None, Figure] | None = None) -> Status:
    return Status(
        taken_at=NOW,
        signature=None,
        images=ONE,
        backlog=Backlog(pending=NONE, leased=0, due=0, waiting=0, oldest=None),
        dead={},
        workers=workers,
        sweep=SweepSeen(
            cursor=None, cycle=1, looked=1, found=0, cycle_started_at=NOW, cycle_ended_at=NOW, ticked_at=NOW
        ),
        reprocess=None,
        versions=versions or {},
        writes=0,
    )


def test_versions_and_daemons_keep_their_brackets() -> None:
    assert shown(screen.status(_status(_worker(worker=ODD, signature=ODD), versions={ODD: ONE}), None)).count(ODD) == 3


def test_a_daemon_that_ended_is_told_from_one_that_died() -> None:
    """Both have given no sign of life for an hour; one of them is a reason to read the journal."""
    hour = timedelta(hours=1)
    ended = _worker(worker="calm", seen_at=NOW - hour, ended_at=NOW - hour, alive=False)
    died = _worker(worker="dead", seen_at=NOW - hour, alive=False)
    first, *others = shown(screen.status(_status(ended, died), None)).splitlines()
    assert first.strip() == "no daemon is alive"
    assert ["ended" in line for name in ("calm", "dead") for line in others if name in line] == [True, False]


def test_neighbours_keep_their_brackets() -> None:
    assert ODD in shown(screen.neighbours([Neighbour(image_id="[b]1", similarity=1.0, version=ODD)]))
    assert shown(summary._table([(ODD, [(ODD, 0.5)])])).count(ODD) == 2


@pytest.mark.parametrize("width", [50, 80, 120])
def test_a_narrow_terminal_shows_all_of_a_failure(width: int) -> None:
    location = "http://pictures.example/" + "/".join(f"folder{n}" for n in range(9)) + "/last.jpg"
    one = FailureSeen(
        image_id=1234567,
        reason="unsupported_scheme",
        explanation="no way is known to fetch such a URL",
        detail="",
        attempts=1,
        failed_at=NOW,
        location=location,
    )
    table = shown(screen.failures([one]), width)
    assert "unsupported_scheme" in table
    assert "…" not in table
    if width < screen.WIDE:
        cells = put_together("".join(line.split("│")[3] for line in table.splitlines() if line.startswith("│")))
        assert cells == put_together(one.explanation + location)
    assert max(map(len, table.splitlines())) <= width


def test_a_narrow_terminal_shows_the_end_of_a_signature() -> None:
    version = "vectord:mobilenetv2_1.0_224:0123abcd:g7"
    table = shown(screen.neighbours([Neighbour(image_id=1, similarity=1.0, version=version)]), 41)
    assert "g7" in table
    assert "…" not in table
