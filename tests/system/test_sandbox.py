"""What the units allow: measured from inside, scored and checked by systemd itself."""

import json
import re
from pathlib import Path

import pytest

from tests.system.conftest import Service, install
from tests.system.machine import Machine
from tests.whole import ROOT

HERE = Path(__file__).parent
UNITS = ("vectord.service", "vectord@one.service", "vectord-reprocess.service")
DONE = {
    "write to the state folder",
    "write to a temporary folder",
    "read the DSN that was given",
    "open an internet socket",
}
PROBE = """
[Service]
Type=oneshot
Restart=no
ExecStartPre=
ExecStopPost=
ExecStart=
ExecStart=/opt/vectord/venv/bin/python /opt/probe.py
"""


def exposure(machine: Machine, unit: str) -> float:
    told = machine.run("systemd-analyze", "security", "--no-pager", unit).stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
    assert found, told
    return float(found[1])


def test_the_daemon_can_do_what_it_must_and_nothing_else(service: Service) -> None:
    service.machine.write("/opt/probe.py", (HERE / "probe.py").read_text())
    service.drop_in(PROBE, "vectord@probe.service")
    service.machine.systemctl("start", "vectord@probe.service")
    found = service.machine.journal.wait_for_event("probe", since=service.began)
    acts = {name: came for name, came in found.items() if " " in name and isinstance(came, str) and came.isalpha()}
    assert {name for name, came in acts.items() if came == "done"} == DONE
    assert len(acts) == 24
    assert found["capabilities"].strip("0") == ""
    assert found["no new privileges"] == "1"
    assert found["system calls"] == "2"  # SECCOMP_MODE_FILTER
    assert found["core limit"] == [0, 0]
    assert found["user"] != 0
    assert not {"kmsg", "mem", "sda", "vda", "nvidia0"} & set(found["devices"])


@pytest.mark.parametrize("unit", UNITS)
def test_the_exposure_is_small(machine: Machine, unit: str) -> None:
    assert exposure(machine, unit) <= 2.0


def test_the_units_are_as_systemd_wants_them(machine: Machine) -> None:
    done = machine.run("systemd-analyze", "verify", "--recursive-errors=no", *UNITS)
    assert (done.stdout, done.stderr) == ("", "")


def test_an_instance_is_sandboxed_like_the_one_daemon() -> None:
    """The two units differ in their names' places and nothing else."""
    one, template = ((ROOT / "systemd" / name).read_text() for name in ("vectord.service", "vectord@.service"))
    plain = (
        template.replace("vectord-%i", "vectord").replace("vectord-NAME", "vectord").replace("vectord %i", "vectord")
    )
    differing = set(plain.splitlines()) ^ set(one.splitlines())
    assert {line for line in differing if not line.startswith("#")} == {"EnvironmentFile=-/etc/vectord/%i.environment"}


def test_the_gpus_devices_are_let_in_by_a_drop_in_and_no_others(service: Service) -> None:
    machine = service.machine
    machine.systemctl("daemon-reload")
    drop_in = (machine.root / "opt/vectord/share/vectord/gpu.conf").read_text()
    service.drop_in(drop_in, "vectord@gpu0.service", "gpu")
    done = machine.run("systemd-analyze", "verify", "--recursive-errors=no", "vectord@gpu0.service")
    assert (done.stdout, done.stderr) == ("", "")
    allowed = machine.show("vectord@gpu0.service", "DeviceAllow").splitlines()
    assert {"char-nvidia* rw", "char-kfd rw", "char-drm rw"} <= set(allowed)
    assert machine.show("vectord@gpu0.service", "DevicePolicy") == "closed"
    machine.systemctl("start", "vectord@gpu0.service")
    assert machine.show("vectord@gpu0.service", "ActiveState") == "active"


def test_installing_again_keeps_the_configuration_and_uninstalling_the_data(service: Service) -> None:
    machine = service.machine
    service.start()
    before = (machine.root / "etc/vectord/config.toml").read_text()
    machine.write("/opt/vectord/share/vectord/docs/a-page-of-old.md", "")
    install(machine)
    assert (machine.root / "etc/vectord/config.toml").read_text() == before
    for name, source in (("docs", ROOT / "docs"), ("monitoring", ROOT / "systemd/monitoring")):
        installed = machine.root / "opt/vectord/share/vectord" / name
        assert {file.name for file in installed.iterdir()} == {file.name for file in source.iterdir()}
    for name in ("requirements-optional.txt", "requirements-ray.txt"):
        assert (machine.root / "opt/vectord/share/vectord" / name).read_text() == (ROOT / name).read_text()
    machine.systemctl("restart", "vectord.service")
    machine.run("/source/systemd/uninstall.sh")
    try:
        assert machine.show("vectord.service", "LoadState") == "not-found"
        assert machine.systemctl("is-active", "vectord.service", check=False) == "inactive"
        left = machine.run(
            "find", "/opt/vectord", "/usr/lib/systemd", "/usr/local/bin", "-name", "*vectord*", check=False
        )
        assert left.stdout.strip() == ""
        assert (machine.root / "etc/vectord/config.toml").read_text() == before
        assert (machine.root / "etc/credstore/vectord.database_dsn").is_file()
        assert list((machine.root / "var/lib/vectord/openvino").iterdir())
    finally:
        install(machine)


def test_the_command_works_like_the_service(service: Service) -> None:
    service.start()
    told = service.machine.run("vectord", "status", "--json").stdout
    assert f'"pid":{service.pid}' in told.replace(" ", "")
    assert service.machine.run("vectord", "why", "77", check=False).returncode == 1
    on_a_terminal = service.machine.run("script", "--quiet", "--return", "--command", "vectord status", "/dev/null")
    assert "1 daemon alive" in on_a_terminal.stdout


def findings(service: Service) -> dict[str, dict[str, str]]:
    """What `vectord check` tells, by what it is about."""
    told = json.loads(service.machine.run("vectord", "check", "--json", check=False).stdout)["findings"]
    return {finding["check"]: finding for finding in told}


def test_a_check_stands_where_the_daemon_stands(service: Service) -> None:
    machine = service.machine
    machine.write("/etc/credstore/vectord.http_token", "open sesame\n", 0o600)
    machine.run("install", "-d", "-o", "vectord", "/srv/vectord")
    machine.write("/dev/nvidia0", "")
    service.configure(http={"host": "0.0.0.0", "port": 0}, database={"state_dir": "/srv/vectord"})
    service.drop_in("[Service]\nReadWritePaths=/srv/vectord\n")
    try:
        service.start()
        found = findings(service)
        assert {name: one for name, one in found.items() if one["level"] == "problem"} == {}
        assert found["token"]["says"].endswith("/http_token")
        assert found["open files"]["level"] == "ok"
        assert "free in /srv/vectord" in found["disk"]["says"]
        # As the daemon, it sees no GPU before a drop-in lets one in.
        assert found["engine"]["level"] == "ok"
        service.drop_in("[Service]\nPrivateDevices=no\nReadWritePaths=\nLimitNOFILE=200\n", name="test2")
        found = findings(service)
        assert "/dev/nvidia0" in found["engine"]["says"]
        assert found["disk"]["level"] == "problem"
        assert found["open files"]["says"].startswith("200 ")
    finally:
        machine.remove("/etc/credstore/vectord.http_token")
        machine.remove("/dev/nvidia0")


def test_a_command_leaves_the_state_to_the_daemons_user(service: Service) -> None:
    service.start()
    service.machine.run("vectord", "status", "--json")
    assert service.machine.run("stat", "--format=%a %U", "/var/lib/vectord").stdout == "750 vectord\n"
