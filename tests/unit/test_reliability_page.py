"""docs/reliability.md has a row for each fault that is made, and for nothing else."""

import ast
import subprocess
import sys
from pathlib import Path

from tests.faults.report import rows_in
from tests.whole import ROOT

FAULTS = ROOT / "tests" / "faults"


def collected() -> list[str]:
    """The tests of faults, slow ones too, with their parameters: `test_kills.py::test_in_a_transaction[claim]`."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/faults",
        "-m",
        "",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    return [line.removeprefix("tests/faults/") for line in done.stdout.splitlines() if "::" in line]


def telling(file: Path) -> set[str]:
    """The tests of this file that tell a row: by a scene's `fault`, or by themselves."""
    functions = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
    return {f"{file.name}::{one.name}" for one in functions if any(map(tells, ast.walk(one)))}


def tells(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr="fault")) | ast.Call(func=ast.Name(id="record_property")):
            return True
    return False


def test_each_fault_has_its_row() -> None:
    """Where this fails: `make faults ARGS="-k name"` for a new test, or one whose row is missing since it failed."""
    tests = set[str]().union(*map(telling, FAULTS.glob("test_*.py")))
    wanted = [test for test in collected() if test.partition("[")[0] in tests]
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert sorted(row.test for row in rows_in(page)) == sorted(wanted)
