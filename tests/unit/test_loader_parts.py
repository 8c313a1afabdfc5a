"""The small parts of the loaders: locations, slots, the wire, verdicts, and what is imported."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import Reason
from daemon.loader.location import LONGEST, Kind, host_key, parse
from daemon.loader.options import FetchOptions, LoaderOptions, from_plain, to_plain
from daemon.loader.problem import LoadError
from daemon.loader.shared import anonymous_file, make_arena
from daemon.loader.slots import Slots
from daemon.loader.verdict import Death, blame
from daemon.loader.wire import Channel, Report, Step, make_channels, read_report, report_message

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("location", "kind", "target"),
    [
        ("http://a.example/x.jpg", Kind.WEB, "http://a.example/x.jpg"),
        (" HTTPS://a.example/x.jpg \n", Kind.WEB, "HTTPS://a.example/x.jpg"),
        ("/data/x.jpg", Kind.FILE, "/data/x.jpg"),
        ("x.jpg", Kind.FILE, "x.jpg"),
        ("a:b.jpg", Kind.FILE, "a:b.jpg"),
        ("file:///data/x%20y.jpg", Kind.FILE, "/data/x y.jpg"),
        ("file://localhost/data/x.jpg", Kind.FILE, "/data/x.jpg"),
        ("file:/data/x.jpg", Kind.FILE, "/data/x.jpg"),
        ("s3://bucket/key.jpg", Kind.STORE, "s3://bucket/key.jpg"),
        ("ftp://a.example/x.jpg", Kind.STORE, "ftp://a.example/x.jpg"),
    ],
)
def test_what_a_location_is(location: str, kind: Kind, target: str) -> None:
    place = parse(location)
    assert (place.kind, place.target) == (kind, target)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("", Reason.EMPTY_LOCATION),
        ("  \t\n", Reason.EMPTY_LOCATION),
        ("http://", Reason.INVALID_URL),
        ("http:/a.example/x", Reason.INVALID_URL),
        ("http://a.example:0/x", Reason.INVALID_URL),
        ("http://a.example:99999/x", Reason.INVALID_URL),
        ("http://a.example:port/x", Reason.INVALID_URL),
        ("http://[::1/x", Reason.INVALID_URL),
        ("http://a.example/\r\nHost: b", Reason.INVALID_URL),
        ("http://a.example/" + "x" * LONGEST, Reason.INVALID_URL),
        ("//a.example/x.jpg", Reason.INVALID_URL),
        ("file://other.example/x.jpg", Reason.INVALID_URL),
        ("file:x.jpg", Reason.INVALID_URL),
        ("file:///data/%00", Reason.INVALID_URL),
        ("/data/\0x", Reason.INVALID_URL),
    ],
)
def test_what_is_no_location(location: str, reason: Reason) -> None:
    with pytest.raises(LoadError) as caught:
        parse(location)
    assert caught.value.reason is reason


@given(st.text())
def test_any_text_is_a_location_or_an_error(text: str) -> None:
    key = host_key(text)
    try:
        place = parse(text)
    except LoadError:
        assert key == ""
    else:
        assert place.target


@pytest.mark.parametrize(
    ("location", "key"),
    [
        ("http://user:secret@A.example./x", "http://a.example:80"),
        ("https://a.example/x", "https://a.example:443"),
        ("https://a.example:8443/x", "https://a.example:8443"),
        ("s3://bucket/key", "s3://bucket:0"),
        ("/data/x.jpg", ""),
        ("http://[", ""),
    ],
)
def test_what_shares_a_host(location: str, key: str) -> None:
    assert host_key(location) == key


def test_options_survive_the_wire() -> None:
    options = LoaderOptions(processes=3, fetch=FetchOptions(allow_ports=(1, 2), file_roots=("/a",)))
    assert from_plain(to_plain(options)) == options


def test_promises_are_bounded_and_slots_come_back() -> None:
    slots = Slots(common=2, urgent=1)
    for _ in range(2):
        slots.promise()
    assert (slots.room(), slots.room(urgent=True)) == (0, 1)
    slots.promise()
    with pytest.raises(RuntimeError, match="free"):
        slots.promise()
    assert [slots.lend() for _ in range(3)] == [0, 1, 2]
    slots.settle(1)
    slots.settle(1)
    assert slots.room(urgent=True) == 1
    slots.settle(0)
    slots.settle(0)
    assert slots.room(urgent=True) == 2
    slots.promise()
    slots.promise()
    assert [slots.lend(), slots.lend()] == [0, 1]


def test_a_promise_without_a_slot_is_settled() -> None:
    slots = Slots(common=1, urgent=0)
    slots.promise()
    slots.settle(-1)
    assert slots.room() == 1


def test_an_arena_takes_whole_pictures_into_its_own_slots_only() -> None:
    arena = make_arena(slots=2, size=2)
    arena.write(1, bytes(range(12)))
    assert arena.memory[:24] == bytes(12) + bytes(range(12))
    for slot, pixels in [(0, b"short"), (2, bytes(12)), (-1, bytes(12))]:
        with pytest.raises(ValueError, match="slot"):
            arena.write(slot, pixels)
    arena.close()


def test_an_anonymous_file_is_read_from_its_start() -> None:
    file = anonymous_file("test", b"abc")
    assert os.read(file, 10) == b"abc"
    os.close(file)


def test_a_file_can_do_without_memfd(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: str) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "memfd_create", forbidden)
    file = anonymous_file("test", b"abc")
    assert os.read(file, 10) == b"abc"
    os.close(file)


@pytest.mark.parametrize(
    "report",
    [
        Report(step=Step.READY),
        Report(step=Step.LOADED, task=7, size=3, seconds=0.5),
        Report(step=Step.FAILED, task=7, reason=Reason.RATE_LIMITED, detail="x", retry_after=3.0),
    ],
)
def test_reports_survive_the_wire(report: Report) -> None:
    ours, theirs = (Channel(end) for end in make_channels())
    theirs.send(report_message(report))
    message = ours.receive()
    assert message is not None
    assert read_report(message) == report
    theirs.socket.close()
    assert ours.receive() is None
    ours.socket.close()


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"step": "dance", "task": 1},
        {"step": "loaded"},
        {"step": "loaded", "task": "x"},
        {"step": "loaded", "task": None},
        {"step": "failed", "task": 1, "reason": "because"},
        {"step": "failed", "task": 1, "reason": "gone", "retry_after": "soon"},
        {"step": "failed", "task": 1, "reason": "gone", "retry_after": float("nan")},
        {"step": "loaded", "task": float("inf")},
        # Each of these would end the parent's thread, or count a host's images down twice.
        {"step": "loaded", "task": 1, "size": -1},
        {"step": "loaded", "task": 1, "size": 10**400},
        {"step": "loaded", "task": 1, "seconds": -0.5},
        {"step": "failed", "task": 1, "reason": "gone", "retry_after": -1},
        {"step": "failed", "task": 1},
    ],
)
def test_what_is_no_report(message: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a report"):
        read_report(message)


@pytest.mark.parametrize("packet", [b"x", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"a":'])
def test_what_is_no_message(packet: bytes) -> None:
    ours, theirs = make_channels()
    with ours, theirs:
        theirs.send(packet)
        with pytest.raises(ValueError, match="not a message"):
            Channel(ours).receive()


def test_files_that_nobody_asked_for_are_not_kept() -> None:
    ours, theirs = make_channels()
    with ours, theirs:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count, no paths
        socket.send_fds(theirs, [b"{}"], [0])
        assert Channel(ours).receive() == {}
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - as above


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        (Death(status=-signal.SIGABRT, killed_for=None), Reason.DECODER_CRASH),
        (Death(status=-signal.SIGSEGV, killed_for=None), Reason.DECODER_CRASH),
        (Death(status=1, killed_for=None), Reason.DECODER_CRASH),
        (Death(status=1, killed_for=None, last_words="MemoryError"), Reason.DECODER_MEMORY),
        (Death(status=-signal.SIGABRT, killed_for=None, last_words="std::bad_alloc"), Reason.DECODER_MEMORY),
        (Death(status=-signal.SIGXCPU, killed_for=None), Reason.DECODER_TIMEOUT),
        (Death(status=-signal.SIGKILL, killed_for=Reason.DECODER_TIMEOUT), Reason.DECODER_TIMEOUT),
        (Death(status=-signal.SIGKILL, killed_for=Reason.TOTAL_TIMEOUT), Reason.TOTAL_TIMEOUT),
        (Death(status=-signal.SIGKILL, killed_for=None, peak_bytes=900 * MIB), Reason.DECODER_MEMORY),
        (Death(status=-signal.SIGKILL, killed_for=None, peak_bytes=513 * MIB), Reason.DECODER_MEMORY),
        (Death(status=-signal.SIGKILL, killed_for=None, peak_bytes=511 * MIB), None),
        (Death(status=-signal.SIGKILL, killed_for=None, peak_bytes=50 * MIB), None),
        (Death(status=0, killed_for=None), None),
    ],
)
def test_whose_fault_a_death_is(death: Death, reason: Reason | None) -> None:
    assert blame(death, memory_limit=1024 * MIB) is reason


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("daemon.loader.pool", ("PIL", "requests", "urllib3", "daemon.loader.decode", "daemon.config")),
        ("daemon.loader.worker", ("numpy", "daemon.records", "daemon.config", "multiprocessing")),
    ],
)
def test_what_each_side_does_not_import(module: str, absent: tuple[str, ...]) -> None:
    program = f"import sys, {module}; print(*[name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
