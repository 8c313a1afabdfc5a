"""What becomes of a defect, however bad things are."""

import pytest
import structlog

from daemon.assembly import Defects


class _Broken:
    def msg(self, _: str) -> None:
        raise ValueError("I/O operation on closed file.")

    critical = msg


def test_a_defect_is_heard_of_although_the_log_fails_too() -> None:
    heard: list[BaseException] = []
    defects, error = Defects(heard.append), ZeroDivisionError("a defect")
    structlog.configure(logger_factory=lambda *_: _Broken())
    with pytest.raises(ValueError, match="closed file"):
        defects.hear(error)
    assert heard == [error]
    assert defects.any
