"""What the documents say can be done: commands parse, files are there, the README's tour runs."""

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import Ledger
from typer.exceptions import TyperException

from cli import main, settings
from pipeline.accounts import load_accounts
from pipeline.catalog import load_catalog
from pipeline.formats import load_mapping

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")),
]
SHELL = {"export", "mkdir", "cd", "git", "make", "cat", "#", "python", "curl", "kill", "until", "while"}
"""What may begin a line of a shell block that is no command of the program."""
FILE = re.compile(r"(?:[\w.-]+/)*[\w-]+\.(?:py|sql|toml|md|yml)")

YOURS = {"millrace.toml", "accounts.toml", "catalog.toml"}
"""Files that a reader makes."""
FOLDERS = (
    "pipeline", "sinks", "billing", "queries", "api", "dashboards", "cli", "benchmarks", "tests", "docs", "examples",
)  # fmt: skip

every_document = pytest.mark.parametrize("document", DOCUMENTS)


@cache
def text_of(document: str) -> str:
    return (ROOT / document).read_text()


def fenced(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def blocks(document: str, language: str) -> list[str]:
    return fenced(text_of(document), language)


@cache
def files() -> list[str]:
    """The project's files, by path from the top."""
    below = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    return [path.relative_to(ROOT).as_posix() for path in [*ROOT.iterdir(), *below]]


@dataclass(frozen=True)
class Written:
    """A file that a shell block writes."""

    path: str
    content: str


def tour() -> str:
    """The README's section that is to be tried line by line."""
    return text_of("README.md").split("\n## A tour ")[1].split("\n## ")[0]


def steps(block: str) -> Iterator[Written | str]:
    """What a shell block does, in order: files that it writes, and its other lines."""
    lines = iter(block.replace("\\\n", "").splitlines())
    for line in lines:
        if found := re.fullmatch(r"cat > (\S+) <<'END'", line):
            yield Written(found[1], "".join(f"{inner}\n" for inner in iter(lines.__next__, "END")))
        elif line.strip():
            yield line


def commands(document: str) -> list[str]:
    """The command lines of the program, in fenced shell blocks and in indented ones."""
    lines = [step for block in blocks(document, "sh") for step in steps(block) if isinstance(step, str)]
    plain = re.sub(r"^```.*?^```$", "", text_of(document), flags=re.MULTILINE | re.DOTALL)
    lines += re.findall(r"^ {4}(millrace .*)$", plain, re.MULTILINE)
    return [line for line in lines if line.startswith("millrace ")]


def parse(line: str) -> None:
    """Find the command and its flags; raises `TyperException` where the program would refuse the line."""
    _, name, *rest = shlex.split(line, comments=True)
    if name not in main.COMMANDS:
        raise TyperException(f"there is no command {name}")
    command = main.load(name)
    while rest and rest[0] in (below := getattr(command, "commands", {})):
        command = below[rest.pop(0)]
    if hasattr(command, "commands"):
        raise TyperException(f"there is no command {name} {' '.join(rest)}")
    command.make_context(name, rest)


def leaves(command: Any, path: str) -> Iterator[str]:
    below = getattr(command, "commands", {})
    if not below:
        yield path
    for name, child in below.items():
        yield from leaves(child, f"{path} {name}")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("MILLRACE_", "STRIPE_")):
            monkeypatch.delenv(name)


@every_document
def test_each_command_line_parses(document: str) -> None:
    for line in commands(document):
        try:
            parse(line)
        except TyperException as error:
            pytest.fail(f"{document}: {line}: {error.format_message()}")


@pytest.mark.parametrize(
    "line",
    [
        "millrace nothing",
        "millrace run x --no-such-flag",
        "millrace caps show",
        "millrace stripe nothing",
        "millrace query --format xml",
        "millrace export principals --out x",
    ],
)
def test_a_wrong_command_line_would_be_seen(line: str) -> None:
    with pytest.raises(TyperException):
        parse(line)


def test_command_lines_are_found_at_all() -> None:
    assert len(commands("README.md")) > 15
    assert len(commands("docs/stripe.md")) > 5


def test_a_shell_block_of_the_readme_holds_nothing_unheard_of() -> None:
    lines = [s for block in blocks("README.md", "sh") for s in steps(block) if isinstance(s, str)]
    assert [line for line in lines if line.split()[0] not in {*SHELL, "millrace"}] == []


def test_the_readme_has_a_row_for_each_command_and_those_below_it() -> None:
    there = [name for name in main.COMMANDS if (ROOT / "cli" / f"{name}.py").exists()]
    wanted = {path for name in there for path in leaves(main.load(name), f"millrace {name}")}
    rows = "\n".join(line for line in text_of("README.md").splitlines() if line.startswith("| `millrace "))
    assert {path for path in wanted if not re.search(rf"`{path}[` ]", rows)} == set()


@every_document
def test_each_link_leads_to_a_file_or_a_heading_that_is_there(document: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / document).parent / path if path else ROOT / document
        assert file.exists(), f"{document}: {target}"
        assert not anchor or anchor in anchors(file.read_text()), f"{document}: {target}"


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "docs/inputs.md", "docs/stripe.md"])
def test_each_file_that_is_named_is_there(document: str) -> None:
    """In backticks: by its path from the top, or by its name where the sentence says the folder."""
    named = {name for name in re.findall(r"`([^`\s]+)`", text_of(document)) if FILE.fullmatch(name)}
    missing = [name for name in named - YOURS if not any(f"/{file}".endswith(f"/{name}") for file in files())]
    assert missing == []


def test_the_files_that_the_readme_shows_are_taken(tmp_path: Path) -> None:
    own, catalog, accounts = blocks("README.md", "toml")
    for name, text in (("own", own), ("catalog", catalog), ("accounts", accounts)):
        (tmp_path / f"{name}.toml").write_text(text)
    found = settings.load(tmp_path / "own.toml", tmp_path).defaults("run", main.load("run"), main.COMMANDS)
    assert found["workers"] == "4"
    entry = load_catalog(tmp_path / "catalog.toml").versions[0].operations["ask"]
    assert {e.weight for e in entry.values()} == {10}
    assert load_accounts(tmp_path / "accounts.toml").get("acct_1").daily_limit_micro_usd == 250_000_000


def test_the_mapping_that_the_docs_show_is_taken(tmp_path: Path) -> None:
    (mapping,) = blocks("docs/inputs.md", "toml")
    (tmp_path / "mapping.toml").write_text(mapping)
    assert {m.name for m in load_mapping(tmp_path / "mapping.toml").members} >= {"operation", "units"}


def test_the_tour_of_the_readme_does_what_it_says(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every step in its order, in a folder of its own, with the session's ledger in the place of the tour's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build" / "tour").mkdir(parents=True)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.setenv("MILLRACE_LEDGER", ledger.url)
    monkeypatch.setenv("MILLRACE_ACCOUNTS", "build/tour/accounts.toml")
    said = []
    for step in (s for block in fenced(tour(), "sh") for s in steps(block)):
        if isinstance(step, Written):
            Path(step.path).write_text(step.content)
        elif step.startswith("millrace "):
            said.append(outcome_of(step, capfd))
    assert said[0].splitlines()[1:] == fenced(tour(), "text")[0].splitlines()[1:]
    assert '"accepted": 0, "duplicates": 5, "conflicts": 1, "rejected": 2' in said[1]
    told = "\n".join(said)
    handed_in = ("Rejected first, and handed in again", "all that was checked is equal.")
    for what in (
        *handed_in,
        "got 'twelve'",
        "0.00255045",
        "-2500000000",
        "llm.generate",
        "STRIPE_SECRET_KEY is not set",
    ):
        assert what in told
    assert list(Path("build/tour/export").glob("principals-*.parquet"))


def outcome_of(line: str, capfd: pytest.CaptureFixture[str]) -> str:
    month = datetime.now(UTC).strftime("%Y-%m")
    capfd.readouterr()
    code = main.run(shlex.split(line.replace("$(date -u +%Y-%m)", month))[1:])
    out, err = capfd.readouterr()
    assert code == 0, f"{line}: {err}"
    return out
