"""How long transactions may last: less when the end is asked for, and never more again."""

import pytest
import structlog

from daemon.service.patience import Patience


class Connections:
    """Transactions that last for so many seconds already."""

    def __init__(self, *lasting: float) -> None:
        self.lasting = lasting

    def break_off(self, seconds: float) -> int:
        broken = sum(one > seconds for one in self.lasting)
        self.lasting = tuple(one for one in self.lasting if one <= seconds)
        return broken


def test_what_takes_too_long_is_broken_off_in_all_pools_and_told() -> None:
    first, second = Connections(1, 119, 121), Connections(300)
    patience = Patience(first, second, seconds=120)
    with structlog.testing.capture_logs() as told:
        patience()
        patience()
    assert (first.lasting, second.lasting) == ((1, 119), ())
    assert [(line["event"], line["connections"], line["seconds"]) for line in told] == [("database.no_answer", 2, 120)]


@pytest.mark.parametrize(
    ("seconds", "left"), [([], (0.5, 2, 20)), ([10], (0.5, 2)), ([10, 1], (0.5,)), ([1, 10], (0.5,))]
)
def test_patience_only_grows_less(seconds: list[float], left: tuple[float, ...]) -> None:
    """Of two signals at once, the second may be heard before the stop has begun."""
    pool = Connections(0.5, 2, 20)
    patience = Patience(pool, seconds=120)
    for one in seconds:
        patience.lessen(one)
    patience()
    assert pool.lasting == left
