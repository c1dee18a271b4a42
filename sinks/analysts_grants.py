"""Analysts on a ClickHouse server: a profile with limits, a role that reads the ledger's tables, and a user."""

import re
from collections.abc import Sequence

from pipeline.errors import UsageError
from sinks.analysts import Account, Limits
from sinks.analysts_gate import CLOSED_TABLES

ROLE = "millrace_analyst"
_NAME = re.compile(r"[A-Za-z_]\w{0,62}")


def grants(database: str, tables: Sequence[str], account: Account, limits: Limits) -> list[str]:
    """Give the statements, in their order; each may be repeated. Raises `UsageError` for an odd name of a user.

    The profile is read-only with `readonly = 2`, which lets a tool choose the format of its answer; the limits
    cannot be changed, and no source outside the database is granted.
    """
    if not _NAME.fullmatch(account.user):
        msg = f"the user {account.user!r} is no plain name: take letters, digits and underscores"
        raise UsageError(msg)
    held = ", ".join(f"{name} = {value} CONST" for name, value in limits.settings().items())
    profile = f"{ROLE}_limits"
    opened = [table for table in tables if table not in CLOSED_TABLES]
    return [
        f"CREATE SETTINGS PROFILE IF NOT EXISTS {profile}",
        f"ALTER SETTINGS PROFILE {profile} SETTINGS readonly = 2 CONST, {held}",
        f"CREATE ROLE IF NOT EXISTS {ROLE}",
        *(f"GRANT SELECT ON {_quoted(database)}.{_quoted(table)} TO {ROLE}" for table in opened),
        f"GRANT SELECT ON system.parts TO {ROLE}",
        f"GRANT SELECT ON system.disks TO {ROLE}",
        f"CREATE USER IF NOT EXISTS {account.user} IDENTIFIED WITH sha256_password BY {_text(account.password)}",
        f"ALTER USER {account.user} IDENTIFIED WITH sha256_password BY {_text(account.password)}",
        f"ALTER USER {account.user} SETTINGS PROFILE {_text(profile)}",
        f"GRANT {ROLE} TO {account.user}",
        f"ALTER USER {account.user} DEFAULT ROLE {ROLE}",
    ]


def without_password(statement: str) -> str:
    """The statement as it may be shown."""
    return re.sub(r" BY '(?:[^'\\]|\\.)*'", " BY '***'", statement)


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
