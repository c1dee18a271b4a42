"""The program's front: exit codes, one sentence for each error, settings by precedence, quick help."""

import errno
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
import typer

from cli import main, settings
from pipeline.errors import ConfigError, LedgerBusyError, UsageError

ROOT = Path(__file__).parent.parent
Workers = Annotated[int, typer.Option(envvar="MILLRACE_WORKERS")]
Budget = Annotated[str, typer.Option(envvar="MILLRACE_REJECT_BUDGET")]
Sources = Annotated[list[str] | None, typer.Option(envvar="MILLRACE_SOURCE")]


def install(monkeypatch: pytest.MonkeyPatch, name: str, app: typer.Typer, *, is_group: bool = False) -> None:
    """Make `app` the command `name` of the program, and that the only one besides `run`."""
    module = ModuleType(f"cli.{name}")
    module.__spec__ = ModuleSpec(module.__name__, None)
    module.app = app
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(main, "COMMANDS", {name: main.Entry("A command.", is_group=is_group)})


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("MILLRACE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command `work` that prints its settings."""
    app = typer.Typer()

    @app.command()
    def work(
        workers: Workers = 1, budget: Budget = "0.2", source: Sources = None, *, json: bool = False
    ) -> None:
        typer.echo(f"{workers} {budget} {source} {json}")

    install(monkeypatch, "work", app)


@pytest.fixture
def trade(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group `trade` with one command, `buy`."""
    app = typer.Typer()

    @app.command()
    def buy(workers: Workers = 1, lots: int = 0) -> None:
        typer.echo(f"{workers} {lots}")

    install(monkeypatch, "trade", app, is_group=True)


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """Run a command that raises `error`."""
    app = typer.Typer()

    @app.command()
    def work() -> None:
        raise error

    install(monkeypatch, "work", app)
    return main.run(["work"])


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (LedgerBusyError("the ledger is in use: wait"), 1, "the ledger is in use: wait"),
        (UsageError("two of these: give one"), 2, "two of these: give one"),
        (ConfigError("prices.toml:3: no"), 2, "prices.toml:3: no"),
        (
            OSError(errno.ENOSPC, "No space left", "/x"),
            1,
            "the disk is full at /x: make room and run the same command again",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "permission denied at /x"),
        (typer.Abort(), 1, "stopped, as asked"),
        (
            ValueError("a\nb"),
            1,
            "this should not happen (ValueError: a b): set MILLRACE_TRACE=1 to see where, and report it",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_an_error_is_one_sentence_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    sentence: str,
) -> None:
    assert raising(monkeypatch, error) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"millrace: {sentence}\n")


def test_the_trace_is_shown_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLRACE_TRACE", "1")
    assert raising(monkeypatch, ValueError("a")) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_command_may_choose_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    assert raising(monkeypatch, typer.Exit(3)) == 3


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["work", "--wrokers", "1"],
            "no such option: --wrokers (Possible options: --workers); see `millrace work --help`",
        ),
        (["work", "--workers", "many"], "; see `millrace work --help`"),
        (["work", "here"], "got unexpected extra argument(s) (here); see `millrace work --help`"),
        (["wrok"], "no such command 'wrok'. Did you mean 'work'?; see `millrace --help`"),
    ],
)
def test_wrong_use_says_where_the_help_is(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main.run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("millrace: ")
    assert err.endswith(f"{sentence}\n")
    assert err.count("\n") == 1


@pytest.mark.usefixtures("work")
def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def workers(*arguments: str) -> str:
        assert main.run(["work", *arguments]) == 0
        return capsys.readouterr().out.split()[0]

    assert workers() == "1"
    (tmp_path / "millrace.toml").write_text("workers = 2\n")
    assert workers() == "2"
    (tmp_path / "millrace.toml").write_text("workers = 2\n[work]\nworkers = 3\n")
    assert workers() == "3"
    monkeypatch.setenv("MILLRACE_WORKERS", "4")
    assert workers() == "4"
    assert workers("--workers", "5") == "5"


@pytest.mark.usefixtures("work")
def test_values_of_the_file_mean_what_they_mean_behind_the_flag(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "millrace.toml").write_text('budget = 0.05\nsource = ["a", "b"]\njson = true\n')
    assert main.run(["work"]) == 0
    assert capsys.readouterr().out == "1 0.05 ['a', 'b'] True\n"


@pytest.mark.usefixtures("trade")
@pytest.mark.parametrize(
    "text", ["workers = 7", "[trade]\nworkers = 7", "workers = 1\n[trade.buy]\nworkers = 7"]
)
def test_a_command_below_another_inherits_its_settings(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    (tmp_path / "millrace.toml").write_text(text)
    assert main.run(["trade", "buy"]) == 0
    assert capsys.readouterr().out == "7 0\n"


@pytest.mark.usefixtures("work")
def test_the_settings_file_can_be_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "other.toml").write_text("workers = 6")
    assert main.run(["--config", "other.toml", "work"]) == 0
    monkeypatch.setenv("MILLRACE_CONFIG", "other.toml")
    assert main.run(["work"]) == 0
    assert capsys.readouterr().out == "6 0.2 None False\n" * 2


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\nwrokers = 1", "millrace.toml:2: unknown key 'wrokers': did you mean 'workers'?"),
        ("[wrok]", "millrace.toml:1: unknown key 'wrok': did you mean 'work'?"),
        ("[work]\nwrokers = 1", "millrace.toml:2: unknown key 'wrokers' in work: did you mean 'workers'?"),
        ("json = 1", "millrace.toml:1: json must be true or false, not 1"),
        ('source = "a"', "millrace.toml:1: source must be an array, not 'a'"),
        ("workers = true", "millrace.toml:1: workers must be one text or number, not true"),
        ("workers", "millrace.toml:1: the settings file is not TOML here: expected '=' after a key"),
    ],
)
def test_a_mistake_in_the_settings_file_is_named_with_its_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "millrace.toml").write_text(text)
    assert main.run(["work"]) == 2
    assert capsys.readouterr().err.startswith(f"millrace: {sentence}")


@pytest.mark.usefixtures("work")
def test_a_value_that_does_not_fit_names_where_it_came_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "millrace.toml").write_text('budget = "1"\nworkers = "many"')
    assert main.run(["work"]) == 2
    assert " (from millrace.toml:2); see " in capsys.readouterr().err
    monkeypatch.setenv("MILLRACE_WORKERS", "some")
    assert main.run(["work"]) == 2
    assert " (from MILLRACE_WORKERS); see " in capsys.readouterr().err


@pytest.mark.usefixtures("work")
def test_a_settings_file_that_is_named_must_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--config", "none.toml", "work"]) == 2
    assert capsys.readouterr().err == (
        "millrace: the settings file none.toml does not exist: give the path of a TOML file\n"
    )


def test_a_part_that_cannot_be_imported_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, "work", typer.Typer())
    monkeypatch.setattr(main, "import_module", lambda name: (_ for _ in ()).throw(ImportError(f"no {name}")))
    assert main.run(["work"]) == 1
    assert "`millrace work` cannot be loaded (no cli.work): install" in capsys.readouterr().err
    assert main.run(["--help"]) == 0


@pytest.mark.usefixtures("work")
def test_without_a_command_the_help_is_shown_and_the_use_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([]) == 2
    assert "Commands:" in capsys.readouterr().out


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("millrace ")


def test_the_help_imports_no_command_and_nothing_heavy() -> None:
    script = (
        "import sys; from cli.main import run; run(['--help']);"
        "print(*sorted(name for name in sys.modules if name.startswith('cli.')), file=sys.stderr);"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'polars', 'chdb', 'bytewax', 'rich')))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.stderr == "cli.main cli.settings cli.telling\n"
    assert result.returncode == 0


def test_a_reader_that_leaves_ends_the_program_quietly() -> None:
    """As in `millrace query ... | head`."""
    script = (
        "import typer; from cli import main; from test_cli_main import install; import pytest\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "def work() -> None:\n"
        "    for _ in range(100_000): print('a line that fills the pipe')\n"
        "install(pytest.MonkeyPatch(), 'work', app)\n"
        "raise SystemExit(main.run(['work']))\n"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    program = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    program.stdout.readline()
    program.stdout.close()
    assert program.stderr.read() == b""
    program.stderr.close()
    assert program.wait() == 141


COMMANDS = [name for name in main.COMMANDS if (ROOT / "cli" / f"{name}.py").exists()]


@pytest.mark.usefixtures("trade")
def test_a_flag_without_a_variable_of_its_own_gets_one_of_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLRACE_TRADE_BUY_LOTS", "9")
    assert main.run(["trade", "buy"]) == 0
    assert capsys.readouterr().out == "1 9\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_every_setting_has_a_variable(name: str) -> None:
    for command in settings.leaves(main.load(name)):
        for key, option in settings.keys_of(command).items():
            assert option.envvar.startswith("MILLRACE_"), f"{name}: --{key}"


def test_the_keys_of_the_settings_file_are_those_of_the_commands() -> None:
    leaves = [leaf for name in COMMANDS for leaf in settings.leaves(main.load(name))]
    keys = {key for leaf in leaves for key in settings.keys_of(leaf)}
    assert keys - settings.KEYS == set(), "cli/settings.py: KEYS lacks these"
    if len(COMMANDS) == len(main.COMMANDS):
        assert settings.KEYS - keys == set(), "cli/settings.py: KEYS has these for nothing"
