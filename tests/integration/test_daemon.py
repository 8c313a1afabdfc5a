"""The main job: rows appear, vectors follow; in one process, with real HTTP, real loaders, a real PostgreSQL."""

import json
import re
import socket
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import requests
import structlog
from structlog.typing import EventDict

from daemon import ground, wiring
from daemon.engine.openvino import OpenVinoEngine
from daemon.errors import ConfigurationError, DatabaseError
from daemon.loader import nursery
from daemon.telemetry.metrics import Metrics
from daemon.wiring import Daemon
from tests.pictures import Web, picture
from tests.whole import Tables, settings


def test_rows_that_appear_get_vectors(daemon: Daemon, web: Web, tables: Tables) -> None:
    tables.insert({n: web.add(f"/{n}.jpg", picture(n)) for n in range(1, 41)})
    tables.wait(lambda: len(tables.vectors()) == 40, "40 vectors")
    rows = tables.execute(
        "SELECT DISTINCT model_version, vector_dimension, vector_dims(feature_vector),"
        " round(vector_norm(feature_vector)::numeric, 4) FROM tb_hsx_img_value"
    )
    assert rows == [(daemon.signature, 1280, 1280, 1)]
    assert len(set(tables.vectors().values())) == 40
    tables.wait(lambda: tables.jobs() == {}, "an empty queue")


def test_a_changed_location_gets_a_new_vector_and_another_column_no_inference(
    daemon: Daemon, web: Web, tables: Tables
) -> None:
    tables.insert({1: web.add("/1.jpg", picture(1)), 2: web.add("/2.jpg", picture(2))})
    tables.wait(lambda: len(tables.vectors()) == 2, "two vectors")
    first = tables.vectors()
    tables.execute("UPDATE ecai.tb_image SET md5 = 'abc', file_type = 3 WHERE id = 1")
    tables.execute("UPDATE ecai.tb_image SET url = %s WHERE id = 2", (web.add("/other.jpg", picture(99)),))
    tables.wait(lambda: tables.vectors()[2] != first[2], "a new vector of image 2")
    tables.wait(lambda: tables.jobs() == {}, "an empty queue")
    assert tables.vectors()[1] == first[1]
    assert web.asked == {"/1.jpg": 1, "/2.jpg": 1, "/other.jpg": 1}


def test_a_deleted_row_leaves_nothing_behind(daemon: Daemon, web: Web, tables: Tables) -> None:
    tables.insert({1: web.add("/1.jpg", picture(1)), 2: web.base + "/none.jpg"})
    tables.wait(lambda: 1 in tables.vectors() and tables.jobs().get(2, ("",))[0] == "dead", "one of each")
    tables.execute("DELETE FROM ecai.tb_image")
    assert tables.vectors() == {}
    assert tables.jobs() == {}


def test_bad_input_ends_with_its_reason_and_takes_nothing_with_it(daemon: Daemon, web: Web, tables: Tables) -> None:
    with closing(socket.socket()) as unbound:
        unbound.bind(("127.0.0.1", 0))
        # Bound and not listening: a connection is refused, and nobody else gets the port meanwhile.
        refused = f"http://127.0.0.1:{unbound.getsockname()[1]}/x.jpg"
        bad = {
            101: (web.base + "/none.jpg", "not_found"),
            102: (web.add("/page.html", b"<html>not a picture</html>"), "not_an_image"),
            103: ("", "empty_location"),
            104: ("http://10.0.0.1/x.jpg", "blocked_address"),
            105: ("ftp://127.0.0.1/x.jpg", "unsupported_scheme"),
            106: (web.add("/cut.jpg", picture(5, (640, 480))[:2000]), "truncated"),
        }
        good = {n: web.add(f"/{n}.jpg", picture(n)) for n in range(1, 21)}
        tables.insert(good | {image: url for image, (url, _) in bad.items()} | {107: refused})
        tables.execute("INSERT INTO ecai.tb_image (id, url) VALUES (108, NULL)")
        tables.wait(lambda: len(tables.vectors()) == 20, "the good ones")
        expected = {image: ("dead", reason, 1) for image, (_, reason) in bad.items()}
        expected[108] = ("dead", "empty_location", 1)
        tables.wait(lambda: expected.items() <= tables.jobs().items(), f"{expected}")
        # Tried again a few times; whether its host is left alone meanwhile is a matter of timing.
        retrying = {"connection_refused", "host_unavailable"}
        tables.wait(lambda: tables.jobs()[107][1] in retrying, "the reason of the refused one")
    assert sorted(tables.vectors()) == sorted(good)


def test_images_that_were_there_before_the_daemon_are_found(
    empty_database: str, compiled: Path, web: Web, tables: Tables
) -> None:
    given = settings(empty_database, compiled, queue={"trigger": False})
    ground.migrate(given)
    tables.insert({n: web.add(f"/{n}.jpg", picture(n)) for n in range(1, 6)})
    assert tables.jobs() == {}
    with wiring.open_daemon(given, allow_untrained=True):
        tables.wait(lambda: len(tables.vectors()) == 5, "five vectors, by the sweep alone")


def release_once_stopping(held: ExitStack) -> None:
    """In a stop the claims end first, and then what the loaders have in hand may."""
    next(thread for thread in threading.enumerate() if thread.name == "vectord-claim").join(60)
    held.close()


def test_a_stop_under_load_loses_nothing(empty_database: str, compiled: Path, web: Web, tables: Tables) -> None:
    given = settings(empty_database, compiled)
    images = {n: web.add(f"/{n}.jpg", picture(n)) for n in range(1, 121)}
    with ExitStack() as held, ThreadPoolExecutor(1) as threads, wiring.open_daemon(given, allow_untrained=True):
        held.enter_context(web.holding_all())
        tables.insert(images)
        tables.wait_for_work()
        threads.submit(release_once_stopping, held)
    # Whatever was in work was stored or released: nothing is leased, and no attempt was charged but for a failure.
    left = tables.execute(
        "SELECT count(*) FROM vectord.job WHERE lease_until IS NOT NULL OR (attempts > 0 AND reason IS NULL)"
    )
    assert left == [(0,)]
    assert len(tables.vectors()) + len(tables.jobs()) == 120
    assert tables.execute("SELECT ended_at IS NOT NULL FROM vectord.worker") == [(True,)]
    with wiring.open_daemon(given, allow_untrained=True):
        tables.wait(lambda: len(tables.vectors()) == 120, "the rest")
    assert max(web.asked.values()) <= 2


def test_another_model_makes_every_vector_anew(empty_database: str, compiled: Path, web: Web, tables: Tables) -> None:
    tables_of = "SELECT DISTINCT model_version FROM tb_hsx_img_value"
    given = settings(empty_database, compiled)
    with wiring.open_daemon(given, allow_untrained=True) as first:
        tables.insert({n: web.add(f"/{n}.jpg", picture(n)) for n in range(1, 6)})
        tables.wait(lambda: len(tables.vectors()) == 5, "five vectors")
        before = first.signature
    with wiring.open_daemon(given.changed({"model": {"scaling": "unit"}}), allow_untrained=True) as second:
        tables.wait(lambda: tables.execute(tables_of) == [(second.signature,)], "vectors of the other scaling")
        assert second.signature != before


def test_it_says_how_it_is(daemon: Daemon, web: Web, tables: Tables) -> None:
    tables.insert({1: web.add("/1.jpg", picture(1))})
    tables.wait(lambda: len(tables.vectors()) == 1, "a vector")
    with urllib.request.urlopen(daemon.address + "/health", timeout=60) as answer:
        health = json.load(answer)
    assert health["healthy"]
    assert health["ready"]
    # Of one batch is told before the next one is written.
    tables.insert({2: web.add("/2.jpg", picture(2))})
    tables.wait(lambda: len(tables.vectors()) == 2, "another vector")
    assert re.search(r'vectord_images_total{status="stored"} [12].0', scrape(daemon))
    assert f'signature="{daemon.signature}"' in scrape(daemon)


def test_without_loaders_it_is_alive_but_takes_no_work(
    empty_database: str, compiled: Path, web: Web, tables: Tables
) -> None:
    given = settings(empty_database, compiled, fetch={"ca_file": "/nowhere.pem"})
    broken = threading.Event()

    def hear(_: object, __: str, line: EventDict) -> EventDict:
        if line["event"] == "loader.start_failed" and line["failures"] >= nursery.BROKEN_AFTER:
            broken.set()
        return line

    with (
        structlog.testing.capture_logs(processors=[hear]),
        wiring.open_daemon(given, allow_untrained=True) as daemon,
    ):
        tables.insert({1: web.add("/1.jpg", picture(1))})
        assert broken.wait(60)
        ready = requests.get(daemon.address + "/ready", timeout=60)
        assert ready.status_code == 503
        assert ready.json()["status"] == "waiting: load: no loader can be started: the daemon's log says why"
        assert "fetch.ca_file: /nowhere.pem" in daemon.health().status
        assert requests.get(daemon.address + "/health", timeout=60).ok


def test_the_engine_is_shown_before_it_is_warmed_up(
    empty_database: str, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(Metrics, "watch_engine", lambda *_: done.append("shown"))
    monkeypatch.setattr(OpenVinoEngine, "warm_up", lambda _: done.append("warm"))
    given = settings(empty_database, compiled, engine={"backend": "openvino"})
    with wiring.open_daemon(given, allow_untrained=True):
        assert done == ["shown", "warm"]


def scrape(daemon: Daemon) -> str:
    with urllib.request.urlopen(daemon.address + "/metrics", timeout=60) as answer:
        text: str = answer.read().decode()
    return text


def test_the_log_sums_up_what_was_done(
    empty_database: str, compiled: Path, web: Web, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.front.SECONDS", 0.1)
    given = settings(empty_database, compiled)
    summaries: list[EventDict] = []
    both = threading.Event()

    def hear(_: object, __: str, line: EventDict) -> EventDict:
        if line["event"] == "daemon.summary":
            summaries.append(line)
        if sum(one["stored"] + one["failed"] for one in summaries) == 2:
            both.set()
        return line

    with structlog.testing.capture_logs(processors=[hear]), wiring.open_daemon(given, allow_untrained=True):
        tables.insert({1: web.add("/1.jpg", picture(1)), 2: web.base + "/none.jpg"})
        assert both.wait(60)
    assert sum(line["stored"] for line in summaries) == 1
    assert {"backlog", "in_flight", "rate", "seconds"} <= set(summaries[0])


def test_vectors_of_other_programs_are_kept_counted_and_warned_of(
    empty_database: str, compiled: Path, web: Web, tables: Tables
) -> None:
    given = settings(empty_database, compiled, queue={"trigger": False})
    ground.migrate(given)
    tables.insert({n: web.add(f"/{n}.jpg", picture(n)) for n in (1, 2)})
    tables.execute(
        "INSERT INTO tb_hsx_img_value (image_id, feature_vector, model_version)"
        " VALUES (1, array_fill(1, ARRAY[1280])::vector, 'MobileNetV2-GPU')"
    )
    with structlog.testing.capture_logs() as logs, wiring.open_daemon(given, allow_untrained=True) as daemon:
        tables.wait(lambda: len(tables.vectors()) == 2, "the vector of image 2")
        assert "vectord_foreign_vectors 1.0" in scrape(daemon)
    assert [line["key"] for line in logs if line["event"] == "vectors.foreign"] == ["reprocess.foreign"]
    version = "SELECT model_version FROM tb_hsx_img_value WHERE image_id = 1"
    assert tables.execute(version) == [("MobileNetV2-GPU",)]
    replacing = given.changed({"reprocess": {"foreign": "replace"}})
    with wiring.open_daemon(replacing, allow_untrained=True) as daemon:
        tables.wait(lambda: tables.execute(version) == [(daemon.signature,)], "a vector of our own for image 1")


def test_untrained_weights_are_for_the_demo_alone(empty_database: str, compiled: Path) -> None:
    with (
        pytest.raises(ConfigurationError, match=r"model\.weights: 'untrained' is for the demo alone"),
        wiring.open_daemon(settings(empty_database, compiled)),
    ):
        pass


def test_a_vector_column_of_another_length_stops_the_start(empty_database: str, compiled: Path, tables: Tables) -> None:
    tables.execute(
        "CREATE EXTENSION vector; CREATE TABLE tb_hsx_img_value (id bigserial PRIMARY KEY,"
        " image_id bigint UNIQUE NOT NULL, feature_vector vector(512) NOT NULL, vector_dimension integer,"
        " model_version varchar(50))"
    )
    with (
        pytest.raises(DatabaseError, match=r"512.*1280|1280.*512"),
        wiring.open_daemon(settings(empty_database, compiled), allow_untrained=True),
    ):
        pass


def test_no_thread_is_left_behind(empty_database: str, compiled: Path) -> None:
    before = set(threading.enumerate())
    with wiring.open_daemon(settings(empty_database, compiled), allow_untrained=True):
        assert {"vectord-claim", "vectord-embed", "vectord-store"} <= {thread.name for thread in threading.enumerate()}
    left = [thread.name for thread in set(threading.enumerate()) - before if not thread.name.startswith("asyncio")]
    assert left == []
