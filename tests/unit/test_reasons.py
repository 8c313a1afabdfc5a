from pathlib import Path

import pytest

from daemon.errors import FailureClass, Reason
from daemon.loader.reasons import CLASSES, page

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reasons.md"


def test_the_page_is_up_to_date() -> None:
    assert DOCS.read_text() == page(), "run: python -m daemon.loader.reasons > docs/reasons.md"


def test_every_reason_stands_on_the_page_once() -> None:
    assert all(page().count(f"| `{reason}` |") == 1 for reason in Reason)
    assert set(CLASSES) == set(FailureClass)


def test_labels_are_one_to_one() -> None:
    assert len({reason.label for reason in Reason}) == len(Reason)
    assert all(Reason.from_label(reason.label) is reason for reason in Reason)
    with pytest.raises(ValueError, match="no such reason"):
        Reason.from_label("because")
