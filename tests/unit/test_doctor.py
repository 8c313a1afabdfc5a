"""The doctor's judges: what they make of facts that no test machine has."""

import re
from dataclasses import replace
from errno import EADDRINUSE
from pathlib import Path

import pytest

from daemon.db.inspection import Extension, Inspection, Server
from daemon.db.names import Names
from daemon.db.schema import SchemaOptions
from daemon.doctor import screen
from daemon.doctor.device import GPU_HELP, Devices, judge_devices, look_at_devices
from daemon.doctor.door import Port, judge_port
from daemon.doctor.findings import Finding, Level, exit_status, of_mistakes, ok, problem, warning
from daemon.doctor.hearing import judge_hearing
from daemon.doctor.judge_database import judge_database
from daemon.doctor.judge_machine import judge_machine
from daemon.doctor.machine import Machine, Needs, look_at_machine
from daemon.doctor.model import look_at_weights
from daemon.doctor.roots import look_at_roots
from daemon.engine import EngineOptions
from daemon.sections import Model
from daemon.wake.listener import Hearing, ListenerState, _now
from tests.whole import ROOT

SERVER = Server(
    version="18.4", number=180004, role="vectord", read_only=False, connections_left=50, skew=0.0, seconds=0.002
)
BARE = Inspection(
    server=SERVER,
    extension=Extension(installed="0.8.5", available="0.8.5"),
    source=None,
    target=None,
    own=False,
    own_id_type=None,
    faults="",
    missing=None,
    may_create={"ecai": True, "public": True, "vectord": True},
    version=None,
    triggers=None,
    indexes={},
    newest=None,
    unread="",
)


def of_database(seen: Inspection, check: str, pool_size: int = 4) -> Finding:
    (finding,) = (one for one in judge_database(seen, Names(), SchemaOptions(), pool_size) if one.check == check)
    return finding


@pytest.mark.parametrize(
    ("change", "check", "level"),
    [
        ({"number": 120020}, "database", Level.PROBLEM),
        ({"read_only": True}, "database", Level.PROBLEM),
        ({}, "database", Level.OK),
        ({"connections_left": 7}, "connections", Level.WARNING),
        ({"connections_left": 8}, "connections", Level.OK),
        ({"skew": 3.0}, "clock", Level.WARNING),
        ({"skew": -3.0}, "clock", Level.WARNING),
        ({"skew": 3.0, "seconds": 4.0}, "clock", Level.OK),
    ],
)
def test_the_server(change: dict[str, object], check: str, level: Level) -> None:
    seen = replace(BARE, server=replace(SERVER, **change))  # type: ignore[arg-type] # of mixed types
    assert of_database(seen, check).level is level


@pytest.mark.parametrize(
    ("installed", "available", "level"),
    [
        ("0.8.5", "0.8.5", Level.OK),
        ("0.4.4", "0.8.5", Level.PROBLEM),
        (None, "0.8.5", Level.WARNING),
        (None, None, Level.PROBLEM),
    ],
)
def test_pgvector(installed: str | None, available: str | None, level: Level) -> None:
    seen = replace(BARE, extension=Extension(installed=installed, available=available))
    assert of_database(seen, "pgvector").level is level


MACHINE = Machine(
    state_dir=Path("state"),
    writable=True,
    disk_free=10**11,
    open_files=16384,
    memfd=True,
    temporary="tmp",
    temporary_free=10**9,
    memory=10**10,
)
NEEDS = Needs(open_files=300, http_waiting=1000, arena_bytes=10**7, loaders_bytes=10**9)


@pytest.mark.parametrize(
    ("change", "check", "level"),
    [
        ({}, "disk", Level.OK),
        ({"disk_free": 10**9}, "disk", Level.WARNING),
        ({"disk_free": 10**7}, "disk", Level.PROBLEM),
        ({"writable": False}, "disk", Level.PROBLEM),
        ({"open_files": 1300}, "open files", Level.OK),
        ({"open_files": 1024}, "open files", Level.WARNING),
        ({"open_files": 256}, "open files", Level.PROBLEM),
        ({"memfd": False}, "shared memory", Level.WARNING),
        ({"memfd": False, "temporary_free": 10**6}, "shared memory", Level.PROBLEM),
        ({"memory": 10**8}, "memory", Level.WARNING),
    ],
)
def test_the_machine(change: dict[str, object], check: str, level: Level) -> None:
    machine = replace(MACHINE, **change)  # type: ignore[arg-type] # of mixed types
    (finding,) = (one for one in judge_machine(machine, NEEDS) if one.check == check)
    assert finding.level is level
    assert bool(finding.remedy) is (level is not Level.OK)


CPU = Devices(
    files=(),
    closed=(),
    driver=False,
    framework=None,
    gpus=None,
    framework_fault="",
    openvino="openvino 2026.4.1",
    openvino_fault="",
)
GPU = replace(
    CPU, files=("/dev/nvidia0",), driver=True, framework="tensorflow 2.21.0", gpus=("NVIDIA H100", "NVIDIA L4")
)


@pytest.mark.parametrize(
    ("found", "backend", "device", "level", "says"),
    [
        (CPU, "auto", "auto", Level.OK, "openvino 2026.4.1 on the CPU"),
        (GPU, "auto", "auto", Level.OK, "tensorflow 2.21.0 on NVIDIA H100"),
        (GPU, "tensorflow", "gpu:1", Level.OK, "NVIDIA L4"),
        (GPU, "auto", "gpu:2", Level.PROBLEM, "but 2 GPU"),
        (GPU, "auto", "cpu", Level.OK, "openvino"),
        (replace(GPU, gpus=()), "auto", "auto", Level.WARNING, "finds no GPU: its CUDA libraries"),
        (replace(GPU, gpus=(), driver=False), "auto", "auto", Level.WARNING, "libcuda.so.1 is not found"),
        (replace(GPU, gpus=(), closed=("/dev/nvidia0",)), "auto", "auto", Level.WARNING, "may not open /dev/nvidia0"),
        (CPU, "auto", "gpu", Level.PROBLEM, "shows a device in /dev"),
        (CPU, "openvino", "gpu", Level.PROBLEM, "OpenVINO is used on the CPU alone"),
        (replace(CPU, openvino_fault="no bfloat16"), "openvino", "cpu", Level.PROBLEM, "no bfloat16"),
        (replace(CPU, openvino_fault="gone"), "auto", "auto", Level.WARNING, "tensorflow on the CPU, since gone"),
        (replace(CPU, framework_fault="broken"), "tensorflow", "cpu", Level.PROBLEM, "broken"),
        (replace(CPU, framework="jax 0.7"), "tensorflow", "cpu", Level.OK, "jax 0.7 on the CPU"),
    ],
)
def test_the_engine_that_will_run(found: Devices, backend: str, device: str, level: Level, says: str) -> None:
    options = EngineOptions(state_dir=Path(), backend=backend, device=device)  # type: ignore[arg-type] # a Literal
    finding = judge_devices(found, options)
    assert finding.level is level
    assert says in finding.says


def test_the_remedy_for_a_gpu_names_a_section_that_is_there() -> None:
    named = re.match(r"see (\S+), (\w+):", GPU_HELP)
    assert named
    assert f"\n## {named[2]}\n" in (ROOT / named[1]).read_text()


@pytest.mark.parametrize(
    ("known", "state", "level", "says"),
    [
        ({"lives_here": True}, {}, Level.OK, "idle"),
        ({}, {}, Level.OK, "idle"),
        ({"lives_here": False}, {}, Level.PROBLEM, "another installation's vectord has it"),
        ({"lives_here": False}, {"starting": True}, Level.WARNING, "it may be another installation's"),
        ({"lives_here": True}, {"healthy": False}, Level.WARNING, "idle"),
    ],
)
def test_a_port_with_a_vectord_on_it(known: dict[str, bool], state: dict[str, bool], level: Level, says: str) -> None:
    found = Port(host="::1", port=8, error=OSError(EADDRINUSE, ""), status="idle", **{"healthy": True} | state)
    finding = judge_port(found, "http.metrics_port", **known)
    assert (finding.level, says in finding.says) == (level, True)
    assert ("VECTORD_HTTP__METRICS_PORT" in finding.remedy) is (level is Level.PROBLEM)


def test_without_a_gpu_no_framework_is_asked(tmp_path: Path) -> None:
    found = look_at_devices(EngineOptions(state_dir=tmp_path), tmp_path)
    assert (found.files, found.framework, found.gpus, found.openvino_fault) == ((), None, None, "")


def test_a_folder_that_cannot_be_looked_into_ends_no_look(tmp_path: Path) -> None:
    # A name that no file system takes, since to root no folder is closed.
    closed = tmp_path / ("x" * 300)
    assert look_at_machine(closed).state_dir == closed
    found, told = look_at_weights(Model(), closed)
    assert (found, told.level) == (None, Level.WARNING)


def test_a_listener_that_cannot_connect_stops_the_daemon_only_where_nothing_else_can() -> None:
    state = ListenerState(since=_now(), hearing=Hearing.RECONNECTING, error="refused")
    assert judge_hearing(state, own_dsn=True).level is Level.WARNING
    assert judge_hearing(state, own_dsn=False).level is Level.PROBLEM


def test_findings_are_one_line_each_and_hide_credentials() -> None:
    finding = problem("database", "no way to\n  postgresql://bob:hunter2@db/x", "password=hunter2 is wrong")
    assert screen.line(finding).plain == ("problem  database: no way to postgresql://***@db/x → password=*** is wrong")
    assert screen.line(ok("clock", "fine")).plain == "ok       clock: fine"


def test_the_exit_status() -> None:
    fine = [ok("a", "b"), warning("c", "d", "e")]
    assert exit_status(fine) == 0
    assert exit_status([*fine, problem("f", "g", "h")]) == 1


def test_each_mistake_of_a_configuration_is_a_finding() -> None:
    assert [one.says for one in of_mistakes("the configuration is wrong:\n  a.b: no\n  c.d: no")] == [
        "a.b: no",
        "c.d: no",
    ]
    assert [one.says for one in of_mistakes("there is no configuration file x")] == ["there is no configuration file x"]


def test_the_file_roots(tmp_path: Path) -> None:
    """An empty folder is what a mount point is while nothing is mounted there."""
    full, empty = tmp_path / "full", tmp_path / "empty"
    for folder in (full / "a", empty):
        folder.mkdir(parents=True)
    found = list(look_at_roots([full, empty, tmp_path / "missing", Path("relative")]))
    assert [one.level for one in found] == [Level.OK, Level.WARNING, Level.WARNING, Level.WARNING]
    assert all("fetch.file_roots" in one.remedy for one in found[1:])
