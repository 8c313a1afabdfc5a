"""The daemon as systemd runs it: up, down, again, otherwise configured, and what becomes of it when it is hurt."""

import json
import re
import signal
import time
import urllib.error
import urllib.request
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

from tests.pictures import Web, picture
from tests.servers import Answer, Request, serve
from tests.system.conftest import UNIT, Service
from tests.system.machine import Entry

HERE = Path(__file__).parent
START_SECONDS = 15
"""Enough for a busy machine to come as far as PostgreSQL."""


def pictures(web: Web, number: int) -> dict[int, str]:
    return {n: web.add(f"/{n}.jpg", picture(n)) for n in range(1, number + 1)}


def never(asked: Event) -> Answer:
    """An answer that does not come."""

    def wait(request: Request) -> None:
        asked.set()
        request.stop.wait(60)

    return wait


def by_systemd(text: str) -> Any:
    """An entry of systemd's own about the unit, with this text in it."""

    def matches(entry: Entry) -> bool:
        return entry.get("UNIT") == UNIT and text in str(entry.get("MESSAGE"))

    return matches


def seconds_between(event: dict[str, Any], later: dict[str, Any]) -> float:
    moments = [datetime.fromisoformat(told["timestamp"]) for told in (event, later)]
    return (moments[1] - moments[0]).total_seconds()


def test_it_is_ready_when_it_works_and_its_journal_is_json(service: Service, web: Web) -> None:
    service.start()
    service.tables.insert(pictures(web, 3) | {4: web.base + "/none.jpg"})
    service.tables.wait(lambda: len(service.tables.vectors()) == 3, "three vectors")
    service.tables.wait(lambda: service.tables.jobs() == {4: ("dead", "not_found", 1)}, "a dead job")
    service.machine.journal.wait_for_event("image.settled", since=service.began)
    service.machine.systemctl("stop", UNIT)
    entries = service.machine.journal.entries(service.began, _SYSTEMD_UNIT=UNIT)
    lines = [json.loads(entry["MESSAGE"]) for entry in entries if entry["SYSLOG_IDENTIFIER"] == "python"]
    assert [line["event"] for line in lines if line["event"].startswith("daemon.")] == [
        *("daemon.ready", "daemon.stopping", "daemon.stopped")
    ]
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)


def test_a_stop_under_load_leaves_nothing_leased(service: Service, web: Web) -> None:
    service.start()
    service.tables.insert(pictures(web, 150))
    service.tables.wait(lambda: len(service.tables.vectors()) > 0, "a vector")
    began = time.monotonic()
    service.machine.systemctl("stop", UNIT)
    assert time.monotonic() - began < 75  # TimeoutStopSec
    assert service.machine.show(UNIT, "Result") == "success"
    assert service.leftovers() == []
    assert len(service.tables.vectors()) + len(service.tables.jobs()) == 150


def test_a_second_sigterm_gives_everything_back_at_once(service: Service) -> None:
    service.configure(fetch={"allow_networks": ["127.0.0.0/8"], "allow_ports": [0], "read_timeout": 60.0})
    service.start()
    asked = Event()
    with serve({"*": never(asked)}) as slow:
        service.tables.insert({n: f"{slow.url}/{n}.jpg" for n in range(1, 5)})
        assert asked.wait(60)
        service.machine.systemctl("stop", "--no-block", UNIT)
        service.machine.journal.wait_for_event("daemon.stopping", since=service.began)
        service.kill(signal.SIGTERM)
        service.machine.journal.wait_for_event("daemon.hurried", since=service.began)
        began = time.monotonic()
        service.machine.systemctl("stop", UNIT)
        # Not hurried, it would wait for the fetches, half of 30 s.
        assert time.monotonic() - began < 10
    assert service.machine.show(UNIT, "Result") == "success"
    assert service.leftovers() == []
    assert len(service.tables.jobs()) == 4


def test_a_reload_changes_what_can_change_and_refuses_the_rest(service: Service, web: Web) -> None:
    pid, journal = service.start(), service.machine.journal
    service.configure(log={"level": "debug"}, queue={"poll_seconds": 0.25}, loader={"processes": 1, "threads": 2})
    service.machine.systemctl("reload", UNIT)
    done = journal.wait_for_event("reload.done", since=service.began)
    assert done["changed"] == ["log.level", "queue.poll_seconds"]
    assert journal.wait_for_event("reload.needs_restart", since=service.began)["keys"] == ["loader.threads"]
    service.tables.insert(pictures(web, 1))
    # A line of this level was not written before.
    journal.wait_for_event("image.loaded", since=service.began)
    mark = journal.mark()
    service.machine.write("/etc/vectord/config.toml", "[queue]\npoll_seconds = -1\n[log]\nlevel = 'error'\n")
    service.machine.systemctl("reload", UNIT)
    assert "queue.poll_seconds" in journal.wait_for_event("reload.refused", since=mark)["error"]
    service.tables.insert({2: web.add("/2.jpg", picture(2))})
    journal.wait_for_event("image.loaded", since=mark)
    assert service.pid == pid
    assert service.machine.show(UNIT, "ActiveState") == "active"


def test_only_an_operators_restart_begins_a_reprocess(service: Service, web: Web) -> None:
    service.configure(reprocess={"on_start": "always"})
    service.drop_in("[Service]\nWatchdogSec=3\n")
    service.start()
    assert service.generations == 0
    service.machine.systemctl("restart", UNIT)
    assert service.generations == 1
    service.tables.insert(pictures(web, 3))
    service.tables.wait(lambda: len(service.tables.vectors()) == 3, "three vectors")
    # While one runs, no other would be begun in any case.
    service.tables.execute(
        "CREATE TRIGGER told AFTER UPDATE ON vectord.reprocess EXECUTE FUNCTION public.vectord_test_tell()"
    )
    running = "SELECT count(*) FROM vectord.reprocess WHERE ended_at IS NULL"
    service.tables.wait(lambda: service.tables.execute(running) == [(0,)], "the end of the reprocess")

    mark = service.machine.journal.mark()
    service.kill(signal.SIGKILL)
    service.wait_for_restart(mark)
    assert (service.generations, service.machine.show(UNIT, "NRestarts")) == (1, "1")

    mark = service.machine.journal.mark()
    service.kill(signal.SIGSTOP)
    service.machine.journal.wait(by_systemd("Watchdog timeout"), "the watchdog", since=mark)
    service.wait_for_restart(mark)
    assert (service.generations, service.machine.show(UNIT, "NRestarts")) == (1, "2")

    # Another boot, as far as the daemon can see: the machine stopped it in order, and started it again.
    service.machine.systemctl("stop", UNIT)
    service.machine.write("/etc/vectord-test-boot-id", f"{uuid4()}\n")
    place = "/etc/vectord-test-boot-id:/proc/sys/kernel/random/boot_id"
    service.drop_in(f"[Service]\nBindReadOnlyPaths={place}\n", name="boot")
    service.start()
    assert service.generations == 1
    service.machine.systemctl("restart", UNIT)
    assert service.generations == 2


def test_a_hung_stage_is_ended_by_the_watchdog_and_its_image_done_afterwards(service: Service, web: Web) -> None:
    service.machine.write("/opt/hanging.py", (HERE / "hanging.py").read_text())
    service.drop_in(
        "[Service]\nWatchdogSec=3\nExecStart=\n"
        "ExecStart=/opt/vectord/venv/bin/python /opt/hanging.py run --config /etc/vectord/config.toml\n"
    )
    service.start()
    service.machine.run("install", "-o", "vectord", "/dev/null", "/var/lib/vectord/hang")
    service.tables.insert(pictures(web, 1))
    journal = service.machine.journal
    assert "stalled" in journal.wait_for_event("watchdog.starved", since=service.began)["status"]
    journal.wait(by_systemd("Watchdog timeout"), "the watchdog", since=service.began)
    journal.wait(lambda entry: "embed_or_hang" in str(entry.get("MESSAGE")), "where it hung", since=service.began)
    service.tables.wait(lambda: len(service.tables.vectors()) == 1, "the vector, by the daemon's next run")
    assert service.machine.show(UNIT, "NRestarts") == "1"


def test_a_wrong_configuration_is_told_and_not_tried_again(service: Service) -> None:
    service.configure(model={"alpha": 7}, queue={"leese_seconds": 1})
    assert "failed" in service.machine.run("systemctl", "start", UNIT, check=False).stderr
    assert service.machine.show(UNIT, "ActiveState") == "failed"
    assert service.machine.show(UNIT, "ExecMainStatus") == "2"
    assert service.machine.show(UNIT, "NRestarts") == "0"
    shown = service.machine.run("systemctl", "status", "--no-pager", "--full", UNIT, check=False).stdout
    told = service.machine.journal.wait_for_event("daemon.not_started", since=service.began)["error"]
    for where in (shown, told):
        assert "model.alpha" in where
        assert "queue.leese_seconds: no such key" in " ".join(where.split())


def test_pauses_between_restarts_grow_and_an_operator_need_not_wait(service: Service) -> None:
    service.configure(model={"weights": "/nowhere/weights.h5", "alpha": 0.35, "input_size": 96})
    service.machine.run("systemctl", "start", UNIT, check=False)
    journal = service.machine.journal
    journal.wait(
        # One that a slow machine has spent in starting is not told of.
        lambda entry: (
            '"restart.paused"' in str(entry.get("MESSAGE")) and re.search(r'"failures": ([4-9]|\d\d)', entry["MESSAGE"])
        ),
        "a pause after the fourth failure, or a later one",
        since=service.began,
    )
    events = journal.events(service.began)
    after = {
        event["failures"]: seconds_between(failure, event) + event["seconds"]
        for failure, event in pairwise(events)
        if event["event"] == "restart.paused"
    }
    # From the failed run's last word to the next start: a slow machine's time in between is part of it, or all of it.
    assert all(seconds > 2.0 ** (failures - 2) - 0.1 for failures, seconds in after.items()), after
    service.configure()
    mark = journal.mark()
    service.machine.systemctl("restart", UNIT)
    assert service.machine.show(UNIT, "ActiveState") == "active"
    assert "restart.paused" not in {event["event"] for event in journal.events(mark)}


def test_the_start_waits_for_postgresql_as_long_as_it_takes(service: Service) -> None:
    service.drop_in(f"[Service]\nTimeoutStartSec={START_SECONDS}\n")
    service.proxy.hole()
    service.machine.systemctl("start", "--no-block", UNIT)
    over = time.time() + START_SECONDS + 1
    service.machine.journal.wait(
        lambda entry: (
            "database.unavailable" in str(entry.get("MESSAGE")) and float(entry["__REALTIME_TIMESTAMP"]) / 1e6 > over
        ),
        "a try after the time for a start",
        since=service.began,
    )
    assert service.machine.show(UNIT, "ActiveState") == "activating"
    assert "waiting for PostgreSQL" in service.machine.show(UNIT, "StatusText")
    service.proxy.mend()
    service.machine.systemctl("start", UNIT)
    assert service.machine.show(UNIT, "NRestarts") == "0"


def test_secrets_come_as_credentials_and_stay_out_of_sight(service: Service) -> None:
    service.machine.write("/etc/credstore/vectord.http_token", "open sesame\n", 0o600)
    try:
        pid = service.start()
    finally:
        service.machine.remove("/etc/credstore/vectord.http_token")
    address = service.machine.journal.wait_for_event("daemon.ready", since=service.began)["address"]
    assert ask(f"{address}/docs", None) == 401
    assert ask(f"{address}/docs", "open sesame") == 200
    assert ask(f"{address}/health", None) == 200
    secrets = str(service.proxy.port)
    for file in ("environ", "cmdline"):
        assert secrets not in service.machine.run("cat", f"/proc/{pid}/{file}").stdout
    other = service.machine.run("setpriv", "--reuid=65534", "ls", f"/run/credentials/{UNIT}", check=False)
    assert other.returncode != 0


def ask(url: str, token: str | None) -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_reprocess_unit_has_a_running_daemon_make_everything_anew(service: Service, web: Web) -> None:
    service.start()
    service.tables.insert(pictures(web, 3))
    service.tables.wait(lambda: len(service.tables.vectors()) == 3, "three vectors")
    service.machine.systemctl("start", "vectord-reprocess.service")
    assert service.machine.show("vectord-reprocess.service", "Result") == "success"
    versions = "SELECT DISTINCT split_part(model_version, ':', 4) FROM tb_hsx_img_value"
    service.tables.wait(lambda: service.tables.execute(versions) == [("g1",)], "vectors of the next generation")
    assert service.generations == 1
