"""The alert rules, their tests and their runbooks belong together; the dashboard is what its panels say."""

import json
import os
import re
import shutil
import subprocess
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.whole import ROOT
from tools.dashboard.page import page

MONITORING = ROOT / "systemd" / "monitoring"
RULES, TESTS = MONITORING / "vectord.rules.yml", MONITORING / "vectord.rules.test.yml"
DASHBOARD = MONITORING / "vectord-dashboard.json"
ALERTS = re.findall(r"^ +- alert: (\w+)$", RULES.read_text(), re.MULTILINE)
NEEDED = (
    *("VectordDown", "VectordStalled", "VectordBacklogOld", "VectordHighFailureRate", "VectordSweepMissed"),
    *("VectordListenerDisconnected", "VectordLoaderCrashing", "VectordGpuOutOfMemory", "VectordGpuFallbackToCpu"),
    *("VectordDatabaseUnreachable", "VectordHttpErrors", "VectordSuperseded", "VectordNotStarted"),
)
"""Operators ask for these by name."""
MENU_OF_GRAFANA = "Dashboards, New, Import"
WITHOUT_PROMTOOL = shutil.which("promtool") is None and not os.environ.get("CI")
needs_promtool = pytest.mark.skipif(WITHOUT_PROMTOOL, reason="promtool (Debian: prometheus) is missing")


def promtool(*arguments: object) -> str:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_the_rules_are_rules() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", RULES)


@needs_promtool
def test_the_example_of_a_configuration_is_one() -> None:
    assert "rule files found" in promtool("check", "config", MONITORING / "prometheus.yml")


@needs_promtool
def test_each_alert_fires_when_it_should_and_not_before() -> None:
    assert "SUCCESS" in promtool("test", "rules", TESTS)


def test_the_alerts_that_operators_ask_for_are_there() -> None:
    assert set(NEEDED) <= set(ALERTS)
    assert len(set(ALERTS)) == len(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_severity_words_runbook_and_tests(alert: str) -> None:
    rule = re.split(r"^ +- alert: ", RULES.read_text(), flags=re.MULTILINE)[1 + ALERTS.index(alert)]
    assert re.search(r"severity: (critical|warning)$", rule, re.MULTILINE)
    assert re.search(r"summary: .+", rule)
    assert re.search(r"description: .+", rule)
    assert f"runbook_url: docs/operations.md#{alert.lower()}" in rule
    cases = re.findall(rf"- alertname: {alert}\n +eval_time: \w+\n +exp_alerts:( \[\])?", TESTS.read_text())
    assert sorted(cases) == ["", " []"], "one case in which it fires, and one in which it does not"


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_section_in_the_operators_manual(alert: str) -> None:
    assert re.search(rf"^#+ {alert}$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)


def test_the_dashboard_is_up_to_date() -> None:
    command = "python -m tools.dashboard > systemd/monitoring/vectord-dashboard.json"
    assert DASHBOARD.read_text() == page(), f"run: {command}"


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def test_what_the_manual_names_is_on_the_dashboard() -> None:
    """In every language: `test_translations` holds their titles to be the same."""
    text = (ROOT / "docs" / "operations.md").read_text()
    named = {" ".join(title.split()) for title in re.findall(r"\*([A-Z][^*`]*)\*", text)}
    assert "Failures by reason" in named
    assert named - {panel["title"] for panel in dashboard()["panels"]} == {MENU_OF_GRAFANA}


def test_grafanas_types_can_hold_all_of_the_dashboard() -> None:
    """What they do not know would be lost on the way through them."""
    register_default_plugins()
    read = Dashboard.from_json(dashboard())
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == dashboard()


def test_a_dashboard_chooses_source_job_and_instance() -> None:
    variables = {variable["name"]: variable["type"] for variable in dashboard()["templating"]["list"]}
    assert variables == {"datasource": "datasource", "job": "query", "instance": "query"}


def test_every_panel_says_what_it_shows_and_asks_for_it_rightly() -> None:
    for panel in panels():
        assert panel["title"]
        assert panel["description"].endswith((".", "it.", "again."))
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"]
        for target in panel["targets"]:
            assert 'job=~"$job", instance=~"$instance"' in target["expr"]
            assert set(re.findall(r"\[(.*?)\]", target["expr"])) <= {"$__rate_interval"}


def test_panels_have_numbers_of_their_own_and_lie_side_by_side() -> None:
    everything = dashboard()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
