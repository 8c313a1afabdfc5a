"""What the worst of pictures does to its loader, to its neighbours and to this process."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.errors import FailureClass, Reason
from daemon.loader.events import LoaderEnded, LoaderStarted
from daemon.loader.options import FetchOptions, LoaderOptions
from daemon.loader.samples import make_samples
from daemon.policy import RetryPolicy, decide
from daemon.records import Dead, Failure, Retry
from tests.loading import Rig, claim, is_alive, named_memory, open_files, reason

PLUGIN = Path(__file__).with_name("loader_plugin.py")
GOOD = 63


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [str(path) for path in make_samples(tmp_path_factory.mktemp("good"), GOOD, 1)]


@pytest.fixture(scope="module")
def folder(good: list[str]) -> str:
    return str(Path(good[0]).parents[1])


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADER_TEST_PLUGIN", PLUGIN.stem)
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN.parent))


def options(folder: str, timeout_seconds: float = 30.0) -> LoaderOptions:
    """A deadline that a busy machine's good pictures do not miss."""
    fetch = FetchOptions(file_roots=(folder,), total_timeout=60)
    return LoaderOptions(processes=2, timeout_seconds=timeout_seconds, memory_mb=512, fetch=fetch)


@pytest.fixture
def rig(planted: None, folder: str) -> Iterator[Rig]:
    with Rig(options(folder)) as made:
        yield made


def fault(folder: str, deed: str) -> str:
    path = Path(folder) / f"{deed}.jpg"
    path.write_text(f"FAULT:{deed}")
    return str(path)


@pytest.mark.parametrize(
    ("deed", "expected"),
    [
        ("abort", Reason.DECODER_CRASH),
        ("segfault", Reason.DECODER_CRASH),
        ("exit", Reason.DECODER_CRASH),
        ("hog", Reason.DECODER_MEMORY),
        ("native-hog", Reason.DECODER_MEMORY),
    ],
)
def test_a_bad_picture_among_good_ones_costs_only_itself(
    planted: None, good: list[str], folder: str, deed: str, expected: Reason
) -> None:
    pid = os.getpid()
    bad = fault(folder, deed)
    with Rig(options(folder)) as rig:
        results = rig.load([*good[:30], bad, *good[30:]])
        assert Counter(str(results[path]) for path in good if isinstance(results[path], Failure)) == {}
        assert all(len(rig.results[path]) == 1 for path in good)
        assert reason(results[bad]) is expected
        assert os.getpid() == pid
        again = rig.load([claim(bad, suspect=True), good[0]])
        assert reason(again[bad]) is expected
        assert reason(again[good[0]]) is None
        rig.until(lambda: len(rig.pids()) == 2 and rig.pool.status().loaders == 2, 60, "two loaders")


@pytest.mark.parametrize("deed", ["loop", "native-loop"])
def test_a_picture_without_an_end_is_ended(planted: None, folder: str, deed: str) -> None:
    bad = fault(folder, deed)
    with Rig(options(folder, timeout_seconds=1.5)) as rig:
        assert reason(rig.load([bad])[bad]) is Reason.DECODER_TIMEOUT
        assert reason(rig.load([claim(bad, suspect=True)])[bad]) is Reason.DECODER_TIMEOUT
        rig.until(lambda: len(rig.pids()) == 2 and rig.pool.status().loaders == 2, 60, "two loaders")


def test_a_picture_without_an_end_costs_its_neighbours_nothing(planted: None, good: list[str], folder: str) -> None:
    # The worst of the two: its loader answers nobody meanwhile.
    bad = fault(folder, "native-loop")
    with Rig(options(folder, timeout_seconds=10.0)) as rig:
        results = rig.load([*good[:30], bad, *good[30:]])
        assert Counter(map(reason, results.values())) == {None: GOOD, Reason.DECODER_TIMEOUT: 1}
        assert all(len(rig.results[path]) == 1 for path in good)


def test_orders_that_nobody_reads_do_not_hide_why_a_loader_was_ended(
    planted: None, good: list[str], folder: str
) -> None:
    """Linux tells of a death over unread orders before what the dead one had said."""
    bad = fault(folder, "native-loop")
    with Rig(replace(options(folder, timeout_seconds=4.0), processes=1)) as rig:
        rig.load(good[:1])
        rig.pool.submit(claim(bad))
        time.sleep(1.5)  # By then it hangs, and takes no order any more.
        for path in good[1:4]:
            rig.pool.submit(claim(path))
        rig.until(lambda: bad in rig.results, 60, "end of the bad one")
        assert reason(rig.results[bad][0]) is Reason.DECODER_TIMEOUT
        assert [ended.cause for ended in rig.seen(LoaderEnded)] == ["killed: decoder_timeout"]


def test_the_second_crash_is_final(rig: Rig, folder: str) -> None:
    bad = fault(folder, "abort")
    policy = RetryPolicy()
    first = rig.load([bad])[bad]
    assert isinstance(first, Failure)
    retry = decide(first, policy, 0.5)
    assert isinstance(retry, Retry)
    assert retry.charged
    second = rig.load([claim(bad, suspect=True, attempt=2)])[bad]
    assert isinstance(second, Failure)
    assert isinstance(decide(second, policy, 0.5), Dead)


def test_a_suspect_runs_alone(rig: Rig, good: list[str], folder: str) -> None:
    rig.load(good[:4])
    before = set(rig.pids())
    results = rig.load([claim(fault(folder, "abort"), suspect=True), *good])
    assert Counter(map(reason, results.values())) == {None: GOOD, Reason.DECODER_CRASH: 1}
    # It died in a loader of its own: those that the others were in live on.
    assert before <= set(rig.pids())


def test_a_suspect_that_is_innocent_is_loaded(rig: Rig, good: list[str]) -> None:
    assert reason(rig.load([claim(good[0], suspect=True)])[good[0]]) is None
    rig.until(lambda: len(rig.pids()) == 2, 60, "end of the extra loader")


def test_a_picture_that_recurses_without_end_is_just_corrupt(rig: Rig, folder: str) -> None:
    bad = fault(folder, "recurse")
    before = set(rig.load([bad]) and rig.pids())
    assert reason(rig.results[bad][-1]) is Reason.CORRUPT_IMAGE
    assert set(rig.pids()) == before


@pytest.mark.parametrize("deed", ["nonsense", "lie"])
def test_a_loader_that_talks_nonsense_is_ended(rig: Rig, good: list[str], folder: str, deed: str) -> None:
    bad = fault(folder, deed)
    results = rig.load([*good[:8], bad, *good[8:16]])
    assert all(reason(results[path]) is None for path in good[:16])
    failed = results[bad]
    assert isinstance(failed, Failure)
    assert failed.reason.failure_class is FailureClass.CRASH


def test_a_loader_killed_from_outside_costs_nobody_anything(rig: Rig, good: list[str]) -> None:
    rig.load(good[:2])
    for _ in range(3):
        victims = rig.pids()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        results = rig.load(good)
        assert Counter(map(reason, results.values())) == {None: GOOD}
        assert not set(victims) & set(rig.pids())


def test_an_image_that_has_its_loader_killed_each_time_ends(rig: Rig, folder: str) -> None:
    bad = fault(folder, "kill")
    result = rig.load([bad])[bad]
    assert reason(result) is Reason.DECODER_MEMORY
    assert len(rig.seen(LoaderEnded)) == 4


def test_what_a_large_daemon_has_resident_is_not_taken_for_its_loaders(planted: None, folder: str) -> None:
    # A gigabyte that is really resident when the loaders are started, as TensorFlow would have.
    ballast = b"x" * (1024 * 2**20)
    bad = fault(folder, "kill")
    with Rig(options(folder)) as rig:
        rig.load([bad])
        assert [ended.cause for ended in rig.seen(LoaderEnded)] == ["SIGKILL"] * 4
    assert len(ballast) == 2**30


def test_crashes_leave_no_files_open(rig: Rig, good: list[str], folder: str) -> None:
    rig.load(good[:4])
    rig.load([claim(fault(folder, "abort"), image_id="first")])
    rig.until(lambda: len(rig.seen(LoaderStarted)) == 3, 60, "third loader")
    before = open_files()
    for number in range(5):
        rig.load([claim(fault(folder, "abort"), image_id=number)])
    rig.until(lambda: len(rig.seen(LoaderStarted)) == 8, 60, "eighth loader")
    rig.until(lambda: open_files() <= before, 60, f"return to {before} open files")


def test_last_words_are_told(rig: Rig, folder: str) -> None:
    rig.load([fault(folder, "segfault")])
    ended = rig.seen(LoaderEnded)[-1]
    assert ended.cause == "SIGSEGV"
    assert not ended.expected
    assert "loader_plugin.py" in ended.last_words


OWNER = """
import sys, threading, uuid
from daemon.loader.options import FetchOptions, LoaderOptions
from daemon.loader.pool import LoaderPool
from daemon.records import Claim

folder, deed = sys.argv[1:]
def told(event):
    if type(event).__name__ == "LoaderStarted":
        print(event.pid, flush=True)
options = LoaderOptions(processes=2, timeout_seconds=600, fetch=FetchOptions(file_roots=(folder,)))
pool = LoaderPool(options=options, deliver=lambda result: None, emit=told)
pool.start()
for number in range(2):
    pool.submit(Claim(image_id=number, revision=1, token=uuid.uuid4(), location=deed))
threading.Event().wait()
"""


@pytest.mark.parametrize("deed", ["loop", "native-loop"])
def test_nothing_outlives_a_killed_parent(planted: None, folder: str, deed: str, rig: Rig) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PLUGIN.parents[2]), str(PLUGIN.parent)])}
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, folder, fault(folder, deed)], stdout=subprocess.PIPE, env=environment
    )
    with owner:
        try:
            assert owner.stdout is not None
            pids = [int(owner.stdout.readline()) for _ in range(2)]
            assert all(is_alive(pid) for pid in pids)
            # What has no name cannot be left behind.
            assert [named_memory(pid) for pid in (owner.pid, *pids)] == [[], [], []]
        finally:
            owner.kill()
    rig.until(lambda: not any(is_alive(pid) for pid in pids), 60, "end of the loaders")
