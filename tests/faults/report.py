"""What the fault tests tell of each fault, and a pytest plugin that writes it down: docs/reliability.md.

    pytest -p tests.faults.report --report=docs/reliability.md tests/faults

The rows of the tests that ran replace those they wrote before, and a test that failed has none: which these are is said
at the end. Rows of tests that are no more go. `tests/unit/test_reliability_page.py` holds the page to the tests.
"""

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

PROPERTY = "fault"
"""Of a test report: a `Row` as a tuple."""
BEGIN, END = "<!-- The table is made by `make faults`. -->", "<!-- End of the table. -->"
HEAD = """
| | fault | images | worked on twice | recovery, s | besides | test |
| --- | --- | ---: | ---: | ---: | --- | --- |
"""
LINE = re.compile(r"\| (\d+) \| (.*?) \| (\d+) \| (\d+) \| ([\d.]+) \| (.*?) \| `(.*)` \|")
FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Row:
    """A fault that was recovered from: how many images there were, how many of them were fetched more than once, and
    the seconds from the fault's end until all was settled."""

    number: int
    fault: str
    images: int
    twice: int
    seconds: float
    note: str = ""
    test: str = ""

    def __str__(self) -> str:
        cells = (self.number, self.fault, self.images, self.twice, self.seconds, self.note, f"`{self.test}`")
        return f"| {' | '.join(map(str, cells))} |"


def rows_in(text: str) -> list[Row]:
    """Those of a page."""
    return [
        Row(number=int(n), fault=fault, images=int(images), twice=int(twice), seconds=float(s), note=note, test=test)
        for n, fault, images, twice, s, note, test in LINE.findall(text)
    ]


def page(text: str, rows: Sequence[Row]) -> str:
    """The page with this table in it."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    table = "\n".join(map(str, sorted(rows, key=lambda row: (row.number, row.test, row.fault))))
    return f"{before}{BEGIN}\n{HEAD}{table}\n\n{END}{after}"


def lost(before: Sequence[Row], ran: Container[str], now: Sequence[Row]) -> list[str]:
    """The tests that ran, and this time had nothing to tell."""
    told = {row.test for row in now}
    return sorted(row.test for row in before if row.test in ran and row.test not in told)


class Report:
    """Collects rows while tests run, and writes them at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._collected: set[str] = set()
        self._ran: set[str] = set()
        self._rows: list[Row] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Before anything is deselected."""
        self._collected = {_name(item.nodeid) for item in items}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of a test is over."""
        if report.when != "call":
            return
        self._ran.add(_name(report.nodeid))
        for name, value in report.user_properties:
            if name == PROPERTY and isinstance(value, tuple):
                given = dict(zip(Row.__dataclass_fields__, value, strict=True))
                self._rows.append(Row(**given | {"test": _name(report.nodeid)}))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Says what was found, and writes it down."""
        for row in self._rows:
            terminalreporter.write_line(str(row))
        before = self._path.read_text(encoding="utf-8")
        rows = rows_in(before)
        for test in lost(rows, self._ran, self._rows):
            terminalreporter.write_line(f"no row any more: {test}", red=True)
        kept = [row for row in rows if self._stays(row.test)]
        self._path.write_text(page(before, [*kept, *self._rows]), encoding="utf-8")

    def _stays(self, test: str) -> bool:
        """Whether a row of before still holds: its test is there, and did not run just now."""
        if test in self._ran:
            return False
        function = test.partition("[")[0]
        if any(one.partition("[")[0] == function for one in self._collected):
            return test in self._collected
        file, _, name = function.partition("::")
        return (FOLDER / file).is_file() and f"def {name}(" in (FOLDER / file).read_text(encoding="utf-8")


def _name(nodeid: str) -> str:
    return nodeid.rpartition("/")[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option of this plugin."""
    parser.addoption("--report", type=Path, help="the page to write the table of faults into")


def pytest_configure(config: pytest.Config) -> None:
    """Listens where somebody wants a page."""
    if path := config.getoption("--report"):
        config.pluginmanager.register(Report(path), "faults-report")
