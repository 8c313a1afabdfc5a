"""The pool with real loaders: what comes back, from where, in what order, and how it ends."""

import errno
import os
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daemon.errors import Reason
from daemon.fairness import FAIR_EVERY
from daemon.loader.crowd import CROWD
from daemon.loader.events import HostLeftAlone, ImageFinished, LoaderEnded, LoaderStarted, LoaderStartFailed
from daemon.loader.options import FetchOptions, LoaderOptions
from daemon.loader.pool import LoaderPool
from daemon.pipeline.callers import Answers, Callers
from daemon.pipeline.channel import Channel
from daemon.pipeline.inflight import Inflight
from daemon.records import Claim, Delivered, Failure, Loaded, StoredBytes
from tests.loading import (
    LOOPBACK,
    SHARED,
    Result,
    Rig,
    claim,
    encoded,
    is_alive,
    named_memory,
    open_files,
    picture,
    reason,
    wordy,
)
from tests.servers import Request, body, serve, status

SIZE = 32
PICTURE = encoded("PNG", picture((90, 70)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(PICTURE)
    return tmp_path


def options(folder: Path | None = None, **given: float) -> LoaderOptions:
    roots = () if folder is None else (str(folder),)
    made = LoaderOptions(processes=2, input_size=SIZE, fetch=replace(LOOPBACK, file_roots=roots))
    return replace(made, **given)  # type: ignore[arg-type]  # Numbers only, each of the kind that its field has.


def never(request: Request) -> None:
    request.stop.wait(60)


def slowly(request: Request) -> None:
    request.stop.wait(1)


def locations(folder: Path, count: int = 20) -> list[str]:
    return [str(folder / f"{number}.png") for number in range(count)]


def assert_is_picture(result: Result) -> None:
    assert isinstance(result, Loaded), result
    with Image.open(BytesIO(PICTURE)) as plain:
        want = np.asarray(plain.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    assert np.array_equal(result.pixels, want)


def test_files_urls_stored_bytes_and_uploads_come_back_alike(folder: Path) -> None:
    stored = claim(StoredBytes(size=len(PICTURE)), image_id="stored")
    upload = claim("", image_id="upload", request="r")
    with (
        serve({"*": body(PICTURE)}) as server,
        Rig(options(folder), read_stored=lambda found: PICTURE if found is stored else None) as rig,
    ):
        rig.pool.submit(upload, data=PICTURE)
        results = rig.load([*locations(folder), *(f"{server.url}/{n}.jpg" for n in range(20)), stored])
        rig.until(lambda: "upload" in rig.results, 60, "upload")
        assert len(results) == 41
        for result in [*results.values(), *rig.results["upload"]]:
            assert_is_picture(result)
        assert len(rig.threads) == 1
        assert threading.get_ident() not in rig.threads


def test_a_location_that_is_no_text_is_found_as_a_file_and_refused_as_a_url(folder: Path) -> None:
    """Out of a database that takes any bytes for text, each of those that are none a lone surrogate."""
    (folder / "caf\udce9.png").write_bytes(PICTURE)
    found, host, path = str(folder / "caf\udce9.png"), "http://caf\udce9.test/1.png", "http://127.0.0.1:9/caf\udce9.png"
    with Rig(options(folder)) as rig:
        results = rig.load([found, host, path])
    assert_is_picture(results[found])
    assert [reason(results[host]), reason(results[path])] == [Reason.INVALID_URL, Reason.CONNECTION_REFUSED]


def test_pixels_stay_in_their_slot_until_released(folder: Path) -> None:
    got: list[Loaded] = []
    enough = threading.Semaphore(0)

    def deliver(result: Delivered) -> None:
        assert isinstance(result, Loaded)
        got.append(result)
        enough.release()

    pool = LoaderPool(options=options(folder, slots=8, urgent_slots=0), deliver=deliver)
    pool.start()
    for location in locations(folder, 8):
        pool.submit(claim(location))
    for _ in range(8):
        assert enough.acquire(timeout=60)
    assert sorted(result.slot for result in got) == list(range(8))
    assert pool.free() == 0
    with pytest.raises(RuntimeError, match="free"):
        pool.submit(claim("one too many"))
    pool.release(got[3].slot)
    assert pool.free() == 1
    pool.submit(claim(locations(folder)[0]))
    assert enough.acquire(timeout=60)
    assert got[-1].slot == got[3].slot
    for result in got:
        assert_is_picture(result)
    pool.close()
    assert_is_picture(got[0])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, Reason.NOT_FOUND),
        (b"", Reason.EMPTY_BODY),
        (bytes(2000), Reason.TOO_LARGE),
        (b"text", Reason.NOT_AN_IMAGE),
    ],
)
def test_stored_bytes_that_are_no_picture(answer: bytes | None, expected: Reason) -> None:
    small = replace(options(), fetch=FetchOptions(max_bytes=1000))
    with Rig(small, read_stored=lambda _: answer) as rig:
        assert reason(rig.load([claim(StoredBytes(size=10), image_id=1)])[1]) is expected


def test_stored_bytes_that_are_too_large_are_not_even_read() -> None:
    asked: list[Claim] = []
    small = replace(options(), fetch=FetchOptions(max_bytes=1000))

    def read(found: Claim) -> bytes | None:
        asked.append(found)
        return b""

    with Rig(small, read_stored=read) as rig:
        assert reason(rig.load([claim(StoredBytes(size=1001), image_id=1)])[1]) is Reason.TOO_LARGE
    assert asked == []


def test_a_database_that_is_away_is_nobody_elses_fault(folder: Path) -> None:
    def read(_: Claim) -> bytes | None:
        raise ConnectionError

    with Rig(options(folder), read_stored=read) as rig:
        results = rig.load([claim(StoredBytes(size=1), image_id=1), *locations(folder)])
        assert reason(results[1]) is Reason.DATABASE_FAILED
        assert Counter(map(reason, results.values()))[None] == 20


def test_a_slow_database_holds_up_no_files(folder: Path) -> None:
    release = threading.Event()

    def read(_: Claim) -> bytes | None:
        release.wait(60)
        return PICTURE

    with Rig(options(folder, threads=1), read_stored=read) as rig:
        rig.pool.submit(claim(StoredBytes(size=1), image_id=1))
        rig.load(locations(folder))
        assert 1 not in rig.results
        release.set()
        rig.until(lambda: 1 in rig.results, 60, "stored image")


def test_urgent_images_go_ahead(folder: Path) -> None:
    gate = threading.Event()

    def hold(request: Request) -> None:
        gate.wait(60)
        request.reply(body=PICTURE)

    with serve({"*": hold}) as server, Rig(options(folder, processes=1, threads=1)) as rig:
        rig.pool.submit(claim(f"{server.url}/first", image_id="first"))
        rig.until(lambda: server.seen, 60, "first request")
        for location in locations(folder):
            rig.pool.submit(claim(location))
        rig.pool.submit(claim(locations(folder)[0], image_id="urgent", request="r"))
        # It has a thread of its own, though the loader has all that it takes of the others.
        rig.until(lambda: rig.results, 60, "a result")
        assert list(rig.results) == ["urgent"]
        gate.set()
        rig.until(lambda: len(rig.results) == 22, 60, "all results")


def test_while_callers_crowd_in_others_are_loaded_now_and_then(folder: Path) -> None:
    crowd = [CROWD]
    urgent = [f"urgent {number}" for number in range(2 * FAIR_EVERY)]
    with Rig(options(folder, processes=1), callers=lambda: crowd[0]) as rig:
        for location in locations(folder):
            rig.pool.submit(claim(location))
        for name in urgent:
            rig.pool.submit(claim(locations(folder)[0], image_id=name, request="r"))
        rig.until(lambda: rig.results.keys() >= set(urgent), 60, "urgent results")
        assert len(rig.results) <= len(urgent) + 2
        crowd[0] -= 1
        rig.until(lambda: len(rig.results) == len(urgent) + 20, 60, "all results")


def test_callers_who_wait_for_the_network_keep_nobody_from_the_loaders(folder: Path) -> None:
    with (
        serve({"*": never}) as server,
        Rig(options(folder, processes=1), callers=lambda: CROWD) as rig,
    ):
        rig.pool.submit(claim(f"{server.url}/far", image_id="far", request="r"))
        rig.until(lambda: server.seen, 60, "the caller's request")
        assert Counter(map(reason, rig.load(locations(folder)).values())) == {None: 20}


def test_slots_are_kept_for_urgent_images(folder: Path) -> None:
    with serve({"*": never}) as server:
        waiting = replace(options(folder, slots=4, urgent_slots=1), fetch=replace(LOOPBACK, total_timeout=600))
        with Rig(waiting) as rig:
            for number in range(4):
                rig.pool.submit(claim(f"{server.url}/{number}"))
            assert rig.pool.free() == 0
            assert rig.pool.free(urgent=True) == 1


def test_a_host_gets_no_more_than_its_share_and_holds_up_nobody(folder: Path) -> None:
    gate = threading.Event()

    def hold(request: Request) -> None:
        gate.wait(60)
        request.reply(body=PICTURE)

    limited = options(folder)
    limited = replace(limited, fetch=replace(limited.fetch, per_host=3))
    with serve({"*": hold}) as slow, Rig(limited) as rig:
        for number in range(40):
            rig.pool.submit(claim(f"{slow.url}/{number}"))
        assert Counter(map(reason, rig.load(locations(folder)).values())) == {None: 20}
        rig.until(lambda: slow.most_at_once == 3, 60, "use of the whole share")
        gate.set()
        rig.until(lambda: len(rig.results) == 60, 60, "all results")
        assert slow.most_at_once == 3


def test_a_dead_host_is_left_alone_and_recovers() -> None:
    down = threading.Event()
    down.set()

    def answer(request: Request) -> None:
        if down.is_set():
            request.reply(503)
        else:
            request.reply(body=PICTURE)

    with serve({"*": answer}) as server, Rig(options(breaker_seconds=2.0)) as rig:
        images = [f"{server.url}/{number}" for number in range(60)]
        first = Counter(map(reason, rig.load(images).values()))
        assert set(first) == {Reason.HTTP_SERVER_ERROR, Reason.HOST_UNAVAILABLE}
        assert first[Reason.HTTP_SERVER_ERROR] <= 8
        assert len(server.seen) <= 13
        assert rig.seen(HostLeftAlone)
        down.clear()
        rig.until(lambda: rig.pool.status().hosts_left_alone == 0, 60, "end of the pause")
        assert Counter(map(reason, rig.load(images).values())) == {None: 60}


def test_images_of_a_host_left_alone_are_told_when_to_come_again() -> None:
    with serve({"*": status(429, retry_after=30)}) as server, Rig(options()) as rig:
        results = rig.load(f"{server.url}/{number}" for number in range(30))
    waits = [result.retry_after for result in results.values() if isinstance(result, Failure)]
    assert all(wait is not None and 20 < wait < 33 for wait in waits)
    reasons = Counter(map(reason, results.values()))
    assert reasons[Reason.RATE_LIMITED] == 1
    assert reasons[Reason.HOST_UNAVAILABLE] == 29


def test_not_found_is_no_reason_to_leave_a_host_alone() -> None:
    with serve({"*": status(404)}) as server, Rig(options()) as rig:
        results = rig.load(f"{server.url}/{number}" for number in range(50))
    assert Counter(map(reason, results.values())) == {Reason.NOT_FOUND: 50}


def test_busy_hosts_do_not_keep_others_out(folder: Path) -> None:
    limited = options(folder, slots=8)
    limited = replace(limited, fetch=replace(limited.fetch, per_host=1, total_timeout=600))
    with serve({"*": slowly}) as slow, Rig(limited) as rig:
        for number in range(8):
            rig.pool.submit(claim(f"{slow.url}/{number}"))
        rig.until(rig.pool.free, 60, "room again")
        assert reason(rig.load(locations(folder, 1))[locations(folder)[0]]) is None
        sent_back = [result for results in rig.results.values() for result in results if isinstance(result, Failure)]
        assert sent_back
        assert {result.reason for result in sent_back} == {Reason.HOST_UNAVAILABLE}


def test_a_fetch_that_cannot_end_itself_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> None:
    plugin = "import threading\nfrom daemon.loader import files, fetch\nread = files.read_file\n"
    plugin += "def stuck(path, **given):\n    path.endswith('/0.png') and threading.Event().wait()\n"
    plugin += "    return read(path, **given)\nfetch.read_file = stuck\n"
    (tmp_path / "stuck_plugin.py").write_text(plugin)
    monkeypatch.setenv("LOADER_TEST_PLUGIN", "stuck_plugin")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("daemon.loader.dispatch.FETCH_GRACE", 0.5)
    quick = options(folder)
    with Rig(replace(quick, fetch=replace(quick.fetch, total_timeout=0.5))) as rig:
        results = rig.load(locations(folder), timeout=20)
    assert reason(results[locations(folder)[0]]) is Reason.TOTAL_TIMEOUT
    assert Counter(map(reason, results.values()))[None] == 19


def test_loaders_are_replaced_after_a_while_and_nothing_is_lost(folder: Path) -> None:
    with Rig(options(folder, recycle_after=5, threads=2)) as rig:
        results = rig.load(claim(location, image_id=number) for number, location in enumerate(locations(folder) * 5))
        assert Counter(map(reason, results.values())) == {None: 100}
        rig.until(lambda: len(rig.seen(LoaderEnded)) >= 10, 60, "ten replaced loaders")
        assert all(event.expected for event in rig.seen(LoaderEnded))
        rig.until(lambda: rig.pool.status().loaders == 2, 60, "two loaders")


def test_events_tell_of_every_image(folder: Path) -> None:
    with Rig(options(folder)) as rig:
        rig.load([*locations(folder), "missing.png"])
        finished = rig.seen(ImageFinished)
        assert Counter(event.reason for event in finished) == {None: 20, Reason.NOT_FOUND: 1}
        assert all(event.size == len(PICTURE) and event.decode_seconds > 0 for event in finished if not event.reason)
        rig.until(lambda: len(rig.seen(LoaderStarted)) == 2, 60, "two loaders")


@pytest.mark.parametrize("length", [10_000, 140_000, 300_000])
def test_a_location_that_no_packet_holds_costs_nobody_anything(folder: Path, length: int) -> None:
    long = claim("data:image/png;base64," + "A" * length, image_id="long")
    with Rig(options(folder, processes=1)) as rig:
        results = rig.load([long, *locations(folder)[:3]])
        assert reason(results.pop("long")) is Reason.INVALID_URL
        assert set(map(reason, results.values())) == {None}
        assert rig.seen(LoaderEnded) == []


def test_a_picture_that_cannot_be_fetched_for_want_of_memory_is_given_up(folder: Path) -> None:
    def endless(request: Request) -> None:
        request.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while not request.stop.is_set():
            request.send(bytes(1 << 20))

    hungry = replace(options(folder, processes=1, memory_mb=64), fetch=replace(LOOPBACK, max_bytes=1 << 30))
    with serve({"*": endless}) as server, Rig(hungry) as rig:
        assert reason(rig.load([server.url], timeout=120)[server.url]) is Reason.DECODER_MEMORY


def test_files_of_a_folder_that_is_mounted_late_are_loaded_then(tmp_path: Path) -> None:
    path = tmp_path / "late" / "0.png"
    with Rig(options(path.parent, processes=1)) as rig:
        assert reason(rig.load([str(path)])[str(path)]) is Reason.ROOT_UNAVAILABLE
        path.parent.mkdir()
        path.write_bytes(PICTURE)
        assert reason(rig.load([str(path)])[str(path)]) is None


def test_a_picture_with_too_many_words_costs_only_itself(folder: Path) -> None:
    bad = folder / "wordy.png"
    bad.write_bytes(wordy())
    with Rig(options(folder, processes=1)) as rig:
        rig.load(locations(folder)[:1])
        before = rig.pids()
        results = rig.load([str(bad), *locations(folder)])
        assert reason(results.pop(str(bad))) is Reason.CORRUPT_IMAGE
        assert set(map(reason, results.values())) == {None}
        assert rig.pids() == before
        assert rig.seen(LoaderEnded) == []


def test_an_upload_that_there_is_no_room_for_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENFILE, "too many open files")

    monkeypatch.setattr("daemon.loader.pool.anonymous_file", full)
    with Rig(options()) as rig:
        answers = Answers(Channel(), lambda _: None)
        callers = Callers(rig.pool, Inflight(8), answers)
        rig.until(lambda: rig.pool.free(urgent=True), 60, "room")
        with pytest.raises(OSError, match="too many"):
            callers.ask("request", data=PICTURE)
        assert (rig.pool.in_hand(), len(answers)) == (0, 0)


def test_drain_delivers_what_is_in_hand_and_gives_back_the_rest(folder: Path) -> None:
    gate = threading.Event()

    def hold(request: Request) -> None:
        gate.wait(60)
        request.reply(body=PICTURE)

    with serve({"*": hold}) as server, Rig(options(folder, processes=1, threads=2)) as rig:
        claims = [claim(f"{server.url}/{number}") for number in range(10)]
        for item in claims:
            rig.pool.submit(item)
        rig.until(lambda: len(server.seen) == 2, 60, "two requests")
        with ThreadPoolExecutor(1) as threads:
            draining = threads.submit(rig.pool.drain, 60)
            rig.until(lambda: rig.pool._dispatcher._draining, 60, "a drain")
            gate.set()
            given_up = draining.result()
        assert {item.image_id for item in given_up} == {item.image_id for item in claims[2:]}
        assert {*rig.results} == {item.image_id for item in claims[:2]}


def test_drain_does_not_wait_for_ever(folder: Path) -> None:
    with serve({"*": never}) as server, Rig(options(folder)) as rig:
        claims = [claim(f"{server.url}/{number}") for number in range(5)]
        for item in claims:
            rig.pool.submit(item)
        rig.until(lambda: len(server.seen) == 5, 60, "five requests")
        begun = time.monotonic()
        assert len(rig.pool.drain(0.3)) == 5
        assert time.monotonic() - begun < 30
        assert rig.results == {}


def test_a_defect_that_ends_the_pool_is_heard_of_and_loses_nothing(folder: Path) -> None:
    failures: list[BaseException] = []

    def defect() -> None:
        raise ZeroDivisionError

    with serve({"*": never}) as slow, Rig(options(folder), on_failure=failures.append) as rig:
        rig.load(locations(folder, 1))
        pids = rig.pids()
        for number in range(3):
            rig.pool.submit(claim(f"{slow.url}/{number}"))
        rig.until(lambda: slow.most_at_once == 3, 60, "fetches")
        rig.pool._dispatcher.call(defect)
        rig.until(lambda: not rig.pool.alive(), 60, "end of the pool")
        rig.pool.submit(claim(f"{slow.url}/late"))
        assert [type(error) for error in failures] == [ZeroDivisionError]
        assert not any(is_alive(pid) for pid in pids)
        assert {item.location for item in rig.pool.drain(5)} == {f"{slow.url}/{n}" for n in (0, 1, 2, "late")}
        assert rig.pool.in_hand() == 0


def test_drain_gives_back_what_waits_for_the_database() -> None:
    release = threading.Event()

    def read(_: Claim) -> bytes | None:
        release.wait(60)
        return PICTURE

    with Rig(options(), read_stored=read) as rig:
        rig.pool.submit(claim(StoredBytes(size=1), image_id=1))
        rig.until(lambda: rig.pool.status().loaders == 2, 60, "loaders")
        assert [item.image_id for item in rig.pool.drain(5)] == [1]
        release.set()
    assert rig.results == {}


def test_close_leaves_nothing_behind(folder: Path) -> None:
    with Rig(options(folder)) as rig:
        rig.load(locations(folder))
    before, threads = open_files(), threading.active_count()
    for _ in range(3):
        with Rig(options(folder)) as rig:
            rig.load(locations(folder))
            pids = rig.pids()
            assert all(is_alive(pid) for pid in pids)
            assert not any(named_memory(pid) for pid in pids)
        assert not any(is_alive(pid) for pid in pids)
    assert open_files() <= before
    assert threading.active_count() <= threads


def test_a_pool_that_was_never_used_closes() -> None:
    with Rig(options()):
        pass


def test_loaders_that_will_not_start_are_retried_more_and_more_slowly(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    honest = sys.executable
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Rig(options(folder)) as rig:
        rig.until(lambda: rig.pool.status().start_failures >= 3, 60, "three failed starts")
        assert rig.pool.free() == 0
        assert (rig.pool.status().loaders, rig.pool.status().broken) == (0, True)
        rig.pool.submit(claim(locations(folder)[0]))
        rig.until(lambda: rig.results, 60, "a failure")
        assert reason(rig.results[locations(folder)[0]][0]) is Reason.LOADER_LOST
        pauses = [event.pause for event in rig.seen(LoaderStartFailed)]
        assert max(pauses) >= 1.9
        monkeypatch.setattr(sys, "executable", honest)
        rig.until(rig.pool.free, 60, "recovery")
        assert Counter(map(reason, rig.load(locations(folder)).values())) == {None: 20}
        assert (rig.pool.status().start_failures, rig.pool.status().broken) == (0, False)


def test_certificates_that_cannot_be_read_keep_loaders_from_starting(folder: Path) -> None:
    fetch = replace(options(folder).fetch, ca_file=str(folder / "nowhere.pem"))
    with Rig(replace(options(folder), fetch=fetch)) as rig:
        rig.until(lambda: rig.seen(LoaderStartFailed), 60, "a failed start")
        assert f"fetch.ca_file: {fetch.ca_file}" in rig.seen(LoaderStartFailed)[0].last_words


def test_an_interpreter_that_is_missing_is_the_same(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    before = open_files()
    with Rig(options(folder)) as rig:
        rig.until(lambda: rig.pool.status().start_failures >= 2, 60, "two failed starts")
    assert open_files() <= before + 1


def test_loaders_find_their_code_from_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('a file of the working folder was imported')")
    monkeypatch.chdir(tmp_path)
    with Rig(options(folder)) as rig:
        assert Counter(map(reason, rig.load(locations(folder)).values())) == {None: 20}


def test_loaders_do_not_get_the_daemons_secrets(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for name in ("VECTORD_DATABASE__DSN", "POSTGRES_PASSWORD", "PGPASSWORD", "NOTIFY_SOCKET"):
        monkeypatch.setenv(name, "s3cret")
    monkeypatch.setenv("AWS_PROFILE", "kept")
    with Rig(options(folder)) as rig:
        rig.load(locations(folder))
        for pid in rig.pids():
            environment = Path(f"/proc/{pid}/environ").read_text()
            assert "s3cret" not in environment
            assert "AWS_PROFILE=kept" in environment


def test_loaders_are_limited(folder: Path) -> None:
    with Rig(options(folder, memory_mb=256)) as rig:
        rig.load(locations(folder))
        rig.until(lambda: rig.pool.status().loaders == 2, 60, "two loaders")
        for pid in rig.pids():
            limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
            ceilings = {line[:26].strip(): line[26:].split()[0] for line in limits}
            assert 256 * 1024**2 < int(ceilings["Max address space"]) < 1024**3
            assert ceilings["Max core file size"] == "0"
            assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()


def test_a_closed_pool_takes_nothing_and_breaks_nothing(folder: Path) -> None:
    with Rig(options(folder)) as rig:
        rig.load(locations(folder))
    rig.pool.submit(claim(locations(folder)[0], image_id="late"))
    rig.pool.release(0)
    assert not rig.pool.alive()
    assert "late" not in rig.results


def test_signals_of_the_terminal_are_left_to_the_parent(folder: Path) -> None:
    with Rig(options(folder)) as rig:
        rig.until(lambda: rig.pool.status().loaders == 2, 60, "two loaders")
        pids = rig.pids()
        for pid in pids:
            assert os.getpgid(pid) != os.getpgid(0)
            for number in (1, 2, 15):
                os.kill(pid, number)
        assert Counter(map(reason, rig.load(locations(folder)).values())) == {None: 20}
        assert rig.pids() == pids


@pytest.mark.skipif(not SHARED.joinpath("odd").is_dir(), reason="no ../shared/odd beside the repository")
def test_every_odd_file_ends_with_pixels_or_its_reason() -> None:
    odd = SHARED.resolve() / "odd"
    paths = sorted(path for path in odd.rglob("*") if path.is_file())
    parent = os.getpid()
    with Rig(replace(options(SHARED.resolve(), slots=1000), memory_mb=512)) as rig:
        results = rig.load([str(path) for path in paths], timeout=120)
        assert not [event for event in rig.seen(LoaderEnded) if not event.expected]
    assert os.getpid() == parent
    got = {str(path.relative_to(odd)): reason(results[str(path)]) for path in paths}
    assert len(got) >= 588
    assert set(got.values()) <= {
        None,
        Reason.UNSUPPORTED_FORMAT,
        Reason.NOT_AN_IMAGE,
        Reason.CORRUPT_IMAGE,
        Reason.TRUNCATED,
        Reason.TOO_MANY_PIXELS,
    }
    assert Counter(got.values())[None] >= 410
    assert {name: got[f"pillow/{name}"] for name in ODD} == ODD


ODD: dict[str, Reason | None] = {
    "bmp/b/badheadersize.bmp": Reason.CORRUPT_IMAGE,
    "bmp/b/badwidth.bmp": Reason.TOO_MANY_PIXELS,
    "bmp/b/reallybig.bmp": Reason.TOO_MANY_PIXELS,
    "bmp/b/shortfile.bmp": Reason.TRUNCATED,
    "bmp/g/rgb24.bmp": None,
    "bmp/g/rgb32bf.bmp": Reason.UNSUPPORTED_FORMAT,
    "bmp/q/rgb24jpeg.bmp": Reason.UNSUPPORTED_FORMAT,
    "broken.png": Reason.CORRUPT_IMAGE,
    "crash-1152ec2d1a1a71395b6f2ce6721c38924d025bf3.tif": Reason.TRUNCATED,
    "crash-2020-10-test.tif": Reason.CORRUPT_IMAGE,
    "decompression_bomb.gif": Reason.TOO_MANY_PIXELS,
    "decompression_bomb.ico": Reason.UNSUPPORTED_FORMAT,
    "dummy.container": Reason.NOT_AN_IMAGE,
    "hopper.gd": Reason.NOT_AN_IMAGE,
    "hopper.tar": Reason.NOT_AN_IMAGE,
    "hopper_webp.tif": Reason.UNSUPPORTED_FORMAT,
    "invalid_header_length.jp2": Reason.UNSUPPORTED_FORMAT,
    "trailer_loop.pdf": Reason.NOT_AN_IMAGE,
    "timeout-c8efc3fded6426986ba867a399791bae544f59bc.psd": Reason.UNSUPPORTED_FORMAT,
    "unknown_compression_method.png": Reason.CORRUPT_IMAGE,
}
"""What must be said of some of them."""
