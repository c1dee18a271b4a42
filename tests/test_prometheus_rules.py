"""The alert rules: valid, each with two thresholds, each unit-tested at both and in the quiet case."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "dashboards" / "prometheus"
RULES = YAML(typ="safe").load((FOLDER / "rules" / "millrace.yml").read_text())
FILES = sorted((FOLDER / "tests").glob("*.yml"))
TESTS = [test for file in FILES for test in YAML(typ="safe").load(file.read_text())["tests"]]
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
NAMES = sorted({rule["alert"] for rule in ALERTS})
WANTED = {
    "NothingCommitted", "LagHigh", "RejectsOverBudget", "DuplicatesSurge", "Conflicts", "CapRefusalsSurge",
    "UnpricedOperations", "StripeDifference", "StripeDeadline", "InsertFailures", "LedgerDisk", "TenantVolumeGone",
    "TenantVolumeLeapt", "LockedPeriod",
}  # fmt: skip


def promtool(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool: install the package prometheus, or put promtool on the path")
    return subprocess.run(
        [program, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def test_what_must_be_watched_has_an_alert() -> None:
    assert set(NAMES) >= WANTED


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_has_a_warning_and_a_critical_threshold(name: str) -> None:
    found = {rule["labels"]["severity"]: rule for rule in ALERTS if rule["alert"] == name}
    assert sorted(found) == ["critical", "warning"]
    bounds = [(rule["expr"], rule.get("for", "0m")) for rule in found.values()]
    assert bounds[0] != bounds[1], "two alerts with one threshold"
    for rule in found.values():
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_is_tried_quiet_at_its_warning_and_at_its_critical_threshold(name: str) -> None:
    tried = {}
    for test in TESTS:
        for step in test.get("alert_rule_test", []):
            if step["alertname"] == name:
                tried[test["name"]] = sorted(a["exp_labels"]["severity"] for a in step["exp_alerts"])
    assert tried == {
        f"{name} quiet": [],
        f"{name} warning": ["warning"],
        f"{name} critical": ["critical", "warning"],
    }


def test_promtool_takes_the_configuration_and_the_rules() -> None:
    checked = promtool("check", "config", "dashboards/prometheus/prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(ALERTS) + records()} rules found" in checked.stdout


def records() -> int:
    return sum("record" in rule for group in RULES["groups"] for rule in group["rules"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_unit_tests_of_the_rules_pass(file: Path) -> None:
    tested = promtool("test", "rules", str(file))
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize(
    ("alert", "threshold", "other"),
    [
        ("LagHigh", "> 300", "> 3000"),
        ("LedgerDisk", "< 0.15", "< 0.149"),
        ("StripeDeadline", "> 43200", "> 43201"),
        ("TenantVolumeGone", "<= 20", "< 20"),
        ("Conflicts", '"conflict"}) > 0', '"conflict"}) > 15'),
    ],
)
def test_the_unit_tests_see_a_threshold_that_has_moved(
    tmp_path: Path, alert: str, threshold: str, other: str
) -> None:
    text = (FOLDER / "rules" / "millrace.yml").read_text()
    assert threshold in text
    picked = [test for test in TESTS if test["name"].startswith(f"{alert} ")]
    told = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": picked}
    with (tmp_path / "test.yml").open("w") as file:
        YAML(typ="safe").dump(told, file)
    for rules, code in ((text, 0), (text.replace(threshold, other, 1), 1)):
        (tmp_path / "rules.yml").write_text(rules)
        assert promtool("test", "rules", "test.yml", cwd=tmp_path).returncode == code


def test_a_rule_speaks_of_no_metric_of_its_own_spelling() -> None:
    """Colons are for recorded series: each that is used is recorded here."""
    recorded = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
    used = {
        name
        for group in RULES["groups"]
        for rule in group["rules"]
        for name in re.findall(r"millrace:[\w:]+", rule["expr"])
    }
    assert used == recorded
