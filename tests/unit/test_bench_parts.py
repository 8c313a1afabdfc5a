"""Parts of the benchmarks that their figures stand on."""

import os
import subprocess
import sys
from io import BytesIO

import pytest
from PIL import Image

from benchmarks.pictures import raised
from benchmarks.processes import TICKS, cores, family, memory_mib, parent, processor_seconds

WORKS = """
import time
while time.process_time() < 0.3: pass
print("done", flush=True)
input()
"""


@pytest.fixture
def photograph() -> bytes:
    file = BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((64, 48)).save(file, "JPEG")
    return file.getvalue()


def test_varied_pictures_are_all_different_equally_long_and_whole(photograph: bytes) -> None:
    made = {raised(photograph, turn) for turn in range(300)}
    assert len(made) == 300
    assert {len(one) for one in made} == {len(photograph)}
    for one in made:
        with Image.open(BytesIO(one)) as picture:
            picture.load()
            assert picture.size == (64, 48)


def test_what_a_child_uses_counts_as_its_familys_also_once_it_has_ended() -> None:
    own, before = os.getpid(), processor_seconds([os.getpid()])
    with subprocess.Popen(
        [sys.executable, "-c", WORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in family(own)
        assert parent(child.pid) == own
        assert memory_mib([child.pid]) > 1
        assert memory_mib([own]) > memory_mib([own], alone=True) > 1
        during = processor_seconds([own])
        child.communicate("go on")
    assert during - before >= 0.2
    assert processor_seconds([own]) >= during - 5 / TICKS  # Each process is rounded by itself.
    assert family(child.pid) == []
    assert memory_mib([child.pid]) == 0


def test_the_machines_time_is_idle_or_not() -> None:
    now = cores()
    assert 0 <= now.idle <= now.all
    assert (now - now).all == 0
