"""What is shipped for Prometheus can be read by it, and each alert fires when it should."""

import json
import re
import subprocess
import sys

import pytest
import yaml

from scheduler.core.health import Action
from scheduler.core.xids import XID_RULES
from tests.infra import cases
from tests.infra.programs import INFRA, ROOT, tool

RULES = INFRA / "prometheus/rules"
SEVERITIES = {"critical", "warning"}


def groups(name: str) -> list[dict]:
    return [
        rule
        for group in yaml.safe_load((RULES / f"{name}.yml").read_text())["groups"]
        for rule in group["rules"]
    ]


ALERTS = [rule for name in ("nodes_alerts", "hub_alerts") for rule in groups(name)]
PAIRS = [
    *(("nodes", case) for case in cases.NODES),
    *(("hub", case) for case in cases.HUB),
]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(alert):
    assert alert["labels"]["severity"] in SEVERITIES
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    file, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^### (.+)$", (ROOT / file).read_text(), re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}
    assert anchor == alert["alert"].lower()


def test_every_alert_has_a_case_and_every_case_an_alert():
    assert {case.alert for _, case in PAIRS} == {rule["alert"] for rule in ALERTS}


def test_the_runbook_has_no_alert_that_is_gone():
    headings = re.findall(r"^### (.+)$", (ROOT / "docs/runbooks.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(rule["alert"] for rule in ALERTS)


def test_fatal_xids_are_those_that_drain_a_node():
    (rule,) = [rule for rule in ALERTS if rule["alert"] == "GpuFatalXid"]
    (pattern,) = set(re.findall(r'xid=~"([^"]+)"', rule["expr"]))
    drains = {xid for xid, row in XID_RULES.items() if row.action >= Action.DRAIN}
    assert {xid for xid in range(1000) if re.fullmatch(pattern, str(xid))} == drains


def test_no_recorded_name_is_made_twice():
    names = [rule["record"] for name in ("nodes", "hub") for rule in groups(name)]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"(cluster|node|account):[a-z0-9_]+:[a-z0-9_]+", n) for n in names)


def test_dashboards_are_as_their_generator_writes_them(tmp_path):
    generator = INFRA / "grafana/generate.py"
    subprocess.run([sys.executable, generator, tmp_path], check=True, timeout=60)
    written = {file.name: file.read_text() for file in tmp_path.glob("*.json")}
    shipped = {f.name: f.read_text() for f in (INFRA / "grafana/dashboards").glob("*.json")}
    assert written == shipped


def test_panels_of_a_dashboard_do_not_lie_on_each_other():
    for file in (INFRA / "grafana/dashboards").glob("*.json"):
        taken = set()
        for panel in json.loads(file.read_text())["panels"]:
            at = panel["gridPos"]
            mine = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            assert not mine & taken
            taken |= mine


@pytest.mark.prometheus
@pytest.mark.parametrize("name", ["site", "global"])
def test_prometheus_can_read_its_configuration(name, tmp_path):
    text = (INFRA / "prometheus" / f"{name}.yml").read_text()
    token = tmp_path / "prometheus.token"
    token.write_text("cp_node_x")
    file = tmp_path / f"{name}.yml"
    file.write_text(text)
    (tmp_path / "rules").symlink_to(RULES)
    checked = tool("promtool", "check", "config", file)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.prometheus
def test_promtool_finds_no_fault_in_the_rules():
    checked = tool("promtool", "check", "rules", "--lint-fatal", *sorted(RULES.glob("*.yml")))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.prometheus
def test_alertmanager_can_read_its_configuration():
    checked = tool("amtool", "check-config", INFRA / "alertmanager/alertmanager.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def unit_test(which: str, case: cases.Case, *, fires: bool) -> dict:
    """Return promtool's form of a case: how many alerts of the name fire at that minute."""
    series = case.bad if fires else case.good
    expected = [{"labels": "{}", "value": case.firing}] if fires else []
    fired = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}})'
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": fired, "eval_time": f"{case.at}m", "exp_samples": expected}],
    }
    return {
        "rule_files": [str(RULES / f"{which}.yml"), str(RULES / f"{which}_alerts.yml")],
        "evaluation_interval": "1m",
        "group_eval_order": ["nodes", "clusters", "hub", "accounts", "node-alerts", "hub-alerts"],
        "tests": [test],
    }


@pytest.mark.prometheus
@pytest.mark.parametrize("fires", [True, False], ids=["fires", "keeps quiet"])
@pytest.mark.parametrize(
    ("which", "case"),
    [pytest.param(*pair, id=f"{pair[1].alert} {n}") for n, pair in enumerate(PAIRS)],
)
def test_an_alert_fires_when_it_should_and_only_then(which, case, fires, tmp_path):
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(unit_test(which, case, fires=fires)))
    checked = tool("promtool", "test", "rules", file)
    assert checked.returncode == 0, checked.stdout + checked.stderr
