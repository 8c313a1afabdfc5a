"""The GPU's benchmark on this machine's CPU, so that it runs the day there is a GPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import arithmetic

TREE = Path(__file__).resolve().parents[2]


def test_it_measures_each_precision() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--quick", "--json"],
        cwd=TREE,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {(row["precision"], row["batch"]) for row in rows} == {("float32", 2), ("bfloat16", 2)}
    assert all(row["images_per_second"] > 0 for row in rows)


def test_the_arithmetic_is_that_of_the_paper() -> None:
    operations, _ = arithmetic(1.0, 224)
    # Source: arXiv:1801.04381, table 4: 300 million multiply-adds, two operations each.
    assert operations == pytest.approx(600e6, rel=0.01)
