"""Where settings come from: a flag, else a `MILLRACE_...` variable, else `millrace.toml`, else the default.

`millrace.toml` lies in the current folder, or `--config` or `MILLRACE_CONFIG` names it. A key is the name of
a flag without its dashes (`reject_budget` or `reject-budget`). At the top it holds for every command that has
the flag; in a table such as `[run]` or `[stripe.push]` for that command alone. Values mean what they would
mean behind the flag: paths, too, are seen from the current folder.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.toml_file import Table, parse_toml, read_toml, shown, suggestion

FILE_NAME = "millrace.toml"
_WHAT = "the settings file"
_NO_SETTINGS = frozenset({"help", "config", "version", "install_completion", "show_completion"})

KEYS = frozenset(
    (
        "accept_gap",
        "accounts",
        "analysts_port",
        "rows_max",
        "seconds_max",
        "user",
        "again",
        "refresh_ms",
        "development",
        "access_log",
        "head_timeout_s",
        "body_timeout_s",
        "body_max",
        "admin_audience",
        "admin_issuer",
        "audience",
        "issuer",
        "as",
        "at",
        "batch",
        "block_rows",
        "brokers",
        "catalog",
        "chunk_bytes",
        "cluster",
        "console",
        "connections",
        "control",
        "create_customers",
        "customers",
        "days",
        "dead_letters",
        "decisions",
        "decisions_topic",
        "dedupe_horizon_hours",
        "dry_run",
        "editor",
        "end",
        "events",
        "failed",
        "file",
        "files",
        "finalize",
        "flush_ms",
        "format",
        "full",
        "grace_s",
        "group",
        "gzip",
        "health_host",
        "health_port",
        "hold",
        "host",
        "hot_keys_max",
        "rounds",
        "memory",
        "peers",
        "profile",
        "flat",
        "horizon",
        "latency",
        "complete",
        "from_kafka",
        "work",
        "quick",
        "guard",
        "seconds",
        "http",
        "header",
        "only",
        "in_flight",
        "json",
        "kafka",
        "lag",
        "lanes",
        "late",
        "ledger",
        "limit",
        "list",
        "live",
        "lives_s",
        "log_tenant",
        "mapping",
        "meters",
        "metrics_host",
        "metrics_port",
        "now",
        "once",
        "open",
        "out",
        "param",
        "period",
        "port",
        "process",
        "rate",
        "rates",
        "reads",
        "reads_a_day",
        "reason",
        "reject_budget",
        "rejects_in_a_row",
        "reports",
        "restored",
        "rows",
        "sample",
        "seed",
        "since",
        "skip",
        "source",
        "spool",
        "spool_keep_mb",
        "spool_room_mb",
        "state",
        "stream",
        "strict_only",
        "stripe",
        "stripe_url",
        "stuck_after_s",
        "tenant",
        "tenants",
        "topic",
        "types",
        "trials",
        "type",
        "unattributed_tenant",
        "unknown_tenants",
        "until",
        "until_end",
        "verbose",
        "wait",
        "webhook",
        "why",
        "workers",
        "action",
        "display_name",
        "expires",
        "key",
        "label",
        "mode",
        "pool",
        "priority",
        "scope",
        "spend_day",
        "spend_month",
        "stripe_customer",
        "tenant_from_subject",
        "threshold",
        "tier",
        "time_zone",
        "kind",
        "yes",
    )
)
"""The keys of all commands: a misspelt one is found without loading every command (a test holds it)."""

Entries = Mapping[str, tuple[Table, str]]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings file of this call; an absent one is empty."""

    root: Table

    def defaults(self, name: str, command: Any, commands: Collection[str]) -> dict[str, Any]:
        """Return click's `default_map` for the click command `name` and all that is below it.

        The nearest table wins. Raises `ConfigError`, with its line, for a key that names no flag of the
        command, for one at the top that names no flag of any, and for a table that names none of `commands`.
        """
        known = KEYS | _all_options(command)
        for key, value in self.root.values.items():
            if isinstance(value, dict):
                _known(self.root, key, key in commands, commands)
            else:
                _known(self.root, key, _normal(key) in known, known)
        return _defaults(command, self.root.table(name) if name in self.root else None, _entries(self.root))

    def place(self, path: tuple[str, ...], key: str) -> str:
        """Say where the value of a flag for a command stands, such as `millrace.toml:3`."""
        tables = [self.root]
        for part in path:
            if not isinstance(tables[-1].values.get(part), dict):
                break
            tables.append(Table(self.root.file, (*tables[-1].place, part), tables[-1].values[part]))
        for table in reversed(tables):
            entry = _entries(table).get(key)
            if entry is not None:
                return f"{table.file.name}:{table.file.line((*table.place, entry[1]))}"
        return self.root.file.name


def load(named: Path | None, folder: Path) -> Settings:
    """Read the file that is named, else `millrace.toml` in `folder`, else nothing; raises `ConfigError`."""
    path = named or folder / FILE_NAME
    if named is None and not path.exists():
        return Settings(parse_toml("", FILE_NAME, _WHAT))
    return Settings(read_toml(path, _WHAT))


def keys_of(command: Any) -> dict[str, Any]:
    """Return the click options of a command by their key in the settings file."""
    named = {
        _normal(max(param.opts, key=len).lstrip("-")): param
        for param in command.params
        if param.param_type_name == "option"
    }
    return {key: param for key, param in named.items() if key not in _NO_SETTINGS}


def leaves(command: Any) -> Iterator[Any]:
    """Go through a click command and all commands below it."""
    yield command
    for child in _children(command).values():
        yield from leaves(child)


def name_variables(command: Any, name: str) -> None:
    """Give each flag that names no variable one of its command: `MILLRACE_STRIPE_PUSH_LIMIT`."""
    for key, param in keys_of(command).items():
        param.envvar = param.envvar or f"MILLRACE_{name}_{key}".replace("-", "_").upper()
    for child_name, child in _children(command).items():
        name_variables(child, f"{name}_{child_name}")


def _defaults(command: Any, table: Table | None, inherited: Entries) -> dict[str, Any]:
    """Fill in one command, then its children, which inherit what stands nearer to the top."""
    children = _children(command)
    if table is not None:
        _refuse_unknown(table, _all_options(command), children)
        inherited = {**inherited, **_entries(table)}
    values: dict[str, Any] = {
        param.name: _value(*inherited[key], param)
        for key, param in keys_of(command).items()
        if key in inherited
    }
    for name, child in children.items():
        below = table.table(name) if table is not None and name in table else None
        values[name] = _defaults(child, below, inherited)
    return values


def _refuse_unknown(table: Table, options: Collection[str], children: Collection[str]) -> None:
    for key, value in table.values.items():
        known = children if isinstance(value, dict) else options
        _known(table, key, (key if isinstance(value, dict) else _normal(key)) in known, known or options)


def _known(table: Table, key: str, is_known: bool, known: Collection[str]) -> None:
    if not is_known:
        where = f" in {table.label()}" if table.place else ""
        table.fail(key, f"unknown key {key!r}{where}: {suggestion(key, sorted(known))}")


def _value(table: Table, key: str, param: Any) -> Any:
    """Read a value as the text that it would be behind the flag; switches stay true or false."""
    value = table.values[key]
    if getattr(param, "is_flag", False):
        return table.flag(key)
    if param.multiple or param.nargs != 1:
        return [str(element) for element in table.list(key) or []]
    if isinstance(value, bool | list):
        table.fail(key, f"{table.label(key)} must be one text or number, not {shown(value)}")
    return str(value)


def _entries(table: Table) -> Entries:
    return {_normal(key): (table, key) for key, value in table.values.items() if not isinstance(value, dict)}


def _all_options(command: Any) -> frozenset[str]:
    return frozenset(key for leaf in leaves(command) for key in keys_of(leaf))


def _children(command: Any) -> dict[str, Any]:
    return getattr(command, "commands", {})


def _normal(key: str) -> str:
    return key.replace("-", "_")
