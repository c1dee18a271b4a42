"""docs/settings.md is what the program takes: every flag, every variable, every secret."""

import ast
import re
from pathlib import Path

import pytest

from cli import main, settings
from cli.settings_page import VARIABLES, page

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "settings.md").read_text()
NOT_READ_BY_US = {"NUMBA_CACHE_DIR"}


def leaves(command):
    below = getattr(command, "commands", {})
    yield from [command] if not below else [leaf for child in below.values() for leaf in leaves(child)]


def test_the_page_is_what_the_program_says():
    assert page() == TEXT, "run python -m cli.settings_page > docs/settings.md, and commit what it writes"


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_flag_and_its_variable_are_on_the_page(name):
    for leaf in leaves(main.load(name)):
        for option in settings.keys_of(leaf).values():
            assert f"| `{max(option.opts, key=len)}`" in TEXT
            assert f"`{option.envvar}`" in TEXT


def variables_read():
    """The names of variables that code outside of flags asks the environment for."""
    trees = [ast.parse(file.read_text()) for file in sorted((ROOT / "cli").glob("*.py"))]
    names = {
        target.id: node.value.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and re.fullmatch(r"[A-Z]+(_[A-Z]+)+", str(node.value.value))
    }
    for tree in trees:
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = ast.unparse(node.func)
            if called in {"os.environ.get", "os.getenv", "read_secret"}:
                first = node.args[0]
                value = first.value if isinstance(first, ast.Constant) else names.get(ast.unparse(first))
                if isinstance(value, str):
                    yield value


def test_every_variable_that_the_program_reads_is_on_the_page():
    found = set(variables_read())
    assert {"BILLING_INTERNAL_JWT_SECRET", "STRIPE_SECRET_KEY", "MILLRACE_ANALYSTS_PASSWORD"} <= found
    assert [name for name in sorted(found) if f"`{name}`" not in TEXT] == []
    assert {one.name for one in VARIABLES} - found - NOT_READ_BY_US == set()


def test_every_variable_of_the_tests_is_on_the_page():
    used = {
        name
        for file in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"\bMILLRACE_TEST_[A-Z_]+\b", file.read_text())
    }
    assert [name for name in sorted(used) if f"`{name}`" not in TEXT] == []


def test_no_secret_can_be_given_by_a_flag():
    secrets = {one.name for one in VARIABLES if one.is_secret}
    assert len(secrets) >= 7
    for name in main.COMMANDS:
        for leaf in leaves(main.load(name)):
            assert {option.envvar for option in settings.keys_of(leaf).values()} & secrets == set()
