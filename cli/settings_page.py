"""The reference of every setting, written from the program itself: `python -m cli.settings_page > docs/settings.md`."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli import main, settings

_INTRO = """\
# Every setting

Written from the program by `python -m cli.settings_page`; a test holds it to what the program takes.

A setting is a flag, a variable of the environment, or a key of `millrace.toml`, in this order of precedence. The key is
the flag without its dashes (`--reject-budget` is `reject_budget`), at the top of the file for every command that has
the flag, in a table such as `[run]` or `[stripe.push]` for one. `--config` or `MILLRACE_CONFIG` names another file.
Where one variable stands at several commands, it holds for all of them. Switches take 1 or 0 as variables.
"""
_OUTRO = """\
## Programs for tests

| variable | what it names |
|---|---|
| `MILLRACE_TEST_KAFKA` | a Kafka to test with: host:port |
| `MILLRACE_TEST_PEERS` | a folder of the environments of the benchmark's peers |
| `MILLRACE_TEST_CLICKHOUSE` | a ClickHouse server: http://user:password@host:8123 |
| `MILLRACE_TEST_DATABASE_URL` | a database for the control store, where a test takes a URL |
| `MILLRACE_TEST_POSTGRES` | a PostgreSQL server: postgresql://user@host/database |
| `MILLRACE_TEST_STRIPE_MOCK` | the program stripe-mock |
| `MILLRACE_TEST_CHROMIUM` | a browser for the console |
| `MILLRACE_TEST_DATA` | a folder of real files |
"""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable that is no flag."""

    name: str
    read_by: str
    text: str
    is_secret: bool = False
    has_file: bool = False
    """Whether the variable with _FILE behind it may name a file instead."""


VARIABLES = (
    Variable(
        "BILLING_INTERNAL_JWT_SECRET", "`serve`, `token`", "Signs the tokens of services (HS256); 32 bytes or more.",
        is_secret=True, has_file=True,
    ),
    Variable(
        "BILLING_ADMIN_JWT_SECRET", "`serve`, `token`", "Signs the tokens of admins; not that of services.",
        is_secret=True, has_file=True,
    ),
    Variable(
        "BILLING_CALLER_HASH_KEY", "`serve`",
        "Keys the hash of callers in the audit; without it, it is made of the first door's secret.",
        is_secret=True, has_file=True,
    ),
    Variable(
        "MILLRACE_ALERT_SECRET", "`serve`", "Signs the alerts that are posted to webhooks.",
        is_secret=True, has_file=True,
    ),
    Variable(
        "MILLRACE_ANALYSTS_PASSWORD", "`analysts`, `run`, `serve`", "What analysts give; 32 bytes or more.",
        is_secret=True, has_file=True,
    ),
    Variable(
        "STRIPE_SECRET_KEY", "`stripe`, `--stripe`",
        "Stripe's key; a live one needs `--live` or `MILLRACE_STRIPE_LIVE=1`. Without it nothing is sent.",
        is_secret=True,
    ),
    Variable(
        "STRIPE_WEBHOOK_SECRET", "`stripe webhooks`, `serve`",
        "Checks the signatures of Stripe's webhooks; two by a comma while they are rolled.", is_secret=True,
    ),
    Variable("MILLRACE_TRACE", "all", "1: show where an error was raised, for a report."),
    Variable("EDITOR", "`rejects fix`", "The editor that opens a reject; `VISUAL` wins over it."),
    Variable("VISUAL", "`rejects fix`", "The editor that opens a reject."),
    Variable("NUMBA_CACHE_DIR", "all", "Where compiled inner loops are kept where the program's folder is read-only."),
)  # fmt: skip


def page() -> str:
    """Give the whole page."""
    parts = [_INTRO, _secrets(), _others()]
    for name in main.COMMANDS:
        command = main.load(name)
        parts += [_section(path, found) for path, found in _commands(command, f"millrace {name}")]
    return "\n".join([*parts, _OUTRO])


def _secrets() -> str:
    rows = [
        f"| `{one.name}` | {'`' + one.name + '_FILE`' if one.has_file else '-'} | {one.read_by} | {one.text} |"
        for one in VARIABLES
        if one.is_secret
    ]
    intro = (
        "## Secrets\n\nThey come from the environment or from a file, never from a flag, and are never shown. Weak and "
        "well-known ones are\nrefused outside `--development`. URLs of stores hold passwords, too: `MILLRACE_LEDGER`, "
        "`MILLRACE_CONTROL`.\n\n"
        "| variable | or the file named by | read by | what for |\n|---|---|---|---|"
    )
    return "\n".join([intro, *rows, ""])


def _others() -> str:
    rows = [f"| `{one.name}` | {one.read_by} | {one.text} |" for one in VARIABLES if not one.is_secret]
    return "\n".join(["## Other variables\n\n| variable | read by | what for |\n|---|---|---|", *rows, ""])


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", {})
    if not below:
        yield path, command
    for name, child in below.items():
        yield from _commands(child, f"{path} {name}")


def _section(path: str, command: Any) -> str:
    options = settings.keys_of(command)
    lines = [f"## `{path}`", ""]
    if not options:
        return "\n".join([*lines, "No settings.", ""])
    lines += ["| flag | variable | default | what |", "|---|---|---|---|"]
    lines += [_row(option) for option in options.values()]
    return "\n".join([*lines, ""])


def _row(option: Any) -> str:
    flag = max(option.opts, key=len)
    more = f" / `{option.secondary_opts[0]}`" if option.secondary_opts else ""
    variable = option.envvar if isinstance(option.envvar, str) else ", ".join(option.envvar or ())
    text = " ".join((option.help or "").split()).replace("|", "\\|")
    return f"| `{flag}`{more} | `{variable}` | {_default(option)} | {text} |"


def _default(option: Any) -> str:
    if option.required:
        return "must be given"
    value = option.default
    if callable(value) or value is None or value == [] or type(value).__name__ == "Sentinel":
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    shown = getattr(value, "value", value)
    text = shown.as_posix() if isinstance(shown, Path) else str(shown)
    return f"`{text}`" if text else "-"


if __name__ == "__main__":
    sys.stdout.write(page())
