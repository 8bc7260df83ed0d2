"""Dashboard and alerts ask for metrics that exist; where Prometheus is installed, its own checks pass too."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.progress.prometheus import METRICS, STATUSES
from tests.conftest import ROOT

MONITORING = ROOT / "infra" / "monitoring"
# What Ray itself exports and the dashboard uses; a test on a real cluster holds these against a scrape.
RAYS_OWN = {"ray_node_cpu_utilization", "ray_node_mem_used", "ray_node_mem_total", "ray_object_store_memory"}
needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="Prometheus's promtool is not installed")


def dashboard() -> dict[str, Any]:
    return json.loads((MONITORING / "grafana-dashboard.json").read_text())


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    """Every query of the dashboard and the alerts."""
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]] + [
        rule["expr"] for rule in rules()
    ]


def metric_names(expression: str) -> set[str]:
    return set(re.findall(r"\bray_\w+", expression))


@pytest.mark.parametrize("expression", expressions())
def test_queries_name_only_metrics_that_exist(expression: str) -> None:
    assert metric_names(expression) or re.search(r"\bup\{", expression)  # Prometheus's own, of every target
    assert metric_names(expression) <= {f"ray_{metric.name}" for metric in METRICS} | RAYS_OWN
    for name, labels in re.findall(r"\bray_(siammask_\w+)\{([^}]*)\}", expression):
        (metric,) = (metric for metric in METRICS if metric.name == name)
        assert {part.split("=")[0].strip(" ~") for part in labels.split(",")} <= set(metric.tags)
    assert set(re.findall(r'status="(\w+)"', expression)) <= set(STATUSES)
    assert set(re.findall(r'of="(\w+)"', expression)) <= {"clip", "actor"}


def test_every_metric_is_shown_or_watched() -> None:
    asked = {name for expression in expressions() for name in metric_names(expression)}
    assert {f"ray_{metric.name}" for metric in METRICS} - asked <= {"ray_siammask_run_actors"}


def test_counters_are_asked_for_their_rate() -> None:
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            for name in re.findall(r"ray_siammask_\w+_total", target["expr"]):
                rated = re.search(rf"(rate|increase)\({name}", target["expr"])
                assert rated or panel["type"] in ("gauge", "stat"), f"{panel['title']}: {target['expr']}"


def test_panels_fit_the_grid_and_have_a_source() -> None:
    seen: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & seen, panel["title"]
        seen |= cells
        assert panel["datasource"]["uid"] == "${datasource}" and panel["title"]
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])
    assert {one["name"] for one in dashboard()["templating"]["list"]} == {"datasource", "run"}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_leads_to_the_run_book(rule: dict[str, Any]) -> None:
    document, anchor = rule["annotations"]["runbook"].split("#")
    titles = re.findall(r"^#+ (.+)$", (ROOT / document).read_text(), re.MULTILINE)
    assert anchor in {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


@needs_promtool
def test_promtool_takes_the_files() -> None:
    subprocess.run(["promtool", "check", "config", str(MONITORING / "prometheus.yml")], check=True, timeout=60)


@needs_promtool
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sum by (run)", "sum bye (run)"),
        ("for: 15m", "for: quarter"),
        ("expr:", "exp:"),
        ("[10m]", "[10x]"),
        ("$labels.run", "$labels.run }}{{ end"),
    ],
)
def test_promtool_refuses_a_mistake(tmp_path: Path, old: str, new: str) -> None:
    text = (MONITORING / "alerts.yaml").read_text()
    assert old in text
    path = tmp_path / "alerts.yaml"
    path.write_text(text.replace(old, new, 1))
    done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, timeout=60)
    assert done.returncode != 0
