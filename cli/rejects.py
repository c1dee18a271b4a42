"""`millrace rejects`: what was not accepted, and why; mended and handed in again."""

import base64
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from clickhouse_connect.driver.client import Client

from cli.clock import SystemClock
from cli.reading import Form, emit, opened, who
from cli.rejects_replay import replay
from pipeline.errors import UsageError
from pipeline.event import Reason, Reject
from pipeline.sources.replays import format_of
from pipeline.strict import Rules, decode_event
from queries.named import find_query
from queries.reading import Format, Session
from queries.rejects import Rejected, look_at
from queries.table import laid_out, printable
from sinks.clickhouse import migrate
from sinks.replay_log import keep_fix

app = typer.Typer(help="List what was rejected, mend it, hand it in again.", no_args_is_help=True)
app.command()(replay)

REASONS = tuple(reason.code for reason in Reason if reason is not Reason.NONE)
LedgerOption = Annotated[str | None, typer.Option(envvar="MILLRACE_LEDGER", help="The URL of the ledger.")]
NameArgument = Annotated[str, typer.Argument(help="Its name, or how that begins.", show_default=False)]


@app.callback()
def main() -> None:
    """List what was rejected, look at it, mend it and hand it in again."""


@app.command("list")
def list_(  # noqa: PLR0913, PLR0917 - one argument for each flag
    ledger: LedgerOption = None,
    reason: Annotated[str, typer.Option(help="Only this reason.")] = "",
    topic: Annotated[str, typer.Option(help="Only this topic or source name.")] = "",
    tenant: Annotated[str, typer.Option(help="Only what names this tenant, as far as it can be read.")] = "",
    since: Annotated[str, typer.Option(help="Only what was rejected from this moment on (UTC).")] = "",
    open_: Annotated[bool, typer.Option("--open", help="Only what was not handed in again yet.")] = False,
    skip: Annotated[int, typer.Option(min=0, help="Leave so many out at the beginning.")] = 0,
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0: all.")] = 0,
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.TABLE,  # noqa: A002
    out: Annotated[Path | None, typer.Option(help="Write to this file instead.")] = None,
) -> None:
    """List rejected inputs in the order of their places, each with its reason, its bytes, and what came of it.

    A table shows the beginning of the bytes, control characters by their codes; the other formats have all:
    `raw` as text and, where that is no UTF-8, `raw_base64` exactly.
    """
    check_reason(reason)
    query = find_query("reject_list")
    bound = query.bind({
        "reason": reason, "topic": topic, "tenant": tenant, "since": since, "open": "yes" if open_ else "",
        "skip": skip, "limit": limit,
    })  # fmt: skip
    with opened(ledger) as client:
        upgrade(client)
        emit(Session(client).write(query.sql, bound, format, f"the query {query.name}"), out)


@app.command()
def show(
    name: NameArgument,
    ledger: LedgerOption = None,
    format: Annotated[Form, typer.Option(help="How to write it.")] = Form.TABLE,  # noqa: A002
) -> None:
    """Show one reject whole: its bytes, its place, its sentence, what it met, and what came of handing it in."""
    with opened(ledger) as client:
        upgrade(client)
        found = look_at(client, name)
    if format is Form.JSON:
        typer.echo(json.dumps(_report(found), indent=2, ensure_ascii=False))
    else:
        typer.echo(_text(found), nl=False)


@app.command()
def fix(
    name: NameArgument,
    file: Annotated[
        str | None, typer.Option(metavar="PATH", help="The mended line; - is stdin.", show_default=False)
    ] = None,
    editor: Annotated[
        bool, typer.Option("--editor", help="Mend it in the editor that VISUAL or EDITOR names.")
    ] = False,
    ledger: LedgerOption = None,
) -> None:
    """Keep a mended line beside a reject; `millrace rejects replay` hands it in. The reject stays as it was."""
    if (file is None) == (not editor):
        msg = "the mended line comes from --file PATH (- is standard input) or --editor: give one of them"
        raise UsageError(msg)
    with opened(ledger) as client:
        upgrade(client)
        found = look_at(client, name)
        _refuse_replayed(found)
        before = found.fixes[0]["raw"] if found.fixes else found.row["raw"]
        line = _edited(before) if editor else _given(str(file))
        if line in {before, found.row["raw"]}:
            msg = "the line is as it was, so there is nothing to keep: hand it in with `rejects replay`"
            raise UsageError(msg)
        keep_fix(client, found.row["reject"], line, who(), SystemClock().now_ms())
    reject = found.row["reject"]
    typer.echo(f"the mended line is kept: hand it in with `millrace rejects replay {reject}`")
    judged = decode_event(line, SystemClock().now_ms(), Rules()) if _is_event(line) else None
    if isinstance(judged, Reject):
        typer.echo(f"millrace: it would be refused again as {judged.reason.code}: {judged.detail}", err=True)


def check_reason(reason: str) -> None:
    """Raise `UsageError` for a reason that is none."""
    if reason and reason not in REASONS:
        msg = f"there is no reason {reason!r}: it is one of {', '.join(REASONS)}"
        raise UsageError(msg)


def upgrade(client: Client) -> None:
    """Bring a ledger that an older program made up to date: rejects have names since."""
    if not int(str(client.command("EXISTS VIEW reject_outcomes"))):
        migrate(client)


def _refuse_replayed(found: Rejected) -> None:
    if found.replay is None:
        return
    name, outcome = found.row["reject"], found.replay["outcome"]
    msg = {
        "rejected": f"what came of it is the reject {found.replay['became']}: mend that one",
        "pending": "it is being handed in: finish that with `millrace rejects replay`",
    }.get(outcome, "there is nothing to mend")
    raise UsageError(f"the reject {name} was handed in and is {outcome}: {msg}")


def _given(place: str) -> bytes:
    try:
        text = sys.stdin.buffer.read() if place == "-" else Path(place).read_bytes()
    except OSError as error:
        raise UsageError(f"{place} cannot be read: {(error.strerror or str(error)).lower()}") from error
    return _line(text)


def _edited(line: bytes) -> bytes:
    program = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not program:
        msg = "no editor is named: set VISUAL or EDITOR, or give --file PATH"
        raise UsageError(msg)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "line.json")
        path.write_bytes(line + b"\n")
        done = subprocess.run([*shlex.split(program), str(path)], check=False)  # noqa: S603 - the user's own editor
        if done.returncode:
            msg = f"{program} ended with {done.returncode}, so nothing is kept: mend the line and leave it normally"
            raise UsageError(msg)
        return _line(path.read_bytes())


def _line(text: bytes) -> bytes:
    line = text.strip(b"\r\n")
    if not line.strip():
        msg = "the mended line is empty: give the whole event"
        raise UsageError(msg)
    return line


def _is_event(line: bytes) -> bool:
    return format_of(line, "auto") == "cloudevents"


def _report(found: Rejected) -> dict[str, Any]:
    conflict = found.conflict
    return {
        **_plain(found.row),
        "tenant": found.content.tenant,
        "key": found.content.key,
        "voids": found.content.voids,
        "conflict": None if conflict is None else {"first": conflict.first, "this": conflict.this},
        "met": _maybe(found.met),
        "fixes": [_plain(line) for line in found.fixes],
        "replay": _maybe(found.replay),
        "row": _maybe(found.became),
        "was": _maybe(found.was),
    }


def _maybe(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if row is None else _plain(row)


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, datetime):
            plain[name] = f"{value.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
        elif isinstance(value, bytes):
            plain[name] = value.decode(errors="replace")
            if value != plain[name].encode():
                plain[f"{name}_base64"] = base64.b64encode(value).decode()
        else:
            plain[name] = value
    return plain


def _text(found: Rejected) -> str:
    row = _plain(found.row)
    lines = [
        f"reject {row['reject']}: {row['reason']}",
        f"  {printable(row['detail'])}",
        f"  from {printable(row['topic'])}/{row['partition']}/{row['offset']}, {row['rejected_at']}, run {row['run']}",
    ]
    if found.conflict is not None:
        lines.append(f"  fingerprints: {found.conflict.first} stands, this one has {found.conflict.this}")
    lines += [
        f"  mended by {printable(line['who'])}, {line['fixed_at']}: {printable(line['raw'])}"
        for line in map(_plain, found.fixes)
    ]
    if found.was is not None:
        was = _plain(found.was)
        lines.append(
            f"  it was the reject {was['reject']} ({was['reason']}), line {was['number']} of the replay log"
        )
    if found.replay is not None:
        done = _plain(found.replay)
        became = f" as the reject {done['became']}" if done["became"] else ""
        how = ", mended by hand" if done["by_hand"] else ""
        place = f"line {done['number']} of the replay log{how}"
        lines.append(f"  handed in {done['replayed_at']} as {place}: {done['outcome']}{became}")
    parts = [("The row that it became, or met", found.became), ("The row that it met", found.met)]
    tables = [_row(title, line) for title, line in parts if line is not None][:1]
    return "\n".join([*lines, "", printable(row["raw"]), "", *tables])


def _row(title: str, row: Mapping[str, Any]) -> str:
    cells = [printable(str(value)) for value in _plain(row).values()]
    return f"{title}\n{laid_out(list(row), [False] * len(cells), [cells])}"
