"""Every metric: declared once, documented, at zero from the start, and moved by what happens."""

import os
import re
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from daemon.api.line import Line
from daemon.db.gauges import Depths
from daemon.engine.protocol import EngineInfo
from daemon.errors import DatabaseUnavailableError, FailureClass, Reason
from daemon.events import Answered, Hindered, Worked
from daemon.loader.events import LoaderEnded, LoaderStarted
from daemon.pipeline import claim, embed, heartbeat, store
from daemon.telemetry.declarations import SECTIONS, Kind, declared
from daemon.telemetry.gpu import Gpus, load_library
from daemon.telemetry.lookout import STALE_SECONDS, Lookout
from daemon.telemetry.metrics import STAGES, Metrics
from daemon.telemetry.organs import LISTENER_STATES
from daemon.telemetry.processes import LoaderProcesses, usage
from daemon.telemetry.readings import Reading
from daemon.telemetry.reference import page
from daemon.wake import sweep
from daemon.wake.listener import Hearing
from tests.clock import HandClock
from tests.whole import ROOT

PROMTOOL = shutil.which("promtool")
NAME = re.compile(r"\bvectord_\w+")
SUFFIXES = {Kind.COUNTER: ("",), Kind.GAUGE: ("",), Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}
NOW = datetime(2026, 11, 23, tzinfo=UTC)
DEPTHS = Depths(
    pending=5, leased=2, due=1, dead=3, oldest_pending=NOW, oldest_due=None, job_table_bytes=8192,
    job_table_dead_rows=0, source_rows=100, target_rows=90, swept_at=NOW, cycle_ended_at=None, cycle=1,
    cycle_looked=40, cycle_found=4, reprocessing=True, walked=False, backfill=2, notification_queue=0.5,
    oldest_transaction=None,
)  # fmt: skip


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def read(readings: Iterable[Reading]) -> dict[str, float]:
    return {reading.name: reading.value for reading in readings}


def series() -> set[str]:
    """All names that a query may use."""
    return {metric.series + suffix for metric in declared() for suffix in SUFFIXES[metric.kind]}


def test_the_page_is_up_to_date() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    assert text == page(), "run: python -m daemon.telemetry.reference > docs/metrics.md"


def test_each_metric_is_declared_once() -> None:
    assert [name for name, times in Counter(metric.name for metric in declared()).items() if times > 1] == []
    assert all(metric.text.endswith(".") for metric in declared())
    assert all(SECTIONS.values())


@pytest.mark.parametrize("file", ["vectord.rules.yml", "vectord.rules.test.yml", "vectord-dashboard.json"])
def test_rules_and_dashboard_ask_for_nothing_that_is_not_declared(file: str) -> None:
    asked = set(NAME.findall((ROOT / "systemd" / "monitoring" / file).read_text()))
    assert asked
    assert asked - series() == set()


def test_all_series_of_events_exist_from_the_start() -> None:
    metrics = Metrics()
    assert value(metrics, "vectord_stage_faults_total", stage="heartbeat") == 0
    assert value(metrics, "vectord_loader_ends_total", end="unexpected") == 0
    for reason in Reason:
        label = {"reason": str(reason), "class": reason.failure_class.value}
        stages = ("claim", "load", "embed", "store")
        assert [value(metrics, "vectord_failures_total", stage=stage, **label) for stage in stages].count(0.0) == 1


@pytest.mark.parametrize("reason", [Reason.VECTOR_REFUSED, Reason.TARGET_REFUSES])
def test_what_the_table_of_vectors_refuses_is_counted_from_zero_on_for_the_stage_that_tells(reason: Reason) -> None:
    label = {"stage": "store", "reason": str(reason), "class": reason.failure_class.value}
    assert value(Metrics(), "vectord_failures_total", **label) == 0


def test_what_is_exposed_is_declared_and_has_no_moments_of_creation() -> None:
    metrics = Metrics()
    metrics.expect_routes([("GET", "/health")])
    exposed = {family.name for family in metrics.registry.collect() if family.name.startswith("vectord_")}
    assert exposed - {metric.family for metric in declared()} == set()
    assert b"_created" not in metrics.exposition()


@pytest.mark.skipif(PROMTOOL is None and not os.environ.get("CI"), reason="promtool (Debian: prometheus) is missing")
def test_promtool_has_no_complaint() -> None:
    metrics = Metrics()
    metrics.expect_routes([("GET", "/health")])
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics.exposition(), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_requests_are_counted_by_route_and_the_client_cannot_make_labels() -> None:
    metrics = Metrics()
    metrics.expect_routes([("POST", "/process/image")])
    assert value(metrics, "vectord_http_requests_total", method="POST", route="/process/image", status="500") == 0
    for method in ("POST", "BREW", "SHOUT"):
        metrics(Answered(method=method, route="/process/image", status=200, seconds=0.5, request="r"))
    ask = {"route": "/process/image", "status": "200"}
    assert value(metrics, "vectord_http_requests_total", method="POST", **ask) == 1
    assert value(metrics, "vectord_http_requests_total", method="other", **ask) == 2
    assert value(metrics, "vectord_http_seconds_sum", route="/process/image") == 1.5


def test_those_who_wait_for_a_vector_show() -> None:
    metrics = Metrics()
    metrics.watch_line(Line(places=16, waiting=1000))
    names = ("places", "places_taken", "waiting", "waiting_limit")
    assert [value(metrics, f"vectord_http_{name}") for name in names] == [16, 0, 0, 1000]


def test_a_stage_that_is_hindered_has_worked_on_nothing() -> None:
    metrics = Metrics()
    metrics(Hindered(stage="embed", error=DatabaseUnavailableError("x"), pause=1.0))
    metrics(Worked(stage="claim", items=3, seconds=0.5))
    assert value(metrics, "vectord_stage_faults_total", stage="embed") == 1
    assert value(metrics, "vectord_stage_items_total", stage="embed") == 0
    assert value(metrics, "vectord_batch_size_count") == 0


def test_labels_are_the_names_that_the_parts_go_by() -> None:
    assert set(LISTENER_STATES) == {*map(str, Hearing), "off"}
    assert {claim.STAGE, embed.STAGE, store.STAGE, sweep.STAGE, heartbeat.STAGE, "load"} == set(STAGES)


def test_classes_of_failure_are_those_of_the_reasons() -> None:
    exposed = Metrics().exposition().decode()
    assert set(re.findall(r'class="(\w+)"', exposed)) == {kind.value for kind in FailureClass}


def test_a_loaders_memory_and_time_are_read_and_its_time_is_kept_when_it_ends() -> None:
    """The child says when it has worked, and for how long by its own account."""
    code = (
        "import sys, time\nwhile time.process_time() < 0.2: pass\n"
        "print(time.process_time(), flush=True); sys.stdin.read()"
    )
    metrics = Metrics()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        metrics(LoaderStarted(pid=child.pid, seconds=0.1))
        own_account = float(child.stdout.readline())
        used = value(metrics, "vectord_loader_cpu_seconds_total")
        assert used is not None
        # The kernel counts in ticks of 10 ms, user and system time each.
        assert used == pytest.approx(own_account, abs=0.05)
        memory = value(metrics, "vectord_loader_resident_memory_bytes")
        assert memory == value(metrics, "vectord_loader_largest_resident_memory_bytes")
        assert memory is not None
        assert 1e6 < memory < 1e9
        child.communicate()
    metrics(LoaderEnded(pid=child.pid, expected=True, cause="", images=1, last_words=""))
    assert value(metrics, "vectord_loader_cpu_seconds_total") == used
    assert value(metrics, "vectord_loader_resident_memory_bytes") == 0


def test_usage_is_what_the_kernel_says_of_this_process() -> None:
    seen = usage(os.getpid())
    assert seen is not None
    own = resource.getrusage(resource.RUSAGE_SELF)
    assert seen.cpu == pytest.approx(own.ru_utime + own.ru_stime, abs=0.1)
    assert 0 < seen.memory <= own.ru_maxrss * 1024 * 1.1


def test_a_name_with_parentheses_does_not_shift_the_fields(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    fields = ["S", *map(str, range(4, 52))]
    (tmp_path / "7" / "stat").write_text(f"7 (a) (b c) {' '.join(fields)}\n")
    seen = usage(7, tmp_path)
    assert seen is not None
    assert seen.cpu == (14 + 15) / os.sysconf("SC_CLK_TCK")
    assert seen.memory == 24 * os.sysconf("SC_PAGE_SIZE")
    assert usage(8, tmp_path) is None


def test_a_loader_that_is_gone_before_it_is_heard_of_does_no_harm() -> None:
    loaders = LoaderProcesses()
    loaders.ended(1)
    assert read(loaders.readings())["loader_cpu_seconds"] == 0


def test_memory_that_runs_out_in_the_warm_up_is_counted_from_zero_on() -> None:
    metrics, times = Metrics(), 0
    counted: list[float | None] = []

    def count() -> None:
        counted.append(metrics.registry.get_sample_value("vectord_engine_out_of_memory_total"))

    count()
    metrics.watch_engine(lambda: cast("EngineInfo", SimpleNamespace(fallback="", out_of_memory=times)))
    for times in (0, 2):  # noqa: B007 - the engine tells of it
        count()
    assert counted == [0, 0, 2]


def test_what_the_database_says_is_shown_while_it_is_fresh() -> None:
    clock = HandClock(100.0)
    lookout = Lookout(lambda: DEPTHS, clock)
    assert read(lookout.readings()) == {"database_up": 0, "database_look_timestamp_seconds": 0}
    lookout.look()
    shown = read(lookout.readings())
    assert (shown["database_up"], shown["pending_jobs"], shown["dead_jobs"]) == (1, 5, 3)
    assert shown["oldest_pending_timestamp_seconds"] == NOW.timestamp()
    assert "oldest_due_timestamp_seconds" not in shown
    assert shown["reprocess_left"] == 100 - 40 + 2
    clock.now += STALE_SECONDS
    later = read(lookout.readings())
    assert later == {
        "database_up": 0,
        "database_look_timestamp_seconds": shown["database_look_timestamp_seconds"],
    }


def test_a_database_that_is_away_takes_its_figures_along() -> None:
    answers: list[Depths | None] = [DEPTHS, None, DEPTHS]

    def look() -> Depths:
        if (answer := answers.pop(0)) is None:
            raise DatabaseUnavailableError("away")
        return answer

    lookout = Lookout(look, HandClock(100.0))
    up = []
    while answers:
        lookout.look()
        up.append((read(lookout.readings())["database_up"], "pending_jobs" in read(lookout.readings())))
    assert up == [(1, True), (0, False), (1, True)]


def test_a_look_that_fails_by_a_defect_is_told_once_and_the_next_one_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.telemetry.lookout.LOOK_SECONDS", 0.001)
    left, mended = ["bad", "bad"], Event()

    def look() -> Depths:
        if left:
            left.pop()
            raise ValueError("a defect")
        mended.set()
        return DEPTHS

    lookout = Lookout(look, HandClock(100.0))
    with structlog.testing.capture_logs() as logs:
        lookout.start()
        assert mended.wait(60)
        lookout.stop()
    assert read(lookout.readings())["database_up"] == 1
    assert [(line["event"], line["exc_info"]) for line in logs] == [("database.look_failed", True)]


class Nvml:
    """NVML as a machine with two GPUs has it, one of which has fallen off the bus and one that tells no utilisation."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, utilisation: bool = True) -> None:
        self._utilisation = utilisation

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - NVML's name
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802 - NVML's name
        if index == 0:
            raise self.NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetMemoryInfo(self, _handle: int) -> Any:  # noqa: N802 - NVML's name
        return SimpleNamespace(used=1024, total=4096)

    def nvmlDeviceGetUtilizationRates(self, _handle: int) -> Any:  # noqa: N802 - NVML's name
        if not self._utilisation:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(gpu=50, memory=10)


def test_gpus_show_what_they_tell() -> None:
    used, size = Reading("gpu_memory_used_bytes", 1024, ("1",)), Reading("gpu_memory_size_bytes", 4096, ("1",))
    assert list(Gpus(Nvml()).readings()) == [used, size, Reading("gpu_utilization_ratio", 0.5, ("1",))]
    assert list(Gpus(Nvml(utilisation=False)).readings()) == [used, size]
    assert list(Gpus(None).readings()) == []


def test_gpus_of_this_machine() -> None:
    """Whatever there is: without a driver nothing, with one a share of each GPU's memory."""
    library = load_library()
    shown = list(Gpus(library).readings())
    assert bool(shown) is (library is not None and library.nvmlDeviceGetCount() > 0)
    used = {reading.labels: reading.value for reading in shown if reading.name == "gpu_memory_used_bytes"}
    size = {reading.labels: reading.value for reading in shown if reading.name == "gpu_memory_size_bytes"}
    assert all(0 <= used[gpu] <= size[gpu] for gpu in used)
