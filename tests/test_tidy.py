"""What no linter checks: money without floats, no hidden clocks, nothing dead, nothing of one machine."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from cli import main

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["uv"]["build-backend"]["module-name"]
MONEY = ("pipeline", "sinks", "billing", "queries")
WITHOUT_CLOCKS = (*MONEY, "api", "dashboards")
LINES_MAX = 500

FLOATS_ALLOWED = {
    "pipeline/accounts.py": "refuses the float that TOML makes of an amount",
    "pipeline/catalog.py": "refuses the float that TOML makes of a price",
    "pipeline/flow.py": "how long rows have waited",
    "pipeline/run_state.py": "a share of rejects, and how long a commit took",
    "pipeline/health.py": "how long a partition has waited",
    "sinks/http_front.py": "how long to stall",
    "sinks/stripe_fake.py": "answers with the JSON numbers that Stripe answers with",
    "sinks/stripe_fake_server.py": "the standard library hands over a moment as a float",
}
CLOCKS_ALLOWED = {
    "pipeline/flow.py": "tells Bytewax when to wake a lane; no moment of it reaches a row",
    "pipeline/inputs.py": "tells Bytewax when to ask a source again",
}
LONGER_ALLOWED = {
    "pipeline/kernels/scanner.py": "one state machine over a line, compiled in one piece",
}

CLOCKS = re.compile(
    r"time\.(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns|localtime|gmtime)"
    r"|datetime\.(datetime\.(now|utcnow|today)|date\.today)"
    r"|os\.(environ|environb|getenv|urandom)(\..*)?"
    r"|(random|numpy\.random)\..+|secrets\.(?!compare_digest).+"
    r"|uuid\.uuid[14]"
)
FLOATS = re.compile(r"float|(.*\.)?([Ff]loat(16|32|64)|double)")
LOCAL = re.compile(
    r"\b(?:pypi|pythonhosted|docker|ghcr|quay|npmjs|crates|maven)\.(?:org|io|com|apache\.org)\b"
    r"|/(?:root|Users|home/\w+|work/\w+)/"
    r"|\bissue #?\d+\b",
    re.IGNORECASE,
)


@cache
def tracked() -> list[str]:
    """The files that git has, by path from the top."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git clone: the files of the project cannot be told from others")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [file for file in listed.stdout.split("\0") if file and (ROOT / file).is_file()]


def modules(*packages: str) -> list[str]:
    return [file for file in tracked() if file.endswith(".py") and file.split("/")[0] in packages]


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(), file)


def imports(module: ast.Module) -> dict[str, str]:
    """Local name by what it stands for: `now_s` -> `time.time` after `from time import time as now_s`."""
    names = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names.update({alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names})
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def uses(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Each name and dotted name that is used, with its line, imported names written out."""
    known = imports(module)
    for node in ast.walk(module):
        parts: list[str] = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            parts.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            yield node.lineno, ".".join([known.get(inner.id, inner.id), *parts])


def found(pattern: re.Pattern[str], text: str) -> list[tuple[int, str]]:
    return [(line, name) for line, name in uses(ast.parse(text)) if pattern.fullmatch(name)]


def offences(pattern: re.Pattern[str], packages: tuple[str, ...], allowed: dict[str, str]) -> list[str]:
    return [
        f"{file}:{line}: {name}"
        for file in modules(*packages)
        if file not in allowed
        for line, name in uses(tree(file))
        if pattern.fullmatch(name)
    ]


def test_no_float_comes_near_money() -> None:
    assert offences(FLOATS, MONEY, FLOATS_ALLOWED) == []


def test_no_part_but_the_command_line_reads_clocks_environment_or_chance() -> None:
    assert offences(CLOCKS, WITHOUT_CLOCKS, CLOCKS_ALLOWED) == []


@pytest.mark.parametrize("allowed", [FLOATS_ALLOWED, CLOCKS_ALLOWED], ids=["floats", "clocks"])
def test_what_is_allowed_is_still_there(allowed: dict[str, str]) -> None:
    pattern = FLOATS if allowed is FLOATS_ALLOWED else CLOCKS
    unused = [file for file in allowed if not any(pattern.fullmatch(name) for _, name in uses(tree(file)))]
    assert unused == []


@pytest.mark.parametrize(
    "text",
    [
        "import time\ntime.time()",
        "from time import monotonic as tick\ntick()",
        "import datetime as d\nd.datetime.now()",
        "from datetime import datetime\nmoment = datetime.now",
        "import os\nos.environ['HOME']",
        "from os import environ\nenviron.get('HOME')",
        "import random\nrandom.random()",
        "from uuid import uuid4\nuuid4()",
        "import secrets\nsecrets.token_hex()",
    ],
)
def test_the_search_for_clocks_finds(text: str) -> None:
    assert found(CLOCKS, text) != []


def test_a_comparison_in_constant_time_is_not_chance() -> None:
    assert found(CLOCKS, "import secrets\nsecrets.compare_digest('a', 'b')") == []


@pytest.mark.parametrize(
    "text", ["x: float = 0", "float('1')", "import numpy as np\nnp.float64", "import polars\npolars.Float64"]
)
def test_the_search_for_floats_finds(text: str) -> None:
    assert found(FLOATS, text) != []


def test_no_module_is_there_that_nothing_imports() -> None:
    """Commands are imported by name when they are called, migrations by the tool that runs them."""
    by_themselves = {
        "sinks.http_front",
        "dashboards.grafana.__main__",
        "benchmarks.traffic",
        "benchmarks.sizing",
        "cli.settings_page",
    }  # python -m
    wanted = {"cli.main", *by_themselves, *(f"cli.{name}" for name in main.COMMANDS)}
    for file in modules(*PACKAGES):
        wanted.update(imports(tree(file)).values())
        wanted.update(name.rpartition(".")[0] for name in imports(tree(file)).values())
    names = {file: file.removesuffix(".py").replace("/", ".") for file in modules(*PACKAGES)}
    dead = [
        file
        for file, name in names.items()
        if name not in wanted and not file.endswith("__init__.py") and "/migrations/" not in file
    ]
    assert dead == []


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("pipeline", "sinks"),
        ("queries", "sinks"),
        ("sinks", "billing"),
        ("api", "dashboards"),
        ("api", "cli"),
    ],
)
def test_the_import_rules_can_fail(tmp_path: Path, importer: str, imported: str) -> None:
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / importer / "wrong.py").write_text(f"import {imported}\n")
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    lint = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()"]
    run = subprocess.run(lint, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"{importer} is not allowed to import {imported}" in run.stdout
    assert run.returncode == 1


def test_files_can_be_held_in_the_head() -> None:
    code = [file for file in tracked() if file.endswith((".py", ".sql", "Makefile", ".sh"))]
    lengths = {file: (ROOT / file).read_text().count("\n") for file in code if file not in LONGER_ALLOWED}
    assert {file: length for file, length in lengths.items() if length > LINES_MAX} == {}


def test_nothing_of_one_machine_or_registry_stands_in_the_repository() -> None:
    hits = []
    for file in tracked():
        text = (ROOT / file).read_bytes().decode("utf-8", "replace")
        hits += [f"{file}: {match.group()}" for match in LOCAL.finditer(text)]
    assert hits == []


@pytest.mark.parametrize(
    "parts",
    [("py", "pi.org"), ("files.python", "hosted.org"), ("/ro", "ot/x"), ("/ho", "me/me/x"), ("iss", "ue 7")],
)
def test_the_search_for_local_things_finds(parts: tuple[str, str]) -> None:
    assert LOCAL.search(f"at {''.join(parts)} there")


def readme() -> str:
    text = (ROOT / "README.md").read_text()
    if "\n## " not in text:
        pytest.skip("README.md has no sections yet")
    return text


def test_the_readme_names_every_command() -> None:
    text = readme()
    there = [name for name in main.COMMANDS if (ROOT / "cli" / f"{name}.py").exists()]
    assert [name for name in there if f"millrace {name}" not in text] == []


def test_the_readme_names_no_command_that_is_not_there() -> None:
    named = set(re.findall(r"(?:^\s*|`|bin/)millrace ([a-z]+)", readme(), re.MULTILINE))
    assert [name for name in named if not (ROOT / "cli" / f"{name}.py").exists()] == []
