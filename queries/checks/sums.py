"""Invariant 3, and that decisions follow one another: what is summed or decided equals what the ledger has."""

from pipeline.findings import Finding, Result
from queries.checks.asking import Client, Row, ask


def check_rollups(client: Client) -> Result:
    """Each quarter hour's sums equal the rows they sum, month by month."""
    result = Result(of="months")
    for line in ask(client, "months"):
        found = ask(client, "rollup_differences", month=int(line["month"]))
        result.compared += 1
        result.add(map(_rollup, found))
        result.open += int(found[0]["differences"]) - len(found) if found else 0
    return result


def _rollup(row: Row) -> Finding:
    where = f"{row['tenant']}, {row['quarter']:%Y-%m-%dT%H:%MZ}, {row['operation']!r}, {row['settlement']}"
    off = ", ".join(str(quantity.normalize()) for quantity in row["quantities_off"])
    return Finding(
        where,
        "a quarter hour's sums differ from the ledger's rows",
        f"{row['ledger_rows']} rows and {row['ledger_pico_usd']} pico-USD as in the ledger",
        f"{row['rollup_rows']} rows and {row['rollup_pico_usd']} pico-USD (quantities off by {off})",
        "have ClickHouse make the sums anew: ALTER TABLE ledger MATERIALIZE PROJECTION by_quarter",
    )


def check_decisions(client: Client) -> Result:
    """Of each threshold of each window the decisions are crossed, cleared, crossed, and so on."""
    found = ask(client, "decisions_out_of_turn")
    result = Result(
        int(client.query("SELECT count() FROM cap_decisions", {}, {}).result_rows[0][0]), "decisions"
    )
    result.add(map(_decision, found))
    result.open += int(found[0]["differences"]) - len(found) if found else 0
    return result


def _decision(row: Row) -> Finding:
    before = "crossed" if row["state"] == "cleared" else "cleared"
    return Finding(
        f"{row['tenant']}, {row['window']} from {row['window_start']:%Y-%m-%dT%H:%MZ}, {row['threshold_percent']} %",
        f"decision {row['sequence']} says {row['state']} a second time",
        f"{before} between two decisions {row['state']}",
        f"{row['state']} twice in a row",
        "the last one holds, so no cap is wrong; report it, with the runs of that time",
    )
