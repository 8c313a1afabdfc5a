"""Numbers that the commands report, and how well each is known. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Certainty(StrEnum):
    """How well a number is known: large tables are never counted to the end."""

    EXACT = "exact"
    AT_LEAST = "at least"
    ESTIMATE = "estimate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number, and how well it is known."""

    number: int
    certainty: Certainty = Certainty.EXACT

    def __str__(self) -> str:
        marks = {Certainty.EXACT: "", Certainty.AT_LEAST: " or more", Certainty.ESTIMATE: " (estimate)"}
        return f"{self.number:,}{marks[self.certainty]}"


def counted(number: int, most: int) -> Figure:
    """A count that stopped at `most`."""
    return Figure(number=number, certainty=Certainty.EXACT if number < most else Certainty.AT_LEAST)


def scaled(number: int, percent: float) -> Figure:
    """A count over a sample of so many per cent of the table."""
    if percent >= 100:
        return Figure(number=number)
    return Figure(number=round(number * 100 / percent), certainty=Certainty.ESTIMATE)
