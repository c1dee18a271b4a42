"""The locks, the wheel, the installed program and what finds a Python for them."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["uv"]["build-backend"]["module-name"]
LOCKS = ("requirements.txt", "requirements-dev.txt")
BARE_ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
ENTRY = re.compile(
    r"^([a-z0-9._-]+)==([^ ;\\]+)((?: ;[^\\\n]*)?)((?: ?\\\n +--hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE
)


def locked(name: str) -> dict[str, str]:
    """Version by package of a lock."""
    return {match[1]: match[2] for match in ENTRY.finditer((ROOT / name).read_text())}


def files_of_packages() -> set[str]:
    """What git has, or would have, in the folders of the packages."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PACKAGES]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return {file for file in listed if file and (ROOT / file).exists()}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_is_nothing_but_exact_versions_with_hashes(name: str) -> None:
    rest = ENTRY.sub("", (ROOT / name).read_text())
    assert [line for line in rest.splitlines() if line.strip() and not line.lstrip().startswith("#")] == []
    assert len(locked(name)) > 20


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert (
        re.findall(r"://|--(?:extra-)?index|--find-links|--trusted-host|@ file|^-e ", text, re.MULTILINE)
        == []
    )
    assert not (ROOT / "uv.lock").exists()


def test_the_locks_answer_to_what_the_project_asks_for() -> None:
    wanted = {
        "requirements.txt": PROJECT["project"]["dependencies"],
        "requirements-dev.txt": [*PROJECT["dependency-groups"]["dev"], *PROJECT["build-system"]["requires"]],
    }
    unmet = [
        f"{name}: {requirement}"
        for name, requirements in wanted.items()
        for requirement in map(Requirement, requirements)
        if locked(name).get(canonicalize_name(requirement.name), "none") not in requirement.specifier
    ]
    assert unmet == [], "run `make lock`"


def test_the_tests_run_with_the_versions_of_the_program() -> None:
    assert locked("requirements.txt").items() <= locked("requirements-dev.txt").items()


def test_the_build_takes_one_exact_backend() -> None:
    assert PROJECT["build-system"]["requires"] == [f"uv_build=={locked('requirements-dev.txt')['uv-build']}"]


def test_every_package_at_the_top_is_shipped_and_held_by_the_import_rules() -> None:
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert set(PACKAGES) == found
    assert set(PROJECT["tool"]["importlinter"]["root_packages"]) == found
    assert set(PROJECT["tool"]["mypy"]["packages"]) == found
    (contract,) = PROJECT["tool"]["importlinter"]["contracts"]
    assert set(re.findall(r"\w+", " ".join(contract["layers"]))) == found
    assert "ignore_imports" not in contract


def test_no_dependency_brings_a_package_of_the_same_name() -> None:
    """In an editable install the project's folder comes after site-packages: a namesake would win."""
    owners = metadata.packages_distributions()
    assert {name: owners[name] for name in PACKAGES if set(owners.get(name, [])) - {"millrace"}} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_installed_packages_are_the_ones_of_this_folder(package: str, tmp_path: Path) -> None:
    try:
        metadata.distribution("millrace")
    except metadata.PackageNotFoundError:
        pytest.skip("the project is not installed in this environment: make setup")
    script = f"import {package}; print({package}.__file__)"
    command = [sys.executable, "-c", script]
    run = subprocess.run(
        command, cwd=tmp_path, env=BARE_ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert Path(run.stdout.strip()) == ROOT / package / "__init__.py"


def test_the_wheel_has_every_file_of_the_packages(tmp_path: Path) -> None:
    """SQL, TOML, templates and all: what the program reads at run time comes along."""
    script = "import sys, uv_build; uv_build.build_wheel(sys.argv[1])"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        env={**BARE_ENVIRONMENT, "PATH": path},
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("millrace-*.whl")
    shipped = set(zipfile.ZipFile(wheel).namelist())
    assert files_of_packages() - shipped == set()
    assert {name.split("/")[0] for name in shipped if "dist-info" not in name} == set(PACKAGES)


def fake_python(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def find_python(tmp_path: Path, *folders: Path, name: str = "") -> subprocess.CompletedProcess[str]:
    """Look for a Python where only `folders` are on PATH."""
    environment = {"PATH": os.pathsep.join(map(str, folders)), "HOME": str(tmp_path)}
    shell = shutil.which("sh")
    assert shell
    command = [shell, str(ROOT / ".ci/find-python"), *([name] if name else [])]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_python_on_the_path_that_fails_when_called_is_passed_over(tmp_path: Path) -> None:
    """As a version manager leaves them: the name is there, and calling it fails."""
    fake_python(tmp_path / "shims", "python3.12", "echo 'not in use' >&2; exit 127")
    fits = fake_python(tmp_path / "bin", "python3.12", "exit 0")
    found = find_python(tmp_path, tmp_path / "shims", tmp_path / "bin")
    assert found.stdout == f"{fits}\n"


def test_the_version_is_asked_of_the_python_itself(tmp_path: Path) -> None:
    script = f'shift; exec "{sys.executable}" -I "$@"'
    called_3 = fake_python(tmp_path / "bin", "python3", script)
    found = find_python(tmp_path, tmp_path / "bin")
    assert found.stdout == f"{called_3}\n"
    fake_python(tmp_path / "bin", "python3", "exit 1")
    assert find_python(tmp_path, tmp_path / "bin").stdout != f"{called_3}\n"


def test_a_python_that_is_named_and_does_not_fit_is_refused(tmp_path: Path) -> None:
    fake_python(tmp_path / "bin", "python3.12", "exit 0")
    refused = fake_python(tmp_path / "old", "python2", "exit 1")
    found = find_python(tmp_path, tmp_path / "bin", name=str(refused))
    assert (found.stdout, found.returncode) == ("", 1)
    assert found.stderr == (
        f"make: {refused} is not a Python 3.11 or 3.12 with the modules venv and ensurepip: "
        "name another, or none\n"
    )


def make_environment(**given: str) -> dict[str, str]:
    """What the recipes of the Makefile see of an environment."""
    run = subprocess.run(
        ["make", "--no-print-directory", "-f", "-", "show"],
        input="include Makefile\nshow:\n\t@env\n",
        cwd=ROOT,
        env={**BARE_ENVIRONMENT, **given},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in run.stdout.splitlines() if "=" in line)


def test_the_callers_other_pythons_stay_outside() -> None:
    odd = {
        "VIRTUAL_ENV": "/elsewhere",
        "PYTHONPATH": "/elsewhere",
        "PYTHONHOME": "/elsewhere",
        "UV_PYTHON": "2.7",
        "UV_TARGET": "/elsewhere",
        "UV_EXCLUDE_NEWER": "2001-01-01",
        "PIP_USER": "1",
        "PYTEST_ADDOPTS": "--collect-only",
        "MILLRACE_LEDGER": "chdb:///elsewhere",
        "STRIPE_SECRET_KEY": "of a real account",
    }
    assert make_environment(**odd).keys() & odd.keys() == set()


def test_the_callers_way_to_the_network_comes_in() -> None:
    kept = {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "PIP_INDEX_URL": "https://mirror.example/simple",
        "UV_SYSTEM_CERTS": "false",
        "SSL_CERT_FILE": "/certificates.pem",
        "HTTPS_PROXY": "http://proxy.example",
        "MILLRACE_TEST_POSTGRES": "postgresql://localhost/tests",
    }
    assert kept.items() <= make_environment(**kept).items()


def test_no_python_is_ever_downloaded() -> None:
    assert make_environment(UV_PYTHON_DOWNLOADS="automatic")["UV_PYTHON_DOWNLOADS"] == "never"


def test_help_is_what_make_does_unasked_and_names_the_targets() -> None:
    shown = subprocess.run(
        ["make"], cwd=ROOT, env=BARE_ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r"^  make (\S+)", shown, re.MULTILINE) == [
        "help",
        "setup",
        "run",
        "test",
        "check",
        "fmt",
        "lock",
        "torture",
        "bench-quick",
        "stripe-sim",
        "clean",
    ]
