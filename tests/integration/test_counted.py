"""The metrics of a whole daemon beside what the tables say: every end of an image counts as what it was."""

from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from daemon import ground, wiring
from daemon.config import Settings
from daemon.wiring import Daemon
from tests.pictures import Web, picture
from tests.whole import Tables, settings

TIMEOUT = 60


@pytest.fixture
def given(empty_database: str, compiled: Path) -> Settings:
    return settings(empty_database, compiled)


def read(daemon: Daemon, name: str, **labels: str) -> float:
    """One series as Prometheus would see it."""
    text = requests.get(daemon.address + "/metrics", timeout=TIMEOUT).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


def test_a_vector_that_the_table_refuses_counts_as_a_death(given: Settings, web: Web, tables: Tables) -> None:
    ground.migrate(given)
    tables.execute("ALTER TABLE tb_hsx_img_value ADD CONSTRAINT not_two CHECK (image_id NOT IN (2, 3))")
    tables.insert({n: web.add(f"/{n}.jpg", picture(n)) for n in (1, 2)})
    with wiring.open_daemon(given.changed({"sweep": {"interval_seconds": 3600.0}}), allow_untrained=True) as daemon:
        tables.wait(lambda: 1 in tables.vectors() and tables.jobs().get(2, ("",))[0] == "dead", "one of each")
        # The caller has this one to himself: it would die twice if the queue had been quicker.
        tables.execute("ALTER TABLE ecai.tb_image DISABLE TRIGGER USER")
        tables.insert({3: web.add("/3.jpg", picture(3))})
        answer = requests.post(daemon.address + "/process/image", json={"image_id": 3}, timeout=TIMEOUT).json()
        assert (answer["success"], answer["reason"]) == (False, "vector_refused")
        assert tables.jobs() == {2: ("dead", "vector_refused", 1), 3: ("dead", "vector_refused", 1)}
        assert read(daemon, "vectord_images_total", status="stored") == 1
        assert read(daemon, "vectord_images_total", status="dead") == 2
        assert read(daemon, "vectord_failures_total", stage="store", reason="vector_refused") == 2
        assert read(daemon, "vectord_overtaken_total") == 0


def test_an_image_that_outlived_its_daemons_counts_as_a_death(given: Settings, web: Web, tables: Tables) -> None:
    ground.migrate(given)
    tables.insert({1: web.add("/1.jpg", picture(1))})
    tables.execute(
        "UPDATE vectord.job SET attempts = %s, lease_token = gen_random_uuid(), lease_until = now(), worker = 'lost'",
        (2 * given.queue.max_attempts,),
    )
    with wiring.open_daemon(given, allow_untrained=True) as daemon:
        tables.wait(lambda: tables.jobs()[1][:2] == ("dead", "daemon_lost"), "a death")
        # It is told when its transaction is over, which is when the tables say it; the next claim comes after both.
        tables.insert({2: web.add("/2.jpg", picture(2))})
        tables.wait(lambda: 2 in tables.vectors(), "the vector of the next one")
        assert read(daemon, "vectord_images_total", status="dead") == 1
        assert read(daemon, "vectord_failures_total", stage="claim", reason="daemon_lost") == 1


def test_a_reload_shows_in_the_interval_that_alerts_go_by(given: Settings) -> None:
    with wiring.open_daemon(given, allow_untrained=True) as daemon:
        assert read(daemon, "vectord_sweep_interval_seconds") == 1
        daemon.reload(given.changed({"sweep": {"interval_seconds": 77.0}}))
        assert read(daemon, "vectord_sweep_interval_seconds") == 77
