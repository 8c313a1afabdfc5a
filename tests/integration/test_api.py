"""The REST API of a whole running daemon: real pictures, real PostgreSQL, real sockets."""

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event, Semaphore
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import numpy as np
import psycopg2
import pytest
import requests

from daemon import parts, reception, wiring
from daemon.api.routes import process
from daemon.db.driver import Cursor
from daemon.db.gauges import LOOKS, Gauges
from daemon.reprocess import Standing
from daemon.wiring import Daemon
from tests.loading import SHARED
from tests.pictures import Web, picture
from tests.postgres import Database, wait_until_blocked
from tests.servers import Answer, body, redirect, serve
from tests.whole import Tables, settings

TIMEOUT = 60
BIG = 2**62 + 1


@pytest.fixture
def idle(empty_database: str, compiled: Path) -> Iterator[Daemon]:
    """A daemon that takes no image up by itself: no trigger tells, and the sweep looks every hour."""
    given = settings(empty_database, compiled, queue={"trigger": False}, sweep={"interval_seconds": 3600.0})
    with wiring.open_daemon(given, allow_untrained=True) as daemon:
        yield daemon


def post(daemon: Daemon, path: str, **what: Any) -> requests.Response:
    return requests.post(daemon.address + path, timeout=TIMEOUT, **what)


def get(daemon: Daemon, path: str) -> requests.Response:
    return requests.get(daemon.address + path, timeout=TIMEOUT)


def vector_of(answer: requests.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["feature_vector"], np.float32)


def test_a_url_and_an_upload_come_to_the_vector_that_the_table_gets(daemon: Daemon, web: Web, tables: Tables) -> None:
    url = web.add("/1.jpg", picture(1))
    by_url = post(daemon, f"/extract/url?image_url={url}&image_id={BIG}")
    by_upload = post(daemon, "/extract/upload", files={"file": ("1.jpg", picture(1), "image/jpeg")})
    assert by_url.json()["image_id"] == str(BIG)
    assert by_url.json()["dimension"] == 1280
    assert by_url.json()["model_version"] == daemon.signature
    assert tables.vectors() == {}
    tables.insert({1: url})
    tables.wait(tables.vectors, "the vector of the table")
    stored = np.array(json.loads(tables.vectors()[1]), np.float32)
    for answer in (by_url, by_upload):
        assert np.abs(vector_of(answer) - stored).max() < 1e-6
    assert np.linalg.norm(stored) == pytest.approx(1.0, abs=1e-5)


def test_what_has_no_vector_says_why_and_no_more(daemon: Daemon, web: Web) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/secret-path"
    secret = b"<html>secret content</html>" * 10
    cases = {
        web.base + "/none.jpg": (422, "not_found"),
        web.add("/page", secret): (422, "not_an_image"),
        "http://10.1.2.3/x.jpg": (422, "blocked_address"),
        "http://169.254.169.254/latest/meta-data": (422, "blocked_address"),
        "file:///etc/passwd": (422, "unsupported_scheme"),
        "/etc/passwd": (422, "unsupported_scheme"),
        "s3://bucket/key": (422, "unsupported_scheme"),
        nobody: (424, "connection_refused"),
    }
    for url, (status, reason) in cases.items():
        answer = post(daemon, "/extract/url", params={"image_url": url})
        assert (answer.status_code, answer.json()["reason"]) == (status, reason), url
        assert set(answer.json()) == {"reason", "message"}
        assert ("Retry-After" in answer.headers) is (status == 424)
        for leak in ("secret", "127.0.0.1", "10.1.2.3", "169.254"):
            assert leak not in answer.text
    upload = post(daemon, "/extract/upload", files={"file": secret})
    assert (upload.status_code, upload.json()["reason"]) == (422, "not_an_image")


@pytest.mark.parametrize(("asked", "told"), [("7", "7"), ("999999999", "3600")])
def test_nobody_is_sent_away_for_longer_than_the_queue_waits(daemon: Daemon, asked: str, told: str) -> None:
    with serve({"/busy": lambda request: request.reply(429, retry_after=asked)}) as server:
        answer = post(daemon, "/extract/url", params={"image_url": server.url + "/busy"})
    assert (answer.status_code, answer.json()["reason"]) == (424, "rate_limited")
    assert answer.headers["Retry-After"] == told


def test_errors_carry_nothing_that_was_fetched_and_no_address_of_the_house(idle: Daemon, tables: Tables) -> None:
    secret = b"GIF89a" + b"<b>secret content</b>" * 50
    paths: dict[str, Answer] = {
        "/refused": lambda asked: asked.reply(403, secret, x_secret="secret header"),
        "/broken": lambda asked: asked.reply(500, secret, x_secret="secret header"),
        "/picture": body(secret),
        "/inwards": redirect("http://10.1.2.3:8080/admin?token=secret"),
        "/nonsense": redirect("gopher://secret-host/secret"),
    }
    with serve(paths) as server:
        images = {number: server.url + path for number, path in enumerate(paths, 1)}
        tables.insert(images | {9: "http://169.254.169.254/latest/meta-data"})
        urls = tables.execute("SELECT url FROM ecai.tb_image")
        answers = [
            *(post(idle, path, params={"image_url": url}) for path in ("/extract/url", "/similar") for (url,) in urls),
            *(post(idle, "/process/image", json={"image_id": number}) for number in (*images, 9)),
            *(post(idle, "/process/image", json={"image_id": 9, "image_url": url}) for (url,) in urls),
            post(idle, "/process/batch", json=[*images, 9]),
            post(idle, "/extract/upload", files={"file": secret}),
            *(get(idle, f"/similar/{number}") for number in images),
        ]
        known = [get(idle, "/failures"), *(get(idle, f"/images/{number}") for number in images)]
    for answer in answers:
        assert answer.status_code in {200, 404, 422, 424}
        assert answer.json().get("success") in (False, None, 0)
        for leak in ("secret", "content", "127.0.0.1", "10.1.2.3", "169.254", "8080", "Traceback", ".py"):
            assert leak not in answer.text, (answer.url, answer.text)
    for answer in known:  # They name the locations of the table, which is what they are for.
        assert "content" not in answer.text
        assert "secret header" not in answer.text


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"data": {"file": "text"}}, "file"),
        ({"data": b"x", "headers": {"Content-Type": "application/json"}}, "file"),
        ({"data": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, ""),
        ({"data": b"x", "headers": {"Content-Type": "multipart/form-data"}}, ""),
        ({}, "file"),
    ],
)
def test_a_form_without_a_file_is_refused(daemon: Daemon, body: dict[str, Any], where: str) -> None:
    answer = post(daemon, "/extract/upload", **body)
    assert answer.status_code in (400, 422)
    assert answer.json()["reason"] == "invalid_request"
    assert where in answer.json()["message"]


def test_a_body_that_is_too_large_is_cut_off_while_it_comes(empty_database: str, compiled: Path) -> None:
    small = settings(
        empty_database,
        compiled,
        fetch={"max_bytes": 100_000, "allow_networks": ["127.0.0.0/8"], "allow_ports": [0]},
    )

    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        while True:
            yield bytes(65536)

    with wiring.open_daemon(small, allow_untrained=True) as daemon:
        declared = post(daemon, "/extract/upload", files={"file": bytes(300_000)})
        assert (declared.status_code, declared.json()["reason"]) == (413, "too_large")
        # Whoever goes on sending may see the connection end before it reads the answer.
        try:
            answer = post(
                daemon,
                "/extract/upload",
                data=endless(),
                headers={"Content-Type": "multipart/form-data; boundary=x"},
            )
            assert answer.status_code == 413
        except requests.ConnectionError:
            pass
        many = post(daemon, "/process/batch", data=b"[" + b"1," * 2**20, headers={"Content-Type": "application/json"})
        assert (many.status_code, many.json()["reason"]) == (413, "too_large")
        assert post(daemon, "/extract/upload", files={"file": picture(1)}).status_code == 200


def test_an_image_gets_its_vector_at_once(idle: Daemon, web: Web, tables: Tables) -> None:
    tables.insert({BIG: web.add("/1.jpg", picture(1))})
    answer = post(idle, "/process/image", json={"image_id": str(BIG)})
    done = {"success": True, "image_id": str(BIG), "dimension": 1280, "message": "done", "reason": None}
    assert (answer.status_code, answer.json()) == (200, done)
    assert set(tables.vectors()) == {BIG}
    assert tables.jobs() == {}
    again = post(idle, "/process/image", json={"image_id": BIG})
    assert again.json() == done | {"message": "it has a vector already"}
    assert web.asked == {"/1.jpg": 1}


def test_a_superseded_daemon_overwrites_no_vector_of_the_model_that_counts(
    empty_database: str, compiled: Path, web: Web, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wiring.open_daemon(
        settings(empty_database, compiled, queue={"trigger": False}), allow_untrained=True
    ) as daemon:
        hear, noticed = daemon.presence.hear, Event()

        def heard(standing: Standing, present: str | None) -> bool:
            raised = hear(standing, present)
            if daemon.presence.superseded:
                noticed.set()
            return raised

        monkeypatch.setattr(daemon.presence, "hear", heard)
        other = "vectord:mobilenetv2_1.0_224:99999999"
        tables.execute("UPDATE vectord.setting SET value = %s WHERE key = 'model'", (other,))
        assert noticed.wait(TIMEOUT), "it has not noticed"
        url = web.add("/1.jpg", picture(1))
        tables.insert({1: url, 2: url})
        theirs = json.dumps([1.0, *[0.0] * 1279])
        tables.execute(
            "INSERT INTO tb_hsx_img_value (image_id, feature_vector, model_version) VALUES (1, %s, %s)",
            (theirs, f"{other}:g0"),
        )
        before = tables.vectors()
        for path, body in (("image", {"image_id": 1}), ("image", {"image_id": 2}), ("batch", [1, 2])):
            answer = post(daemon, f"/process/{path}", json=body)
            assert (answer.status_code, answer.json()["reason"]) == (503, "not_serving"), answer.text
            assert "another daemon's model counts" in answer.json()["message"]
            assert "Retry-After" in answer.headers
        assert (tables.vectors(), tables.jobs()) == (before, {})
        # What stores nothing goes on, and says what made it.
        assert post(daemon, "/extract/url", params={"image_url": url}).json()["model_version"] == daemon.signature


def test_the_replaced_services_calls_work_word_for_word(daemon: Daemon, web: Web, tables: Tables) -> None:
    url = web.add("/1.jpg", picture(1))
    tables.insert({123456: url, 7: url + "?7"})
    assert post(daemon, "/process/image", json={"image_id": "123456", "image_url": url}).json()["success"]
    batch = post(daemon, "/process/batch", json=["123456", 7]).json()
    assert {key: batch[key] for key in ("total", "success", "failed", "failed_ids")} == {
        "total": 2,
        "success": 2,
        "failed": 0,
        "failed_ids": [],
    }
    body = {"limit": 100, "skip_processed": True, "force_reprocess": False}
    run = post(daemon, "/process/all", json=body)
    assert run.status_code == 202
    assert {"total", "processed", "success", "failed", "skipped", "failed_ids", "message"} <= set(run.json())
    vector = post(daemon, f"/extract/url?image_url={url}").json()
    assert {"image_id", "feature_vector", "dimension", "model_version"} == set(vector)


def test_another_url_may_be_given_for_an_image(idle: Daemon, web: Web, tables: Tables) -> None:
    tables.insert({1: web.base + "/gone.jpg"})
    failed = post(idle, "/process/image", json={"image_id": "1"}).json()
    assert (failed["success"], failed["reason"]) == (False, "not_found")
    assert tables.jobs()[1] == ("dead", "not_found", 1)
    other = web.add("/other.jpg", picture(2))
    assert post(idle, "/process/image", json={"image_id": "1", "image_url": other}).json()["success"]
    assert set(tables.vectors()) == {1}
    assert tables.jobs() == {}
    assert tables.execute("SELECT url FROM ecai.tb_image") == [(web.base + "/gone.jpg",)]
    refused = post(idle, "/process/image", json={"image_id": "2", "image_url": "file:///etc/passwd"})
    assert (refused.status_code, refused.json()["reason"]) == (422, "unsupported_scheme")


@pytest.mark.parametrize("body", [None, b"<html>no picture</html>"])
def test_a_wrong_url_costs_the_image_nothing(idle: Daemon, web: Web, tables: Tables, body: bytes | None) -> None:
    url = web.base + "/typo.jpg" if body is None else web.add("/typo.jpg", body)
    # In one transaction: the first tick of the sweep may come now, and is to find the job.
    tables.execute(
        "INSERT INTO ecai.tb_image (id, url) VALUES (1, %s);"
        "INSERT INTO vectord.job (image_id, not_before) VALUES (1, now() + interval '1 hour')",
        (web.add("/own.jpg", picture(1)),),
    )
    failed = post(idle, "/process/image", json={"image_id": "1", "image_url": url}).json()
    assert not failed["success"]
    assert "own location is tried next" in failed["message"]
    tables.wait(lambda: set(tables.vectors()) == {1}, "the vector of its own picture")


@pytest.mark.parametrize("image_id", ["404", "not a number", str(2**80), "-1", "1.5", "' OR 1=1"])
def test_an_image_that_is_not_there_is_404(idle: Daemon, image_id: str) -> None:
    for answer in (
        post(idle, "/process/image", json={"image_id": image_id}),
        post(idle, "/process/batch", json=[image_id]),
        get(idle, f"/images/{image_id}"),
        get(idle, f"/similar/{image_id}"),
        post(idle, "/retry", json={"image_id": image_id}),
    ):
        assert answer.status_code == 404, answer.text
        assert answer.json()["reason"] in {"no_such_image", "not_found", "no_such_job"}


@pytest.mark.parametrize("image_id", ["not a number", str(2**80), "1.5"])
def test_an_id_that_no_image_can_have_is_told_of_alike_and_in_our_own_words(idle: Daemon, image_id: str) -> None:
    for answer in (
        post(idle, "/process/image", json={"image_id": image_id}),
        *(get(idle, f"/images/{image_id}{more}") for more in ("", "/vector", "/thumbnail")),
        get(idle, f"/similar/{image_id}"),
        post(idle, "/retry", json={"image_id": image_id}),
    ):
        assert (answer.status_code, answer.json()["reason"]) == (404, "no_such_image"), answer.url
        assert "SQLSTATE" not in answer.text
        assert "bigint" not in answer.text


def test_ids_may_have_slashes_and_percent_signs_in_them(
    empty_database: str, compiled: Path, web: Web, tables: Tables
) -> None:
    tables.execute("CREATE SCHEMA ecai; CREATE TABLE ecai.tb_image (id text PRIMARY KEY, url varchar(500))")
    tables.execute(
        "CREATE EXTENSION vector; CREATE TABLE tb_hsx_img_value (id bigserial PRIMARY KEY,"
        " image_id text NOT NULL UNIQUE REFERENCES ecai.tb_image ON DELETE CASCADE,"
        " feature_vector vector(1280) NOT NULL, vector_dimension integer, model_version varchar(50))"
    )
    ids = ["a/b", "a/b/thumbnail", "a/vector", "100%2F", "ä ö", "+"]
    with wiring.open_daemon(settings(empty_database, compiled), allow_untrained=True) as daemon:
        for number, image_id in enumerate(ids):
            url = web.add(f"/{number}.jpg", picture(number))
            tables.execute("INSERT INTO ecai.tb_image (id, url) VALUES (%s, %s)", (image_id, url))
        assert post(daemon, "/process/batch", json=ids).json()["success"] == len(ids)
        for image_id in ids:
            path = quote(image_id, safe="")
            for way in ("/images/{}", "/images/{}/vector", "/images/{}/thumbnail", "/similar/{}?k=1"):
                answer = get(daemon, way.format(path))
                assert answer.status_code == 200, (way, image_id, answer.text)
            assert get(daemon, f"/images/{path}").json()["image_id"] == image_id
            assert get(daemon, f"/images/{path}/vector").json()["image_id"] == image_id
        wrong = get(daemon, "/images/a/b")
        assert (wrong.status_code, wrong.json()["reason"]) == (404, "no_such_path")


def test_a_batch_tells_each_and_works_on_each_once(idle: Daemon, web: Web, tables: Tables) -> None:
    images = {n: web.add(f"/{n}.jpg", picture(n)) for n in range(1, 6)} | {6: web.base + "/gone.jpg"}
    tables.insert(images)
    ids = [*map(str, images), 1, "1", "6", "999"]
    answer = post(idle, "/process/batch", json=ids)
    assert answer.json() == {
        "total": 10,
        "success": 7,
        "failed": 3,
        "failed_ids": ["6", "6", "999"],
        "reasons": {"6": "not_found", "999": "no_such_image"},
    }
    assert set(tables.vectors()) == {1, 2, 3, 4, 5}
    assert max(web.asked.values()) == 1
    assert post(idle, "/process/batch", json=[]).json()["total"] == 0


def test_two_who_want_the_same_image_get_one_vector(idle: Daemon, web: Web, tables: Tables) -> None:
    tables.insert({1: web.add("/1.jpg", picture(1))})
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: post(idle, "/process/image", json={"image_id": 1}).json(), range(8)))
    assert all(answer["success"] for answer in answers)
    assert web.asked == {"/1.jpg": 1}


def test_an_image_that_another_daemon_gives_back_is_taken_over_by_who_waits_for_it(
    idle: Daemon, web: Web, tables: Tables, empty_database: str
) -> None:
    # In one transaction: the first sweep, which may be under way, must not find an image without a job. Due in ten
    # minutes, as what is due in many hours is called back: the server's clock must have been set back then.
    image = "INSERT INTO ecai.tb_image (id, url) VALUES (1, %s);"
    job = "INSERT INTO vectord.job (image_id, not_before) VALUES (1, now() + interval '10 minutes')"
    tables.execute(image + job, (web.add("/1.jpg", picture(1)),))
    with closing(psycopg2.connect(empty_database)) as other, other.cursor() as cursor, ThreadPoolExecutor(1) as caller:
        cursor.execute(
            "UPDATE vectord.job SET lease_token = gen_random_uuid(), lease_until = not_before, worker = 'other'"
        )
        answer = caller.submit(post, idle, "/process/image", json={"image_id": 1})
        wait_until_blocked(tables, by=other)
        other.commit()
        tables.execute("UPDATE vectord.job SET lease_token = NULL, lease_until = NULL, worker = NULL")
        assert answer.result().json()["success"]


def test_an_image_in_the_queue_is_not_worked_on_twice(daemon: Daemon, web: Web, tables: Tables) -> None:
    images = {n: web.add(f"/{n}.jpg", picture(n)) for n in range(1, 41)}
    tables.insert(images)
    assert post(daemon, "/process/batch", json=list(images)).json()["success"] == 40
    assert set(web.asked.values()) == {1}


def test_what_is_known_of_images_failures_and_another_chance(daemon: Daemon, web: Web, tables: Tables) -> None:
    tables.insert({1: web.add("/1.jpg", picture(1)), 2: web.base + "/gone.jpg"})
    tables.wait(lambda: 1 in tables.vectors() and tables.jobs().get(2, ("",))[0] == "dead", "one of each")
    one = get(daemon, "/images/1").json()
    assert one["verdict"] == "done: it has its vector"
    assert one["vector"] == one["vector"] | {"model_version": daemon.signature, "present": True}
    two = get(daemon, "/images/2").json()
    assert (two["image_id"], two["job"]["state"], two["job"]["reason"]) == ("2", "dead", "not_found")
    failures = get(daemon, "/failures?reason=not_found").json()
    assert failures["counts"] == {"not_found": 1}
    assert [one["image_id"] for one in failures["failures"]] == ["2"]
    assert get(daemon, "/failures?reason=truncated").json()["failures"] == []
    assert get(daemon, "/failures?reason=nonsense").status_code == 422
    web.add("/gone.jpg", picture(2))
    assert post(daemon, "/retry", json={"image_id": 2}).json() == {"retried": 1}
    tables.wait(lambda: 2 in tables.vectors(), "the second vector")
    assert post(daemon, "/retry", json={"all": True}).json() == {"retried": 0}
    assert post(daemon, "/retry", json={"reason": "not_found"}).json() == {"retried": 0}
    assert post(daemon, "/retry", json={}).status_code == 422
    assert post(daemon, "/retry", json={"all": True, "image_id": 1}).status_code == 422


def test_the_nearest_images_are_found_by_id_upload_and_url(daemon: Daemon, web: Web, tables: Tables) -> None:
    tables.insert({n: web.add(f"/{n}.jpg", picture(n)) for n in range(1, 9)})
    tables.wait(lambda: len(tables.vectors()) == 8, "the vectors")
    for answer in (
        post(daemon, "/similar?k=3", files={"file": picture(5)}),
        post(daemon, "/similar", params={"k": 3, "image_url": web.base + "/5.jpg"}),
    ):
        found = answer.json()["neighbours"]
        assert len(found) == 3
        assert found[0]["image_id"] == "5"
        assert found[0]["similarity"] == pytest.approx(1.0, abs=1e-5)
        assert found[0]["model_version"] == daemon.signature
    by_id = get(daemon, "/similar/5?k=2").json()["neighbours"]
    assert [one["image_id"] for one in by_id] == [one["image_id"] for one in found[1:]]


def test_a_search_that_takes_too_long_is_given_up_and_says_so(
    empty_database: str, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "SEARCH_SECONDS", 0.2)
    with (
        wiring.open_daemon(settings(empty_database, compiled), allow_untrained=True) as daemon,
        closing(psycopg2.connect(empty_database)) as session,
    ):
        session.cursor().execute("LOCK TABLE tb_hsx_img_value IN ACCESS EXCLUSIVE MODE")
        answer = get(daemon, "/similar/1")
    assert (answer.status_code, answer.json()["reason"]) == (503, "too_slow")
    assert "0.2 s" in answer.json()["message"]
    assert "Retry-After" in answer.headers


def looked(daemon: Daemon) -> float:
    """When the daemon last saw its database."""
    text = get(daemon, "/metrics").text
    (moment,) = re.findall(r"^vectord_database_look_timestamp_seconds (\S+)$", text, re.MULTILINE)
    return float(moment)


def test_callers_that_hold_all_of_the_apis_connections_keep_nobody_from_seeing_the_database(
    idle: Daemon, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.telemetry.lookout.LOOK_SECONDS", 0.1)
    looks = Semaphore(0)
    look = Gauges._look

    def counted(self: Gauges, cursor: Cursor, query: str) -> dict[str, Any]:
        if query == LOOKS[0]:
            looks.release()
        return look(self, cursor, query)

    monkeypatch.setattr(Gauges, "_look", counted)
    tables = Tables(empty_database)
    with closing(psycopg2.connect(empty_database)) as session, ThreadPoolExecutor(parts.API_CONNECTIONS) as threads:
        session.cursor().execute("LOCK TABLE vectord.run IN ACCESS EXCLUSIVE MODE")
        asking = [threads.submit(get, idle, f"/runs/{uuid4()}") for _ in range(parts.API_CONNECTIONS)]
        wait_until_blocked(tables, by=session, waiting=parts.API_CONNECTIONS)
        before = looked(idle)
        while looks.acquire(blocking=False):
            pass
        # When the second one from now begins, the first has been shown.
        assert all(looks.acquire(timeout=TIMEOUT) for _ in range(2))
        assert looked(idle) > before
        assert idle.backlog() == 0
        assert not any(one.done() for one in asking)
        session.rollback()


def test_a_run_over_all_images_counts_what_came_of_them(idle: Daemon, web: Web, tables: Tables) -> None:
    images = {n: web.add(f"/{n}.jpg", picture(n)) for n in range(1, 21)} | {30: web.base + "/gone.jpg"}
    tables.insert(images)
    first = post(idle, "/process/all", json={"limit": 5, "wait": True})
    assert first.status_code == 200
    assert first.json() == first.json() | {"done": True, "total": 5, "success": 5, "failed": 0, "skipped": 0}
    assert set(tables.vectors()) >= {1, 2, 3, 4, 5}
    # The sweep, which feeds the run, does its own work besides.
    tables.wait(lambda: len(tables.vectors()) == 20 and tables.jobs()[30][0] == "dead", "the rest")
    second = post(idle, "/process/all", json={"wait": True}).json()
    assert second == second | {"total": 1, "processed": 1, "success": 0, "failed": 1, "failed_ids": ["30"]}
    every = post(idle, "/process/all", json={"skip_processed": False, "wait": True}).json()
    assert every == every | {"total": 21, "success": 0, "failed": 1, "skipped": 20}
    assert web.asked["/1.jpg"] == 1
    forced = post(idle, "/process/all", json={"force_reprocess": True, "limit": 3, "wait": True}).json()
    assert forced == forced | {"total": 3, "success": 3}
    assert [web.asked[f"/{n}.jpg"] for n in range(1, 5)] == [2, 2, 2, 1]
    assert get(idle, f"/runs/{forced['run_id']}").json() == forced
    assert get(idle, "/runs/00000000-0000-0000-0000-000000000000").status_code == 404
    assert get(idle, "/runs/x").status_code == 422


def test_few_may_wait_for_runs_and_the_others_are_told_so(
    empty_database: str, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "MOST_WAITING", 1)
    given = settings(empty_database, compiled)
    with wiring.open_daemon(given, allow_untrained=True) as daemon, ThreadPoolExecutor(1) as threads:
        database = Database(empty_database, daemon.names, daemon.pool)
        with closing(database.connect()) as session:
            session.cursor().execute("LOCK TABLE vectord.run IN EXCLUSIVE MODE")
            first = threads.submit(post, daemon, "/process/all", json={"wait": True})
            wait_until_blocked(database, by=session)
            second = post(daemon, "/process/all", json={"wait": True})
            assert (second.status_code, second.json()["reason"]) == (429, "too_busy")
            assert int(second.headers["Retry-After"]) > 0
            session.rollback()
        assert first.result(TIMEOUT).status_code == 200
        assert post(daemon, "/process/all", json={"wait": True}).status_code == 200
        assert database.execute("SELECT count(*) FROM vectord.run") == [(2,)]


def test_uploads_of_odd_files_are_answered_with_a_documented_reason(daemon: Daemon) -> None:
    folder = SHARED / "odd"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    documented = (Path(__file__).parents[2] / "docs" / "reasons.md").read_text()

    def upload(path: Path) -> tuple[int, str]:
        answer = post(daemon, "/extract/upload", files={"file": (path.name[:100], path.read_bytes())})
        return answer.status_code, answer.json().get("reason", "")

    with ThreadPoolExecutor(8) as threads:
        for path, (status, reason) in zip(files, threads.map(upload, files), strict=True):
            assert status == 200 or (400 <= status < 500 and f"`{reason}`" in documented), (path, status, reason)


def test_a_caller_who_leaves_leaves_nothing_behind(daemon: Daemon, web: Web) -> None:
    """Many who hang up at once: the places that they had are free for the next."""
    for _ in range(3):
        callers = [socket.create_connection(("127.0.0.1", int(daemon.address.rpartition(":")[2]))) for _ in range(80)]
        for caller in callers:
            caller.sendall(b"POST /extract/url?image_url=http://192.0.2.1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for caller in callers:
            caller.close()
    assert post(daemon, "/extract/upload", files={"file": picture(1)}).status_code == 200


def test_a_daemon_that_starts_says_so(empty_database: str, compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str]] = []
    warm = wiring.open_engine  # type: ignore[attr-defined] # a fault in the middle of a start cannot be had otherwise

    def ask_meanwhile(*given: Any) -> Any:
        address = f"http://127.0.0.1:{port}"
        for path in ("/ready", "/images/1"):
            answer = requests.get(address + path, timeout=TIMEOUT)
            asked.append((answer.status_code, answer.json().get("reason", answer.json().get("status"))))
        return warm(*given)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(wiring, "open_engine", ask_meanwhile)
    with wiring.open_daemon(settings(empty_database, compiled, http={"port": port}), allow_untrained=True):
        pass
    assert asked == [(503, "starting: the model is not warm yet"), (503, "not_serving")]


def test_the_pipelines_lines_bear_the_requests_number(
    daemon: Daemon, web: Web, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = requests.post(
        daemon.address + "/extract/url",
        params={"image_url": web.base + "/none.jpg"},
        headers={"X-Request-ID": "from-a-test"},
        timeout=TIMEOUT,
    )
    assert answer.headers["X-Request-ID"] == "from-a-test"
    get(daemon, "/health")  # The line of a request is written after its answer, and before the next one is begun.
    lines = [line for line in capsys.readouterr().out.splitlines() if "from-a-test" in line]
    assert any("picture.refused" in line for line in lines)
    assert any("http.answered" in line for line in lines)
