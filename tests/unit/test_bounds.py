"""How many connections there may be, by the limit of open files."""

from pathlib import Path

import pytest

from daemon import options
from daemon.api.bounds import BACKLOG, FEWEST, most_open
from daemon.doctor.judge_machine import judge_machine
from daemon.doctor.machine import Machine, needs
from tests.whole import settings


@pytest.mark.parametrize(
    ("limit", "connections"), [(2**31, 1500), (16384, 1500), (1300, 1000), (1024, 724), (300, FEWEST), (10, FEWEST)]
)
def test_there_are_as_many_as_the_limit_leaves_and_no_more_than_are_of_use(limit: int, connections: int) -> None:
    assert most_open(limit=limit, needed=300, waiting=1000) == connections


def test_where_the_doctor_is_content_all_that_may_wait_have_a_connection(tmp_path: Path) -> None:
    given = settings("", tmp_path)
    needed = needs(given, options.loader_options(given))
    assert needed.open_files > BACKLOG
    enough = needed.open_files + needed.http_waiting
    machine = Machine(
        state_dir=tmp_path,
        writable=True,
        disk_free=10**10,
        open_files=enough,
        memfd=True,
        temporary="/tmp",
        temporary_free=10**10,
        memory=10**11,
    )
    assert all(finding.remedy == "" for finding in judge_machine(machine, needed))
    assert options.most_open(given, limit=enough) == given.http.max_waiting
