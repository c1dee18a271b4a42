"""What an analyst may ask of an embedded ledger: one statement that reads the ledger, and nothing else.

The engine's own read-only mode comes after this and refuses every write, every change of a setting and every
table function that reaches out of the database. Some things pass it all the same, such as the function `file`,
`INTO OUTFILE`, `KILL` and `USE`. So the statement is parsed by the engine, written anew in its one canonical
form (no comments, no odd quotes), and judged by its syntax tree before that form is run.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

DATABASE = "millrace"
CLOSED_TABLES = frozenset({"meta"})
"""Holds the seed of the ledger's hashes."""
SYSTEM_TABLES = frozenset((
    "aggregate_function_combinators", "build_options", "collations", "columns", "completions", "contributors",
    "data_skipping_indices", "data_type_families", "databases", "disks", "formats", "functions", "keywords", "numbers",
    "one", "parts", "parts_columns", "projection_parts", "projections", "settings", "table_engines", "table_functions",
    "tables", "time_zones",
))  # fmt: skip
_OPEN_DATABASES = frozenset({DATABASE, "information_schema", "INFORMATION_SCHEMA"})
_TABLE_FUNCTIONS = frozenset((
    "generate_series", "generateSeries", "numbers", "numbers_mt", "null", "primes", "values", "view", "zeros",
    "zeros_mt",
))  # fmt: skip
"""Those that make their rows themselves."""
_CLOSED_FUNCTIONS = re.compile(
    r"file|hascolumnintable|sleep\w*|joinget\w*|dictget\w*|logtrace|ai\w+|executable\w*|catboostevaluate"
    r"|getserversetting|getmacro|hostname|fqdn|addresstoline\w*|addresstosymbol|demangle|generateserialid"
)
"""Functions that read files, reach other hosts, wait, or tell of the machine; in lower case."""
_STATEMENTS = re.compile(
    r"(SelectWithUnionQuery|SelectIntersectExceptQuery|SelectQuery|DescribeQuery|ShowTables|ShowColumns"
    r"|ShowFunctions|ShowIndexes|ShowCreateTableQuery|ShowCreateViewQuery|ExistsTableQuery|ExistsViewQuery"
    r"|ExistsDatabaseQuery|Explain)\b"
)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`")
_NODE = re.compile(r"^ *(\w+) ?(.*?)(?: \(alias .*?\))?(?: \(children \d+\))?$")
STATEMENT_MAX = 256 * 1024


class RefusedError(Exception):
    """A statement that an analyst may not run; the message says why."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Judges statements; `parse` runs a statement of ours in the engine and gives its text.

    Raises what `parse` raises for a statement that the engine does not understand.
    """

    parse: Callable[[str], str]
    table_functions: frozenset[str]
    """All that the engine has, in lower case."""

    def canonical(self, statement: str) -> str:
        """Give the statement in the engine's own form; raises `RefusedError` for one that is not let through."""
        if len(statement) > STATEMENT_MAX or "\0" in statement:
            msg = f"a statement has at most {STATEMENT_MAX} characters, none of them a NUL"
            raise RefusedError(msg)
        text = self.parse(f"SELECT formatQuerySingleLine({_literal(statement)})").rstrip("\n")
        bare = _QUOTED.sub("''", text)
        if re.search(r"\b(INTO\s+OUTFILE|FROM\s+INFILE|PARALLEL\s+WITH)\b", bare, re.IGNORECASE):
            msg = "a statement may not name a file, nor run beside another"
            raise RefusedError(msg)
        if re.search(r"\{\s*\w+\s*:\s*Identifier\s*\}", bare):
            msg = "names are written into the statement, not given as parameters"
            raise RefusedError(msg)
        self._judge(self.parse(f"EXPLAIN AST {text}").splitlines())
        return text

    def _judge(self, tree: list[str]) -> None:
        if not tree or not _STATEMENTS.match(tree[0]):
            msg = "only statements that read are let through: SELECT, SHOW TABLES, DESCRIBE, EXISTS, EXPLAIN"
            raise RefusedError(msg)
        for line in tree:
            if match := _NODE.match(line):  # else the rest of a name with a line break
                self._judge_node(match[1], match[2])

    def _judge_node(self, kind: str, name: str) -> None:
        if kind == "TableIdentifier" or kind.startswith(("ShowCreate", "Exists")):
            self._judge_table(name if kind == "TableIdentifier" else ".".join(name.split()))
        elif kind == "Identifier":
            name = ".".join(name.split(".")[:2])  # a column may follow: system.tables.database
            database, dot, table = name.partition(".")
            if name in CLOSED_TABLES or (dot and database == DATABASE and table in CLOSED_TABLES):
                raise _closed(name)
            if dot and database in {"system", "default"}:
                self._judge_table(name)
        elif kind in {"Function", "TableFunction"}:
            self._judge_function(name)

    @staticmethod
    def _judge_table(name: str) -> None:
        database, dot, table = name.partition(".")
        if not dot:
            database, table = DATABASE, name
        if database == "system" and table in SYSTEM_TABLES:
            return
        if database not in _OPEN_DATABASES or table in CLOSED_TABLES:
            raise _closed(name)

    def _judge_function(self, name: str) -> None:
        lower = name.lower()
        is_own = name in _TABLE_FUNCTIONS or lower in {"format", "values"}
        is_outside = lower in self.table_functions and not is_own
        if is_outside or _CLOSED_FUNCTIONS.fullmatch(lower):
            msg = f"the function {name} reaches out of the ledger and is not let through"
            raise RefusedError(msg)


def _closed(name: str) -> RefusedError:
    return RefusedError(f"the table {name} is not open to analysts")


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
