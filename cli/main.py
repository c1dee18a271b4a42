"""The program `millrace`: finds the command, hands it its settings, and turns errors into one sentence.

A command's module is imported when the command is called, not before: `millrace --help` is quick, and a part
that cannot be imported takes no other command with it.

Exit codes: 0 done, 1 a failure, 2 wrong use, 130 interrupted, 141 when the reader of the output has left.
"""

import errno
import gc
import os
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from cli import settings
from cli.telling import say
from pipeline.errors import MillraceError, UsageError

FAILURE, WRONG_USE, INTERRUPTED, READER_LEFT = 1, 2, 130, 141
_SETTINGS = "millrace.settings"


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: its line in the help, and whether it has commands below it (`millrace rejects list`)."""

    help: str
    is_group: bool = False


COMMANDS = {
    "run": Entry("Read usage events, price them, count each once, write the ledger."),
    "query": Entry("Ask the ledger: SQL, or the name of a query that comes with the program."),
    "explain": Entry("Explain one event, from its key to its money."),
    "export": Entry("Write what finance needs to files.", is_group=True),
    "rejects": Entry("List what was rejected, and why.", is_group=True),
    "periods": Entry("Lock billing periods, and open them again.", is_group=True),
    "caps": Entry("Show what a tenant has spent of its limits.", is_group=True),
    "tenants": Entry("Look after tenants: limits, tiers, modes and keys.", is_group=True),
    "credits": Entry("Mint credits, see what is left of them, take them back.", is_group=True),
    "audit": Entry("See who changed what, and check that the record is whole.", is_group=True),
    "stripe": Entry("Report metered usage to Stripe.", is_group=True),
    "analysts": Entry("Let people and their tools read the ledger, and nothing else.", is_group=True),
    "catalog": Entry("Look after the catalog of prices.", is_group=True),
    "serve": Entry("Serve the HTTP interface and the console."),
    "token": Entry("Make a token for a service or an admin."),
    "reconcile": Entry("Compare the ledger with what it was made from, and mend it."),
    "schema": Entry("Print the JSON Schema of a usage event."),
    "sample": Entry("Write made-up events and what must come of them."),
    "demo": Entry("Try the main job on made-up events, and read what came of it."),
    "bench": Entry("Measure the speed of this machine."),
    "measure": Entry("Measure a service over HTTP.", is_group=True),
}


def load(name: str) -> Any:
    """Import a command and return it as a click command.

    The module `cli.<name>` has a Typer `app`. Raises `MillraceError` where something that it needs is not
    there.
    """
    try:
        module = import_module(f"cli.{name}")
    except ImportError as error:
        msg = f"`millrace {name}` cannot be loaded ({error}): install the program anew, with `make setup`"
        raise MillraceError(msg) from error
    app: typer.Typer = module.app
    app.rich_markup_mode = None
    command = typer.main.get_group(app) if COMMANDS[name].is_group else typer.main.get_command(app)
    command.name = name
    command.params = [param for param in command.params if not str(param.name).endswith("_completion")]
    settings.name_variables(command, name)
    return command


class Commands(TyperGroup):
    """All commands, each a line of help until it is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, entry in COMMANDS.items():
            if find_spec(f"cli.{name}"):
                self.add_command(TyperCommand(name, help=entry.help))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Put the command itself, with its settings, in the place of the line of help."""
        name, stub, rest = super().resolve_command(ctx, args)
        if name is None or stub is None:
            return name, stub, rest
        command = load(name)
        if not ctx.resilient_parsing:  # completion in a shell must not fail over a settings file
            found = settings.load(ctx.params["config"], Path())
            ctx.meta[_SETTINGS] = found
            ctx.default_map = {name: found.defaults(name, command, COMMANDS)}
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Let an output that nobody reads any more end the program quietly."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise typer.Exit(READER_LEFT) from None


app = typer.Typer(cls=Commands, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(envvar="MILLRACE_CONFIG", help="The settings file; else millrace.toml, if it is there."),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Say the version.")] = False,
) -> None:
    """Usage events to money that can be trusted."""
    del config  # read where the command is found
    if version:
        typer.echo(f"millrace {_version()}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit(WRONG_USE)


def main() -> None:
    """Run the program with the arguments of this process and leave with its exit code."""
    code = run(sys.argv[1:])
    gc.disable()
    gc.freeze()  # the interpreter searches for garbage once more when it ends: seconds, for what ends with it
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the program and return its exit code; what goes wrong is one sentence on stderr."""
    try:
        result = typer.main.get_command(app).main(arguments, prog_name="millrace", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        result = INTERRUPTED
    except BrokenPipeError:
        result = READER_LEFT
    except Exception as error:  # noqa: BLE001 - the last place: nobody should meet a traceback
        return _complain(error)
    if result == INTERRUPTED:
        say("interrupted")
    if result == READER_LEFT:
        _drop_output()
    return result if type(result) is int else 0


def _complain(error: Exception) -> int:
    if os.environ.get("MILLRACE_TRACE"):
        traceback.print_exception(error)
    if type(error).__module__.startswith("clickhouse_connect."):
        error = import_module("sinks.inserts").translated(error, "reading it")
    if isinstance(error, TyperException):
        return _complain_of_use(error)
    say(_sentence(error))
    return WRONG_USE if isinstance(error, UsageError) else FAILURE


def _sentence(error: Exception) -> str:
    if isinstance(error, MillraceError):
        return str(error)
    if isinstance(error, typer.Abort):
        return "stopped, as asked"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full{_at(error)}: make room and run the same command again"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror.lower()}{_at(error)}"
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"this should not happen ({what}): set MILLRACE_TRACE=1 to see where, and report it"


def _at(error: OSError) -> str:
    return f" at {error.filename}" if error.filename else ""


def _complain_of_use(error: TyperException) -> int:
    """Say what click found wrong, where the value came from, and where the help is."""
    text, ctx = error.format_message(), getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(text, err=True)
        return WRONG_USE
    text = " ".join(text.rstrip(".").split())
    hint = f"; see `{ctx.command_path} --help`" if ctx else ""
    say(f"{text[:1].lower()}{text[1:]}{_origin(error)}{hint}")
    return error.exit_code


def _origin(error: TyperException) -> str:
    """Name the variable or the line of the settings file that a bad value came from; nothing for a flag."""
    ctx: Any = getattr(error, "ctx", None)
    param: Any = getattr(error, "param", None)
    source = ctx.get_parameter_source(param.name) if ctx and param else None
    match source and source.name:
        case "ENVIRONMENT":
            return f" (from {param.envvar})"
        case "DEFAULT_MAP":
            path = tuple(ctx.command_path.split()[1:])
            key = next(key for key, option in settings.keys_of(ctx.command).items() if option is param)
            return f" (from {ctx.meta[_SETTINGS].place(path, key)})"
    return ""


def _drop_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter does not stumble over it at its end."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _version() -> str:
    try:
        return metadata.version("millrace")
    except metadata.PackageNotFoundError:
        return "(not installed)"
