"""What people see of words that others chose: brackets in them are no markup."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console, RenderableType

from daemon import cli
from daemon.commands import screen
from daemon.db.figures import Certainty, Figure
from daemon.db.findings import Backlog, Status, SweepSeen, WorkerSeen
from daemon.db.similar import Neighbour
from daemon.demo import summary
from daemon.errors import ConfigurationError

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ODD = "[/x] CLIP [vit-b]"


def shown(what: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(what)
    return out.getvalue()


def test_an_error_keeps_its_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli._fail(ConfigurationError(f"give it the same [model]; {ODD}"), 2)
    assert capsys.readouterr().err == f"error: give it the same [model]; {ODD}\n"


def test_versions_and_daemons_keep_their_brackets() -> None:
    none, one = (Figure(number=number, certainty=Certainty.EXACT) for number in (0, 1))
    worker = WorkerSeen(worker=ODD, host="a", pid=1, signature=ODD, started_at=NOW, seen_at=NOW, alive=True)
    seen = Status(
        taken_at=NOW,
        signature=None,
        images=one,
        backlog=Backlog(pending=none, leased=0, due=0, waiting=0, oldest=None),
        dead={},
        workers=(worker,),
        sweep=SweepSeen(
            cursor=None, cycle=1, looked=1, found=0, cycle_started_at=NOW, cycle_ended_at=NOW, ticked_at=NOW
        ),
        reprocess=None,
        versions={ODD: one},
        writes=0,
    )
    assert shown(screen.status(seen, None)).count(ODD) == 3


def test_neighbours_keep_their_brackets() -> None:
    assert ODD in shown(screen.neighbours([Neighbour(image_id="[b]1", similarity=1.0, version=ODD)]))
    assert shown(summary._table([(ODD, [(ODD, 0.5)])])).count(ODD) == 2
