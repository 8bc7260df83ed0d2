"""Each alert rule under Prometheus's own judge: it fires where it should and only there, as series come and go."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.infra.test_monitoring import MONITORING, rules

pytestmark = pytest.mark.skipif(not shutil.which("promtool"), reason="Prometheus's promtool is not installed")

STOPS = "stale"  # a series that was lost: its target is gone, or the process that it belonged to


class Case(NamedTuple):
    """A value a minute of each series, by name and labels without `ray_siammask_` and `run`; what is said, and when."""

    alert: str
    series: dict[str, str]
    minute: int
    summary: str | None


ALERTS = [rule["alert"] for rule in rules()]
GPU = 'device="gpu 0"'
RUN_IS_UP = {"run_clips": "100+0x200"}
CASES = {
    # No GPU node came: there is no actor, so that nothing was ever counted.
    "no frame ever": Case("NoProgress", RUN_IS_UP, 16, "run r tracks no frames"),
    "too early to say": Case("NoProgress", RUN_IS_UP, 14, None),
    "frames": Case("NoProgress", RUN_IS_UP | {"frames_total": "0+600x200"}, 60, None),
    "frames no more": Case(
        "NoProgress", RUN_IS_UP | {"frames_total": "0+600x30 18000+0x170"}, 57, "run r tracks no frames"
    ),
    "all nodes are lost": Case(
        "NoProgress", RUN_IS_UP | {"frames_total": f"0+600x30 {STOPS}"}, 57, "run r tracks no frames"
    ),
    "one node of two is lost": Case(
        "NoProgress",
        RUN_IS_UP | {'frames_total{WorkerId="a"}': f"0+600x30 {STOPS}", 'frames_total{WorkerId="b"}': "0+600x200"},
        90,
        None,
    ),
    "scrapes with gaps": Case(
        "NoProgress", {"run_clips": "100 stale _ 100 stale 100+0x30"}, 16, "run r tracks no frames"
    ),
    "the run has ended": Case(
        "NoProgress", {"run_clips": f"100+0x30 {STOPS}", "frames_total": "0+600x30 18000+0x170"}, 90, None
    ),
    "nothing was to be done": Case("NoProgress", {"run_clips": "0+0x200"}, 90, None),
    "a third fails": Case(
        "ClipsFail",
        {'clips_total{status="ok"}': "0+2x200", 'clips_total{status="failed"}': "0+1x200"},
        90,
        "33.33% of the clips of run r fail",
    ),
    "a tenth fails": Case(
        "ClipsFail", {'clips_total{status="ok"}': "0+9x200", 'clips_total{status="failed"}': "0+1x200"}, 90, None
    ),
    "none fails": Case("ClipsFail", {'clips_total{status="ok"}': "0+9x200"}, 90, None),
    # An actor's counter begins at its first failure: its rate is 0.
    "each actor's first clip fails": Case(
        "ClipsFail",
        {f'clips_total{{status="failed",WorkerId="{name}"}}': "_x20 1+0x200" for name in "abc"}
        | {'clips_total{status="ok"}': "_x20 4+0x200"},
        30,
        "42.86% of the clips of run r fail",
    ),
    "all failures are old": Case(
        "ClipsFail", {'clips_total{status="failed"}': "90+0x200", 'clips_total{status="ok"}': "0+1x200"}, 90, None
    ),
    "those that failed are lost": Case(
        "ClipsFail",
        {'clips_total{status="failed"}': f"0+9x30 {STOPS}", 'clips_total{status="ok"}': "0+1x200"},
        120,
        None,
    ),
    "idle engines": Case(
        "EnginesStarve",
        {"engine_idle_seconds_total": "0+45x200", "engine_busy_seconds_total": "0+15x200"},
        60,
        "the engines of run r are idle 75% of the time",
    ),
    "engines that never had work": Case(
        "EnginesStarve",
        {"engine_idle_seconds_total": "0+60x200"},
        60,
        "the engines of run r are idle 100% of the time",
    ),
    "busy engines": Case(
        "EnginesStarve", {"engine_idle_seconds_total": "0+15x200", "engine_busy_seconds_total": "0+45x200"}, 60, None
    ),
    "engines that never wait": Case("EnginesStarve", {"engine_busy_seconds_total": "0+60x200"}, 60, None),
    "engines that are gone": Case("EnginesStarve", {"engine_idle_seconds_total": f"0+60x20 {STOPS}"}, 60, None),
    "no commit ever": Case(
        "NothingCommitted", {"frames_total": "0+600x200"}, 60, "run r tracks frames but commits nothing"
    ),
    "commits no more": Case(
        "NothingCommitted",
        {"frames_total": "0+600x200", "commits_total": "0+1x30 30+0x170"},
        90,
        "run r tracks frames but commits nothing",
    ),
    "who committed is lost": Case(
        "NothingCommitted",
        {"frames_total": "0+600x200", "commits_total": f"0+1x30 {STOPS}"},
        90,
        "run r tracks frames but commits nothing",
    ),
    "commits": Case("NothingCommitted", {"frames_total": "0+600x200", "commits_total": "0+1x200"}, 90, None),
    "each actor commits for the first time": Case(
        "NothingCommitted",
        {"frames_total": "0+600x200", 'commits_total{WorkerId="a"}': "_x20 1+0x200"}
        | {'commits_total{WorkerId="b"}': "_x45 1+0x200", 'commits_total{WorkerId="c"}': "_x70 1+0x200"},
        75,
        None,
    ),
    "neither frames nor commits": Case("NothingCommitted", {"frames_total": "600+0x200"}, 90, None),
    "twelve actors": Case(
        "ActorsRestart",
        {f'retries_total{{of="actor",WorkerId="{number}"}}': "_x60 1+0x200" for number in range(12)},
        80,
        "12 actors of run r were started again within an hour",
    ),
    "three actors": Case(
        "ActorsRestart",
        {f'retries_total{{of="actor",WorkerId="{number}"}}': "_x60 1+0x200" for number in range(3)},
        80,
        None,
    ),
    "twelve actors on nodes that are lost": Case(
        "ActorsRestart",
        {f'retries_total{{of="actor",WorkerId="{number}"}}': f"_x60 1+0x5 {STOPS}" for number in range(12)},
        80,
        "12 actors of run r were started again within an hour",
    ),
    "twelve actors long ago": Case(
        "ActorsRestart",
        {f'retries_total{{of="actor",WorkerId="{number}"}}': "_x10 1+0x300" for number in range(12)},
        150,
        None,
    ),
    "twelve clips": Case(
        "ActorsRestart",
        {f'retries_total{{of="clip",WorkerId="{number}"}}': "_x60 1+0x200" for number in range(12)},
        80,
        None,
    ),
    "a node that does not answer": Case(
        "MetricsLost",
        {'up{job="ray",instance="a:8080"}': "1+0x20 0+0x60", 'up{job="ray",instance="b:8080"}': "1+0x80"},
        40,
        "the metrics of a:8080 cannot be read: the other alerts do not see it",
    ),
    "no node at all": Case(
        "MetricsLost",
        {'up{job="ray",instance="a:8080"}': f"1+0x20 {STOPS}"},
        40,
        "the metrics of all nodes cannot be read: the other alerts do not see it",
    ),
    "a node that went": Case(
        "MetricsLost",
        {'up{job="ray",instance="a:8080"}': f"1+0x20 {STOPS}", 'up{job="ray",instance="b:8080"}': "1+0x80"},
        40,
        None,
    ),
    "a device lost three times": Case(
        "DeviceLost",
        {f"device_losses_total{{{GPU}}}": "_x20 1+0x5 2+0x5 3+0x60"},
        60,
        "gpu 0 was lost 3 times in run r",
    ),
    "a device lost twice": Case("DeviceLost", {f"device_losses_total{{{GPU}}}": "_x20 1+0x5 2+0x60"}, 60, None),
    "three devices, each lost once": Case(
        "DeviceLost", {f'device_losses_total{{device="gpu {number}"}}': "_x20 1+0x60" for number in range(3)}, 60, None
    ),
    "a device lost three times in a run that is gone": Case(
        "DeviceLost", {f"device_losses_total{{{GPU}}}": f"_x20 3+0x5 {STOPS}"}, 60, "gpu 0 was lost 3 times in run r"
    ),
    "a device given up": Case(
        "DeviceGivenUp", {"devices_given_up": "0+0x30 1+0x60"}, 60, "run r uses 1 devices no more"
    ),
    "no device given up": Case("DeviceGivenUp", {"devices_given_up": "0+0x90"}, 60, None),
    "a device given up in a run that has ended": Case(
        "DeviceGivenUp", {"devices_given_up": f"1+0x20 {STOPS}"}, 60, None
    ),
}


def judged(cases: dict[str, Case], alerts: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What `promtool test rules` says of rules."""
    (folder / "alerts.yaml").write_text(alerts)
    tests = [document(name, case) for name, case in cases.items()]
    (folder / "cases.yaml").write_text(
        yaml.safe_dump({"rule_files": ["alerts.yaml"], "evaluation_interval": "1m", "tests": tests})
    )
    command = ["promtool", "test", "rules", str(folder / "cases.yaml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def document(name: str, case: Case) -> dict[str, Any]:
    """A case as promtool reads it."""
    (rule,) = (rule for rule in rules() if rule["alert"] == f"SiamMask{case.alert}")
    fired = []
    if case.summary:
        fired = [
            {
                "exp_labels": rule["labels"] | labels_of(case),
                "exp_annotations": rule["annotations"] | {"summary": case.summary},
            }
        ]
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": full(series), "values": values} for series, values in case.series.items()],
        "alert_rule_test": [{"eval_time": f"{case.minute}m", "alertname": rule["alert"], "exp_alerts": fired}],
    }


def labels_of(case: Case) -> dict[str, str]:
    """The labels by which an alert that fires is known."""
    if case.alert == "DeviceLost":
        return {"run": "r", "device": "gpu 0"}
    if case.alert != "MetricsLost":
        return {"run": "r"}
    return {"job": "ray"} | ({"instance": "a:8080"} if "a:8080" in str(case.summary) else {})


def full(series: str) -> str:
    """A series by the name and labels that it is exported with."""
    name, _, labels = series.partition("{")
    return series if name == "up" else f'ray_siammask_{name}{{run="r",{labels or "}"}'


def cases_of(alert: str) -> dict[str, Case]:
    return {name: case for name, case in CASES.items() if f"SiamMask{case.alert}" == alert}


@pytest.mark.parametrize("alert", ALERTS)
def test_alerts_fire_where_they_should_and_only_there(tmp_path: Path, alert: str) -> None:
    said = judged(cases_of(alert), (MONITORING / "alerts.yaml").read_text(), tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_cases_of_both_kinds_and_of_lost_series(alert: str) -> None:
    cases = cases_of(alert).values()
    assert {case.summary is None for case in cases} == {True, False}
    assert any(STOPS in values for case in cases for values in case.series.values())


RATE = "sum by (run) (rate(ray_siammask_{}[30m])) > 0"
WEAKER = {
    "a rate of 0 in place of no rate": (
        "NoProgress",
        "sum by (run) (rate(ray_siammask_frames_total[10m])) == 0"
        " and on (run) max by (run) (ray_siammask_run_clips) > 0",
    ),
    "a gap ends it": (
        "NoProgress",
        "max by (run) (ray_siammask_run_clips) > 0"
        " unless on (run) sum by (run) (rate(ray_siammask_frames_total[10m])) > 0",
    ),
    "increase misses what a counter begins with": (
        "ClipsFail",
        'sum by (run) (increase(ray_siammask_clips_total{status="failed"}[30m]))'
        " / sum by (run) (increase(ray_siammask_clips_total[30m])) > 0.2",
    ),
    "engines that were never busy": (
        "EnginesStarve",
        "sum by (run) (rate(ray_siammask_engine_idle_seconds_total[15m]))"
        " / (sum by (run) (rate(ray_siammask_engine_idle_seconds_total[15m]))"
        " + sum by (run) (rate(ray_siammask_engine_busy_seconds_total[15m]))) > 0.5",
    ),
    "a first commit has no increase": (
        "NothingCommitted",
        f"{RATE.format('frames_total')} unless on (run) {RATE.format('commits_total')}",
    ),
    "all restarts of all time": (
        "ActorsRestart",
        'sum by (run) (max_over_time(ray_siammask_retries_total{of="actor"}[1h])) > 10',
    ),
    "no target": ("MetricsLost", 'up{job="ray"} == 0'),
} | {f"{alert} never": (alert.removeprefix("SiamMask"), "vector(0) > 1") for alert in ALERTS}


@pytest.mark.parametrize("weaker", WEAKER)
def test_a_weaker_rule_fails(tmp_path: Path, weaker: str) -> None:
    alert, expression = WEAKER[weaker]
    made = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    (rule,) = (rule for rule in made["groups"][0]["rules"] if rule["alert"] == f"SiamMask{alert}")
    rule["expr"] = expression
    assert judged(cases_of(rule["alert"]), yaml.safe_dump(made), tmp_path).returncode == 1
