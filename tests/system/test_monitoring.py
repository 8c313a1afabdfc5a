"""A real Prometheus scrapes a daemon under load: every query of the dashboard and of the rules has an answer."""

import json
import os
import re
import shutil
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from daemon import ground, wiring
from daemon.telemetry.declarations import Kind, declared
from daemon.telemetry.gpu import load_library
from tests.pictures import Web, picture, serving
from tests.whole import ROOT, Tables, settings

MONITORING = ROOT / "systemd" / "monitoring"
RULES = MONITORING / "vectord.rules.yml"
RATE_INTERVAL = "30s"
PATIENCE = 90.0
HELD = 9_999_999
LISTENING, READY = "Listening on", "Server is ready to receive web requests."
"""An image whose job another program holds: due, and claimed by nobody."""
SEEN = (
    "vectord_due_jobs > 0",
    "vectord_dead_jobs > 0",
    "vectord_oldest_transaction_timestamp_seconds > 0",
    "vectord_sweep_cycle_end_timestamp_seconds > 0",
    "vectord_listener_heartbeat_timestamp_seconds > 0",
    'rate(vectord_images_total{status="stored"}[30s]) > 0',
    'rate(vectord_images_total{status="dead"}[30s]) > 0',
    'rate(vectord_http_requests_total{route!~"/health|/ready|/metrics"}[30s]) > 0',
)
"""All of it holds once Prometheus has scraped what the queries ask for, twice where they ask for a rate."""
ALERT = """
groups:
  - name: seen
    rules:
      - alert: Seen
        expr: '{condition}'
"""
CONFIGURATION = """
global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["{alertmanager}"]}}]}}]}}
scrape_configs:
  - job_name: vectord
    static_configs: [{{targets: ["{daemon}"]}}]
rule_files: ["{rules}", "{seen}"]
"""

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None and not os.environ.get("CI"), reason="prometheus (Debian's package) is missing"
)


def may_be_empty(query: str) -> bool:
    """Without a GPU there is nothing to show of one."""
    return "vectord_gpu_" in query and load_library() is None


class Prometheus:
    """A running Prometheus, asked over HTTP."""

    def __init__(self, address: str) -> None:
        self._address = address

    def get(self, path: str, **parameters: str) -> Any:
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def values(self, query: str) -> list[str]:
        """Of the series that the query gives just now, those that are numbers."""
        found = self.get("query", query=query)["result"]
        return [series["value"][1] for series in found if series["value"][1] != "NaN"]


@contextmanager
def prometheus(folder: Path, **places: object) -> Iterator[Prometheus]:
    """Prometheus on a port of its own choice, until the block ends."""
    seen, configuration = folder / "seen.yml", folder / "prometheus.yml"
    condition = " and on (instance) ".join(SEEN)
    seen.write_text(ALERT.format(condition=condition))
    configuration.write_text(CONFIGURATION.format(rules=RULES, seen=seen, **places))
    command = [
        "prometheus",
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
        "--log.format=json",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            # What it says from then on is read by nobody: less than a pipe holds.
            yield Prometheus(address_once_ready(process.stderr))
        finally:
            process.terminate()
            process.communicate()


def address_once_ready(lines: Iterable[str]) -> str:
    """It says in either order that it listens and that it is ready."""
    told: dict[str, dict[str, str]] = {}
    for line in lines:
        told[json.loads(line).get("msg", "")] = json.loads(line)
        if told.keys() >= {LISTENING, READY}:
            return told[LISTENING]["address"]
    raise AssertionError("Prometheus ended before it was ready")


@contextmanager
def alertmanager(alert: str) -> Iterator[tuple[str, threading.Event]]:
    """Where Prometheus sends its alerts: an address, and what is set when the one arrives that is waited for."""
    arrived = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            alerts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if any(one["labels"]["alertname"] == alert for one in alerts):
                arrived.set()
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Tests must not print."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", arrived
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def load(web: Web, tables: Tables, address: str) -> Iterator[None]:
    """Images, good and bad, and requests, again and again until the block ends."""
    stopped = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for round_ in count(1):
                if stopped.is_set():
                    return
                one_round(web, tables, address, range(round_ * 100, round_ * 100 + 20))
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
    assert not failed, failed


def one_round(web: Web, tables: Tables, address: str, images: range) -> None:
    """Waits for the vectors. The last image does not exist, and the one before it is no picture."""
    urls = {image: web.add(f"/{image}.jpg", picture(image, (640, 480))) for image in images[:-2]}
    urls |= {images[-2]: web.add(f"/{images[-2]}.txt", b"no picture"), images[-1]: web.base + "/none.jpg"}
    tables.insert(urls)

    def stored() -> bool:
        sql = "SELECT count(*) FROM tb_hsx_img_value WHERE image_id = ANY(%s)"
        return tables.execute(sql, (list(images),)) == [(len(images) - 2,)]

    tables.wait(stored, f"vectors of {images}")
    for path in ("/health", "/docs"):
        urllib.request.urlopen(address + path, timeout=60).close()


@contextmanager
def held(dsn: str) -> Iterator[None]:
    """Holds the job of one image in an open transaction."""
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        cursor.execute("SELECT FROM vectord.job WHERE image_id = %s FOR UPDATE", (HELD,))
        yield


def dashboard_queries() -> list[str]:
    """As Grafana sends them with all jobs and instances chosen."""
    dashboard = json.loads((MONITORING / "vectord-dashboard.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    return [
        query.replace("$job", ".*").replace("$instance", ".*").replace("$__rate_interval", RATE_INTERVAL)
        for query in found
    ]


def selectors_of_rules() -> set[str]:
    """What the rules look at. Their conditions do not hold in a daemon that is well; their series must be there."""
    expressions = re.findall(r"^ +expr: (?:\|\n((?: {10,}.*\n)+)|(.*)\n)", RULES.read_text(), re.MULTILINE)
    text = "\n".join(part for parts in expressions for part in parts)
    return set(re.findall(r"\b(?:vectord_\w+|process_\w+|up)\{.*?\}", text))


HAS_NONE_YET = ('status=~"5.."', 'status="429"')
"""Answers that a daemon that is well has not given: a series of them may come with the first one."""


@needs_prometheus
def test_every_query_has_an_answer(empty_database: str, compiled: Path, tmp_path: Path) -> None:
    given = settings(empty_database, compiled)
    tables = Tables(empty_database)
    ground.migrate(given)
    with ExitStack() as stack:
        web = stack.enter_context(serving())
        tables.insert({HELD: web.add("/held.jpg", picture(0))})
        stack.enter_context(held(empty_database))
        daemon = stack.enter_context(wiring.open_daemon(given, allow_untrained=True))
        manager, seen = stack.enter_context(alertmanager("Seen"))
        stack.enter_context(load(web, tables, daemon.address))
        target = daemon.address.removeprefix("http://")
        server = stack.enter_context(prometheus(tmp_path, alertmanager=manager, daemon=target))
        assert seen.wait(PATIENCE), [one for one in SEEN if not server.values(one)]
        check_dashboard(server)
        check_rules(server)
        check_exposition(daemon.address)


def check_dashboard(server: Prometheus) -> None:
    queries = dashboard_queries()
    assert len(queries) > 60
    assert [query for query in queries if not may_be_empty(query) and not server.values(query)] == []
    assert server.get("label/job/values", **{"match[]": "vectord_healthy"}) == ["vectord"]


def check_rules(server: Prometheus) -> None:
    groups = server.get("rules")["groups"]
    rules = [rule for group in groups if group["name"] == "vectord" for rule in group["rules"]]
    assert len(rules) == RULES.read_text().count("- alert:")
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
    selectors = selectors_of_rules()
    assert len(selectors) > 20
    expected = [one for one in selectors if not any(part in one for part in HAS_NONE_YET)]
    assert [one for one in expected if not server.values(one)] == []


def check_exposition(address: str) -> None:
    """What is exposed is declared and the other way round, and promtool finds nothing to complain about."""
    with urllib.request.urlopen(address + "/metrics", timeout=60) as answer:
        text = answer.read()
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    exposed = set(re.findall(r"^# TYPE (vectord_\w+) ", text.decode(), re.MULTILINE))
    known = {metric.series for metric in declared() if not may_be_empty(metric.family)}
    assert exposed == known
    assert {metric.kind for metric in declared()} == set(Kind)
