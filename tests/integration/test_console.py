"""What the console asks of a running daemon: its files, the stream, thumbnails, vectors, and who waits."""

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import requests
from PIL import Image

from daemon import wiring
from daemon.api.feed import MOST_LISTENERS
from daemon.wiring import Daemon
from tests.pictures import Web, picture
from tests.whole import ROOT, Tables, settings

TIMEOUT = 60


def get(daemon: Daemon, path: str, **options: Any) -> requests.Response:
    return requests.get(daemon.address + path, timeout=TIMEOUT, **options)


def snapshots(answer: requests.Response) -> Iterator[dict[str, Any]]:
    """What comes, until the daemon ends it."""
    for line in answer.iter_lines(chunk_size=1):
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


def test_the_page_and_its_files(daemon: Daemon) -> None:
    page = get(daemon, "/")
    assert page.status_code == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy.replace("https", "http")
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Cache-Control"] == "no-cache"
    assert get(daemon, "/", headers={"If-None-Match": page.headers["ETag"]}).status_code == 304
    folder = "/console/" + page.headers["ETag"].strip('"')
    for name, kind in {
        "app.js": "text/javascript",
        "app.css": "text/css",
        "strings/zh-CN.json": "application/json",
    }.items():
        answer = get(daemon, f"{folder}/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["Content-Type"].startswith(kind)
        assert "immutable" in answer.headers["Cache-Control"]
    assert requests.head(daemon.address + "/", timeout=TIMEOUT).status_code == 200
    for path in (
        f"{folder}/none.js",
        "/console/000000000000/app.js",
        f"{folder}/%2e%2e/access.py",
        f"{folder}/index.html",
    ):
        assert get(daemon, path).status_code == 404, path


def test_the_page_is_for_anyone_and_its_data_for_those_with_the_token(
    empty_database: str, compiled: Path, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("open sesame")
    given = settings(empty_database, compiled, http={"token_file": str(tmp_path / "token")})
    with wiring.open_daemon(given, allow_untrained=True) as daemon:
        page = get(daemon, "/")
        assert page.status_code == 200
        assert get(daemon, f"/console/{page.headers['ETag'][1:-1]}/app.js").status_code == 200
        for path in ("/events", "/waiting", "/failures", "/images/1/thumbnail", "/images/1/vector"):
            refused = get(daemon, path)
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer"), path
        assert get(daemon, "/", headers={"Host": "evil.example"}).status_code == 421
        key = {"Authorization": "Bearer open sesame"}
        assert get(daemon, "/waiting", headers=key).json() == {"waiting": []}
        with get(daemon, "/events", headers=key, stream=True) as answer:
            assert next(snapshots(answer))["health"]["state"] == "idle"


def test_the_stream_tells_how_it_is_and_ends_with_the_daemon(empty_database: str, compiled: Path, web: Web) -> None:
    tables = Tables(empty_database)
    with wiring.open_daemon(settings(empty_database, compiled), allow_untrained=True) as daemon:
        tables.insert({1: web.add("/1.jpg", picture(1)), 2: web.base + "/gone.jpg"})
        answer = get(daemon, "/events", stream=True)
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        seen = snapshots(answer)
        done = next(
            one for one in seen if one["database"] and one["stored"] and one["database"]["dead"] and one["points"]
        )
        assert done["daemon"]["signature"] == daemon.signature
        assert done["database"]["images"] == {"number": 2, "certainty": "exact"}
        assert done["database"]["dead"] == {"not_found": {"number": 1, "certainty": "exact"}}
        assert [one["alive"] for one in done["database"]["daemons"]] == [True]
        assert {one["stage"] for one in done["daemon"]["stages"]} == {"load", "embed", "store"}
        points = [point for one in (done, *[next(seen) for _ in range(6)]) for point in one["points"]]
        moments = [point[0] for point in points]
        assert moments == sorted(set(moments))
    # The daemon has ended with the stream open, and the stream has ended in order: otherwise this raises.
    assert all(one["health"]["healthy"] for one in seen)


def test_the_stream_ends_when_the_token_is_replaced(empty_database: str, compiled: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    given = settings(empty_database, compiled, http={"token_file": str(file)})
    with wiring.open_daemon(given, allow_untrained=True) as daemon:
        old, new = ({"Authorization": f"Bearer {token}"} for token in ("old", "new"))
        with get(daemon, "/events", headers=old, stream=True) as answer:
            seen = snapshots(answer)
            next(seen)
            daemon.reload(given)
            next(seen)  # Nothing has changed for whoever has the token of now.
            file.write_text("new")
            daemon.reload(given)
            # What was on its way may still come, and then it is over, in order.
            assert len(list(seen)) <= 1
        assert get(daemon, "/events", headers=old).status_code == 401
        with get(daemon, "/events", headers=new, stream=True) as answer:
            assert next(snapshots(answer))["health"]["healthy"]


def test_so_many_may_listen_and_no_more(daemon: Daemon) -> None:
    open_ = [get(daemon, "/events", stream=True) for _ in range(MOST_LISTENERS)]
    listening = [snapshots(answer) for answer in open_]
    for seen in listening:
        assert next(seen)["health"]["healthy"]
    refused = get(daemon, "/events", stream=True)
    assert (refused.status_code, refused.json()["reason"]) == (429, "too_busy")
    assert "Retry-After" in refused.headers
    for answer in open_:
        answer.close()
    # A seat is free again when the daemon next writes to one that has left.
    while (again := get(daemon, "/events", stream=True)).status_code == 429:
        again.close()
    assert next(snapshots(again))["health"]["healthy"]
    again.close()
    routes = get(daemon, "/metrics").text
    assert 'vectord_http_requests_total{method="GET",route="/events",status="429"}' in routes
    assert 'vectord_http_requests_total{method="GET",route="/console/{version}/{name:path}",status="200"} 0.0' in routes


def test_a_thumbnail_is_made_once_by_a_loader(daemon: Daemon, web: Web, tables: Tables) -> None:
    tables.insert({1: web.add("/1.jpg", picture(1, (400, 100)))})
    tables.wait(lambda: 1 in tables.vectors(), "the vector")
    answer = get(daemon, "/images/1/thumbnail")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert answer.headers["Cache-Control"] == "no-store"
    with Image.open(BytesIO(answer.content)) as image:
        assert (image.format, image.size) == ("JPEG", (96, 24))
    with ThreadPoolExecutor(4) as threads:
        again = list(threads.map(lambda _: get(daemon, "/images/1/thumbnail").content, range(8)))
    assert set(again) == {answer.content}
    assert web.asked == {"/1.jpg": 2}
    # Another location is another picture.
    tables.execute("UPDATE ecai.tb_image SET url = %s WHERE id = 1", (web.add("/2.jpg", picture(2)),))
    assert get(daemon, "/images/1/thumbnail").content != answer.content


def test_a_thumbnail_is_guarded_like_any_fetch(daemon: Daemon, web: Web, tables: Tables) -> None:
    cases = {
        1: ("http://10.1.2.3/x.jpg", 422, "blocked_address"),
        2: ("/etc/passwd", 422, "blocked_path"),
        3: (web.base + "/gone.jpg", 422, "not_found"),
        4: (web.add("/page", b"<html>secret</html>"), 422, "not_an_image"),
        5: ("", 422, "empty_location"),
        6: (web.add("/cut.jpg", picture(6)[:300]), 422, "truncated"),
    }
    tables.insert({image: url for image, (url, _, _) in cases.items()})
    for image, (url, status, reason) in cases.items():
        answer = get(daemon, f"/images/{image}/thumbnail")
        assert (answer.status_code, answer.json()["reason"]) == (status, reason), url
        assert "secret" not in answer.text
    for unknown in ("404", "x", str(2**80)):
        assert get(daemon, f"/images/{unknown}/thumbnail").status_code == 404
    assert 'vectord_extracts_total{status="failure"} 0.0' in get(daemon, "/metrics").text


def test_a_thumbnail_of_a_picture_in_the_row(empty_database: str, compiled: Path) -> None:
    tables = Tables(empty_database)
    tables.execute("CREATE SCHEMA ecai; CREATE TABLE ecai.tb_image (id bigint PRIMARY KEY, url bytea)")
    with wiring.open_daemon(settings(empty_database, compiled), allow_untrained=True) as daemon:
        tables.execute("INSERT INTO ecai.tb_image VALUES (1, %s)", (picture(1),))
        answer = get(daemon, "/images/1/thumbnail")
        assert answer.status_code == 200, answer.text
        with Image.open(BytesIO(answer.content)) as image:
            assert image.size == (64, 48)


def test_a_vector_as_the_table_has_it(daemon: Daemon, web: Web, tables: Tables) -> None:
    tables.insert({1: web.add("/1.jpg", picture(1)), 2: web.base + "/gone.jpg"})
    tables.wait(lambda: 1 in tables.vectors(), "the vector")
    answer = get(daemon, "/images/1/vector").json()
    assert answer["feature_vector"] == json.loads(tables.vectors()[1])
    assert (answer["image_id"], answer["dimension"], answer["model_version"]) == ("1", 1280, daemon.signature)
    for image in ("2", "404", "x"):
        assert get(daemon, f"/images/{image}/vector").status_code == 404


def test_who_waits_for_another_try_the_next_one_first(daemon: Daemon, web: Web, tables: Tables) -> None:
    tables.insert({n: web.add(f"/{n}.jpg", picture(n)) for n in range(1, 6)})
    tables.wait(lambda: len(tables.vectors()) == 5, "the vectors")
    tables.execute(
        "INSERT INTO vectord.job (image_id, priority, attempts, not_before, reason, last_error, lease_until) VALUES "
        "(1, 1, 2, now() + interval '1 h', 'read_timeout', 'from http://u:hunter2@x/', NULL), "
        "(2, 0, 1, now() + interval '2 h', 'dns_failure', NULL, NULL), "
        "(3, 0, 0, now() + interval '3 h', NULL, NULL, NULL), "
        "(4, 0, 1, now(), 'dns_failure', NULL, now() + interval '1 h')"
    )
    answer = get(daemon, "/waiting")
    found = answer.json()["waiting"]
    assert [(one["image_id"], one["reason"], one["attempts"]) for one in found] == [
        ("1", "read_timeout", 2),
        ("2", "dns_failure", 1),
    ]
    assert "hunter2" not in answer.text
    assert found[0]["location"] == web.base + "/1.jpg"
    assert [one["image_id"] for one in get(daemon, "/waiting?limit=1").json()["waiting"]] == ["1"]


def test_a_demo_that_stays_up_ends_with_a_client_and_the_consoles_address(environment: dict[str, str]) -> None:
    small_model = {"VECTORD_MODEL__ALPHA": "0.35", "VECTORD_MODEL__INPUT_SIZE": "96", "VECTORD_HTTP__PORT": "0"}
    command = [sys.executable, "-m", "daemon", "demo", "--serve", "--count", "6", "--weights", "untrained"]
    with subprocess.Popen(
        command, env=environment | small_model, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            psql = next(line for line in process.stdout if "psql" in line)
            count = [*shlex.split(psql), "-Atc", "SELECT count(*) FROM ecai.tb_image"]
            assert subprocess.run(count, capture_output=True, text=True, check=True, timeout=TIMEOUT).stdout == "6\n"
            insert = next(line for line in process.stdout if "INSERT" in line)
            assert subprocess.run([*shlex.split(psql), "-qc", insert], check=False, timeout=TIMEOUT).returncode == 0
            last = next(line for line in process.stdout if "console:" in line)
            assert "<title>vectord</title>" in requests.get(last.split()[-1], timeout=TIMEOUT).text
            process.send_signal(signal.SIGINT)
            assert process.stdout.read() == ""
            assert process.wait(TIMEOUT) == 0
        finally:
            process.kill()
