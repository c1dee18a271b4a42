"""`millrace reconcile`: the ledger against itself and what was made of it; what stands twice is taken back.

`CHECKS` is the list of what is compared; a further invariant is a further line there.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from clickhouse_connect.driver.client import Client

from billing.books import check_books
from billing.cap_checks import check_caps
from cli.clock import SystemClock
from cli.explain import HERE
from cli.known_accounts import known_accounts
from cli.progress import quiet_stdout
from cli.reading import opened
from cli.stripe_desk import Desk, open_desk
from cli.telling import say
from pipeline.accounts import Accounts
from pipeline.catalog import Catalog, load_catalog
from pipeline.findings import Finding, Result
from pipeline.spend import SpendWindows
from queries.checks.asking import ask
from queries.checks.counts import Account, check_counts, check_origins
from queries.checks.rates import check_rates
from queries.checks.sums import check_decisions, check_rollups
from queries.table import laid_out, printable
from sinks.clickhouse import connect, is_embedded
from sinks.decisions import load_windows
from sinks.doubles import TOPIC, Double, Doubles, Reversals, seeds_of
from sinks.inserts import Retry
from sinks.ledger import Ledger
from sinks.mirrors import check_corrections
from sinks.stripe_usage import EPOCH, LedgerUsage

app = typer.Typer(help="Compare the ledger with what it was made from, and mend it.")
DIFFERENT = 1
LOOKS, PAUSE_S = 3, 1
"""A run that is at work moves what is compared: a difference counts when it is there at every look."""
_SHOWN_ACCOUNTS = 1_000


@dataclass(slots=True)
class Ground:
    """What the checks work with."""

    url: str
    client: Client
    accounts: Accounts | None
    catalog: Catalog | None
    sample: int
    dry_run: bool
    desk: Callable[[], Any]
    """Opens the Stripe outbox; gives None where there is none."""
    run: int | None = None
    """The number of the run that wrote reversals; None: nothing was written."""
    inputs: list[Account] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold."""

    name: str
    invariant: str
    """Its number among the invariants of the design."""
    holds: str
    judge: Callable[[Ground], Result]


def check_keys(ground: Ground) -> Result:
    """Find what stands twice and take back all but the first, under a run's number."""
    streaming = connect(ground.url)
    try:
        doubles = Doubles(streaming, ground.client)
        result = _found(doubles, doubles.find())
        if result.open == 0 or ground.dry_run:
            return result
        run = Ledger(ground.url, SystemClock()).begin_run(secrets.randbits(128))
        reversals = Reversals(ground.client, run, SystemClock(), Retry(report=say))
        ground.run = run.number
        return _found(doubles, _mended(Doubles(streaming, ground.client), reversals), is_mending=True)
    finally:
        streaming.close()


def _mended(doubles: Doubles, reversals: Reversals) -> Iterator[list[Double]]:
    for some in doubles.find():
        reversals.write(extra for double in some for extra in double.to_reverse)
        yield some


def _found(doubles: Doubles, found: Iterator[list[Double]], *, is_mending: bool = False) -> Result:
    result = Result(doubles.rows, "rows")
    for some in found:
        result.add(_double(d, is_mending=is_mending) for d in some if d.to_reverse or d.trouble)
    return result


def _double(double: Double, *, is_mending: bool) -> Finding:
    what = "a key stands more than once" if double.kind == "key" else "a key was voided more than once"
    prints = {row.fingerprint for row in double.rows}
    got = f"{len(double.rows)} rows ({', '.join(row.place for row in double.rows)})"
    if len(prints) > 1:
        got += ", not all of the same content: the later ones are conflicts"
    taken = sum(extra.row.row.pico_usd for extra in double.to_reverse)
    advice = (
        double.trouble
        and f"{double.trouble}, so it is left as it is: see `millrace explain`, correct it by hand"
    )
    if not advice:
        advice = f"{len(double.to_reverse)} reversals of {taken} pico-USD " + (
            "were written" if is_mending else "are due: run `millrace reconcile` without --dry-run"
        )
    where = f"{double.tenant} {double.key!r}"
    return Finding(where, what, "one row", got, advice, is_mending and not double.trouble)


def check_inputs(ground: Ground) -> Result:
    """Hold what was noted of each input against what stands."""
    result, ground.inputs = check_counts(ground.client, TOPIC)
    return result


def check_windows(ground: Ground) -> Result:
    """Hold each window's last decision against the ledger's sum."""
    result = Result(of="windows")
    if ground.accounts is None:
        result.not_checked = "no limits are known: give --accounts or --control"
        return result
    windows = SpendWindows(0, 1, ground.accounts, load_windows(ground.client, ground.accounts))
    result.compared = len(windows.state().pico)
    for d in windows.settle():
        where = f"{d.tenant}, {d.window} from {_utc(d.window_start_s)}, {d.threshold_percent} % of {d.limit_micro_usd}"
        before = "no decision, or cleared" if d.state == "crossed" else "crossed"
        result.add([
            Finding(
                where, "the last decision is not what the ledger's sum says",
                f"{d.state} at {d.current_micro_usd} micro-USD", before,
                "the next `millrace run` with these accounts decides it at its start",
            )
        ])  # fmt: skip
    return result


def check_stripe(ground: Ground) -> Result:
    """Hold what was told, is owed and is carried against the metered rows."""
    result = Result(of="tenants' meters")
    with ground.desk() as desk:
        if desk is None:
            result.not_checked = "no Stripe outbox is here: name it with --state or --control"
            return result
        planning = desk.planning(running=True)
        since_ms = max(desk.declaration.bill_from, EPOCH) * 1000
        rows = ask(ground.client, "metered_rows", since_ms=since_ms)
        metered = {str(row["tenant"]): int(row["pico_usd"]) for row in rows}
        return check_books(desk.store, LedgerUsage(ground.client), planning, metered)


def check_prices(ground: Ground) -> Result:
    """Rate rows again."""
    if ground.catalog is None:
        return Result(not_checked="no prices are known: give --catalog")
    return check_rates(ground.client, ground.catalog, ground.sample)


def check_voids(ground: Ground) -> Result:
    """Hold corrections against what they take back."""
    streaming = connect(ground.url)
    try:
        return check_corrections(streaming, ground.client, seeds_of(ground.client), ground.sample)
    finally:
        streaming.close()


def check_money(ground: Ground) -> Result:
    """Hold what the caps keep against itself, and the audit's chains against their heads."""
    with ground.desk() as desk:
        if desk is None:
            return Result(
                of="tenants", not_checked="no control store is here: name it with --state or --control"
            )
        return check_caps(desk.store, SystemClock().now_ms())


KEYS = Check("keys", "2", "each key counts once", check_keys)
CHECKS = (
    Check("inputs", "1, 5", "accepted and rejected were noted as they stand", check_inputs),
    Check("records", "1", "each record has one outcome", lambda g: check_origins(g.client)),
    Check("corrections", "2", "each correction takes back exactly what it voids", check_voids),
    Check("sums", "3", "the quarter-hour sums equal the rows", lambda g: check_rollups(g.client)),
    Check("windows", "3, 7", "the last decision of each window is what its sum says", check_windows),
    Check("decisions", "7", "each crossing was decided once", lambda g: check_decisions(g.client)),
    Check("stripe", "4", "told + owed + carried = metered rows", check_stripe),
    Check("caps", "3, 4", "holds, credits, settlements and the audit agree with themselves", check_money),
    Check("prices", "6", "rating again under the same version gives the same", check_prices),
)
"""Beside `KEYS`, which comes first: it mends."""


@app.command()
def reconcile(  # noqa: PLR0913, PLR0917 - one argument for each flag
    ledger: Annotated[
        str | None, typer.Option(envvar="MILLRACE_LEDGER", help="The URL of the ledger.")
    ] = None,
    accounts: Annotated[
        Path | None, typer.Option(envvar="MILLRACE_ACCOUNTS", help="Limits and time zones, to check windows.")
    ] = None,
    catalog: Annotated[
        Path | None, typer.Option(envvar="MILLRACE_CATALOG", help="Prices, to rate rows again.")
    ] = None,
    state: Annotated[
        Path, typer.Option(envvar="MILLRACE_STATE", help="The folder of the control store, to check Stripe.")
    ] = HERE,
    control: Annotated[
        str | None,
        typer.Option(envvar="MILLRACE_CONTROL", help="The control store's URL, in place of --state."),
    ] = None,
    meters: Annotated[
        Path | None, typer.Option(envvar="MILLRACE_METERS", help="The meters file that reports go by.")
    ] = None,
    sample: Annotated[
        int, typer.Option(min=0, help="About so many rows are rated again, and corrections compared; 0: all.")
    ] = 10_000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing, only say what is due.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="The report as JSON, alone on stdout.")] = False,
) -> None:
    """Take back what stands twice, then compare the ledger with all that must equal it; exits 1 for a difference."""
    prices = load_catalog(catalog) if catalog else None
    limits = known_accounts(accounts, control) if accounts or control else None
    with quiet_stdout(), opened(ledger) as client:
        ground = Ground(
            str(ledger), client, limits, prices, sample, dry_run,
            lambda: _desk(state, control, meters, accounts),
        )  # fmt: skip
        results = [(check, _judged(check, ground)) for check in (KEYS, *CHECKS)]
    report = _report(ground, results)
    typer.echo(
        json.dumps(report, indent=2, ensure_ascii=False) if json_ else _text(report, results), nl=json_
    )
    if not report["equal"]:
        raise typer.Exit(DIFFERENT)


def _judged(check: Check, ground: Ground) -> Result:
    result = check.judge(ground)
    for _ in range(0 if is_embedded(ground.url) or check is KEYS else LOOKS - 1):
        if not result.open:
            break
        time.sleep(PAUSE_S)
        result = check.judge(ground)
    return result


@contextmanager
def _desk(
    state: Path, control: str | None, meters: Path | None, accounts: Path | None
) -> Iterator[Desk | None]:
    """Open the control store where there is one: looking for it does not make it."""
    if control is None and not (state.absolute() / "control.db").exists():
        yield None
        return
    with open_desk(state, control, meters, accounts) as desk:
        yield desk


def _report(ground: Ground, results: list[tuple[Check, Result]]) -> dict[str, Any]:
    return {
        "equal": not any(result.open for _, result in results),
        "mended": sum(result.mended for _, result in results),
        "dry_run": ground.dry_run,
        "run": ground.run,
        "checks": [
            {
                "name": check.name, "invariants": check.invariant, "holds": check.holds, "state": _state(result),
                "compared": result.compared, "of": result.of, "open": result.open, "mended": result.mended,
                "not_checked": result.not_checked,
                "findings": [
                    {
                        "where": f.where, "what": f.what, "expected": f.expected, "got": f.got, "advice": f.advice,
                        "is_mended": f.is_mended, "sentence": f.sentence,
                    }
                    for f in result.findings
                ],
            }
            for check, result in results
        ],
        "inputs": [
            {
                "topic": a.topic, "partition": a.partition, "accepted": a.accepted, "duplicates": a.duplicates,
                "rejected": a.rejected, "outcomes": a.outcomes, "position": a.position,
            }
            for a in ground.inputs[:_SHOWN_ACCOUNTS]
        ],
    }  # fmt: skip


def _state(result: Result) -> str:
    if result.open:
        return "differs"
    if result.not_checked:
        return "not checked"
    return "mended" if result.mended else "equal"


def _text(report: dict[str, Any], results: list[tuple[Check, Result]]) -> str:
    rows = [
        [
            check.name,
            check.invariant,
            printable(result.not_checked or check.holds),
            _state(result),
            f"{result.compared} {result.of}" if not result.not_checked else "",
            str(result.open + result.mended),
            str(result.mended),
        ]
        for check, result in results
    ]
    names = ("check", "invariant", "what must hold", "state", "compared", "differences", "mended")
    lines = [laid_out(names, [False] * 5 + [True] * 2, rows)]
    for _, result in results:
        lines += [f"{printable(finding.sentence)}\n" for finding in result.findings]
        more = result.open + result.mended - len(result.findings)
        lines += [f"and {more} more\n"] if more else []
    return "".join([*lines, "\n" if len(lines) > 1 else "", _verdict(report), "\n"])


def _verdict(report: dict[str, Any]) -> str:
    open_ = sum(check["open"] for check in report["checks"])
    mended = report["mended"]
    keys = (
        "1 key that stood more than once was"
        if mended == 1
        else f"{mended} keys that stood more than once were"
    )
    done = f"{keys} mended as run {report['run']}; " if mended else ""
    if open_:
        return f"{done}1 difference is open." if open_ == 1 else f"{done}{open_} differences are open."
    return f"{done}all that was checked is equal."


def _utc(epoch_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(epoch_s))
