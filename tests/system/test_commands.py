"""`vectord …` as an operator types it: whose configuration, credentials and environment it has."""

import json

from tests.postgres import Server
from tests.proxy import Proxy
from tests.system.conftest import UNIT, Service
from tests.whole import Tables


def test_without_a_dsn_the_embedded_postgresql_serves_daemon_and_commands(service: Service) -> None:
    machine = service.machine
    machine.remove("/etc/credstore/vectord.database_dsn")
    service.start()
    machine.systemctl("start", "vectord-reprocess.service")
    assert json.loads(machine.run("vectord", "status", "--json").stdout)["signature"].endswith(":g1")
    machine.systemctl("stop", UNIT)
    # It ends in order, with the daemon: nothing was left to be killed.
    assert not [entry for entry in machine.journal.entries(service.began) if "SIGKILL" in str(entry.get("MESSAGE"))]
    machine.remove("/var/lib/vectord/postgres")


def test_commands_speak_for_the_instance_that_is_named(service: Service, server: Server) -> None:
    machine, made = service.machine, "SELECT to_regnamespace('vectord') IS NOT NULL"
    with server.database() as dsn, Proxy(dsn) as proxy:
        machine.write("/etc/credstore/vectord-other.database_dsn", proxy.dsn, 0o600)
        own = "LoadCredential=database_dsn:vectord-other.database_dsn"
        service.drop_in(f"[Service]\n{own}\n", "vectord@other.service")
        machine.run("vectord", "@other", "init")
        assert Tables(dsn).execute(made) == [(True,)]
    assert service.tables.execute(made) == [(False,)]
    assert machine.run("ls", "/var/lib/vectord-other").returncode == 0


def test_commands_find_the_environment_that_the_daemon_would(service: Service) -> None:
    machine = service.machine
    machine.write("/etc/vectord/other.environment", "VECTORD_QUEUE__POLL_SECONDS=soon\n")
    service.drop_in("[Service]\nEnvironment=VECTORD_QUEUE__MAX_ATTEMPTS=some\n", "vectord@other.service")
    done = machine.run("vectord", "@other", "status", check=False)
    assert done.returncode == 2
    assert "queue.poll_seconds" in done.stderr
    assert "queue.max_attempts" in done.stderr
    machine.remove("/etc/vectord/other.environment")


def test_commands_for_an_instance_that_is_not_there_say_so(service: Service) -> None:
    done = service.machine.run("vectord", "@othre", "status", check=False)
    assert done.returncode == 2
    assert "there is no vectord@othre: it has neither /etc/vectord/othre.environment nor a drop-in" in done.stderr


def test_a_picture_is_one_of_the_folder_that_the_command_is_typed_in(service: Service) -> None:
    machine = service.machine
    machine.run("vectord", "init")
    machine.write("/srv/some folder/cat.jpg", "no picture")
    done = machine.run("sh", "-c", "cd '/srv/some folder' && vectord similar cat.jpg", check=False)
    assert "not_an_image" in done.stderr
    done = machine.run("sh", "-c", "cd '/srv/some folder' && vectord similar dog.jpg", check=False)
    assert "as a file: No such file or directory" in done.stderr
