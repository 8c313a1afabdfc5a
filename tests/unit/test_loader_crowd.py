"""When callers keep others from the loaders, and for how long."""

import pytest

from daemon.fairness import FAIR_EVERY
from daemon.loader.crowd import CROWD, Crowd
from daemon.loader.tasks import Phase, Task
from tests.loading import claim

LOADERS = 2
ENOUGH = CROWD * LOADERS


def task(*, urgent: bool, host: str = "", phase: Phase = Phase.WAITING) -> Task:
    return Task(number=1, claim=claim("1", request="r" * urgent), host=host, phase=phase)


def test_fewer_callers_than_keep_all_loaders_busy_keep_nobody_out() -> None:
    assert not Crowd(lambda: ENOUGH - 1, LOADERS).keeps_out([])
    assert Crowd(lambda: ENOUGH, LOADERS).keeps_out([])


def test_somebody_else_has_his_turn_after_so_many_urgent_ones() -> None:
    crowd = Crowd(lambda: ENOUGH, LOADERS)
    for _ in range(FAIR_EVERY):
        assert crowd.keeps_out([])
        crowd.handed_out(task(urgent=True))
    assert not crowd.keeps_out([])
    crowd.handed_out(task(urgent=False))
    assert crowd.keeps_out([])


@pytest.mark.parametrize(
    ("known", "out"),
    [
        (task(urgent=True, host="a", phase=Phase.WAITING), False),
        (task(urgent=True, host="a", phase=Phase.FETCHING), False),
        (task(urgent=True, host="a", phase=Phase.DECODING), True),
        (task(urgent=True, phase=Phase.FETCHING), True),
        (task(urgent=False, host="a", phase=Phase.FETCHING), True),
    ],
)
def test_pictures_that_the_network_has_yet_keep_no_loader_busy(known: Task, *, out: bool) -> None:
    assert Crowd(lambda: ENOUGH, LOADERS).keeps_out([known]) is out
