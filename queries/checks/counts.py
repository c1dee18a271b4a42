"""Invariants 1 and 5: what lanes have noted when records had their outcome equals the rows that stand.

A lane's progress row says how far its slots of an input are durable, and what it has counted up to there. Rows
beyond that are durable, too, but were not noted when their run was cut; they are left out here, and the run after
it counts them as replayed. So the numbers are equal at every moment, also while a run is at work.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from pipeline.findings import Finding, Result
from queries.checks.asking import Client, Row, ask

_ZONES = 500
"""Lanes in one question; a server takes 128 KiB in one parameter."""
ORIGINS_A_PASS = 2_000_000

Input = tuple[str, int]
LaneOf = tuple[int, str, int, int]
"""A run, an input, and a lane of the run."""
RunOf = tuple[int, str, int]


@dataclass(slots=True)
class Account:
    """What became of the records of one input."""

    topic: str
    partition: int
    accepted: int = 0
    """Rows of the ledger."""
    duplicates: int = 0
    rejected: int = 0
    """Rejects that are kept; a file that is read again adds none of those that it has."""
    position: int = 0
    """All records below it have their outcome."""
    begun: int = 0
    """The first offset that was read."""
    seen: int = 0
    """Behind the last offset that has an outcome."""

    @property
    def outcomes(self) -> int:
        """All of them."""
        return self.accepted + self.duplicates + self.rejected

    def saw(self, end: int) -> None:
        """Note that there are outcomes up to, not with, an offset."""
        self.seen = max(self.seen, end)


@dataclass(slots=True)
class Counts:
    """The noted counts of all lanes, and what stands."""

    noted: dict[LaneOf, Row] = field(default_factory=dict)
    lanes: dict[int, int] = field(default_factory=dict)
    accounts: dict[Input, Account] = field(default_factory=dict)


def check_counts(client: Client, without: str) -> tuple[Result, list[Account]]:
    """Compare, lane by lane, and give each input's account; rows of the topic `without` came from no input."""
    counts = _noted(client)
    result = Result(of="lanes' counts", compared=len(counts.noted))
    _compare_accepted(client, counts, without, result)
    _compare_rejected(client, counts, result)
    files = {str(row[0]) for row in client.query("SELECT DISTINCT topic FROM passes", {}, {}).result_rows}
    accounts = list(counts.accounts.values())
    result.add(_too_many(a) for a in accounts if a.topic not in files and a.outcomes > a.seen - a.begun)
    return result, accounts


def _noted(client: Client) -> Counts:
    counts = Counts()
    rows = ask(client, "progress_counts")
    for row in rows:
        counts.lanes[row["run"]] = max(counts.lanes.get(row["run"], 0), row["lanes"])
    positions: dict[tuple[str, int, int], dict[int, int]] = defaultdict(dict)
    begun: dict[Input, int] = {}
    for row in rows:
        place = row["topic"], row["partition"]
        account = counts.accounts.setdefault(place, Account(*place))
        account.duplicates += row["duplicates"]
        if row["begun"] is not None:
            begun[place] = min(begun.get(place, row["begun"]), row["begun"])
            account.begun = begun[place]
        account.saw(row["position"])
        slots = positions[(*place, row["pass"])]
        for slot in range(row["lane"], 256, row["lanes"]):
            slots[slot] = max(slots.get(slot, 0), row["position"])
        if row["lanes"] == counts.lanes[row["run"]]:
            counts.noted[row["run"], *place, row["lane"]] = row
    for (topic, partition, _), slots in positions.items():
        durable = min(slots.values()) if len(slots) == 256 else 0  # noqa: PLR2004 - all slots
        counts.accounts[topic, partition].position = durable  # of the newest pass, which comes last
    return counts


def _compare_accepted(client: Client, counts: Counts, without: str, result: Result) -> None:
    runs = sorted(counts.lanes)
    found = ask(client, "rows_by_lane", runs=runs, lanes=[counts.lanes[run] for run in runs], without=without)
    stand: dict[LaneOf, int] = {}
    cut: list[Row] = []
    for row in found:
        lane = row["run"], row["topic"], row["partition"], row["lane"]
        place = row["topic"], row["partition"]
        account = counts.accounts.setdefault(place, Account(*place))
        account.accepted += row["rows"]
        account.saw(row["last"] + 1)
        noted = counts.noted.get(lane)
        if noted is None:
            continue  # durable, and never noted: its run was cut
        stand[lane] = row["rows"]
        if row["last"] >= noted["position"]:
            cut.append(noted)
    for start in range(0, len(cut), _ZONES):
        stand |= _below(client, cut[start : start + _ZONES])
    for lane, noted in counts.noted.items():
        if stand.get(lane, 0) != noted["accepted"]:
            result.add([_accepted(noted, stand.get(lane, 0))])


def _below(client: Client, cut: list[Row]) -> dict[LaneOf, int]:
    stand = {(z["run"], z["topic"], z["partition"], z["lane"]): 0 for z in cut}
    rows = ask(
        client, "rows_below",
        runs=[z["run"] for z in cut], topics=[z["topic"] for z in cut], partitions=[z["partition"] for z in cut],
        lane=[z["lane"] for z in cut], lanes=[z["lanes"] for z in cut], positions=[z["position"] for z in cut],
    )  # fmt: skip
    return stand | {(r["run"], r["topic"], r["partition"], r["lane"]): r["rows"] for r in rows}


def _accepted(noted: Row, stand: int) -> Finding:
    advice = (
        "rows are missing: put a backup of the ledger back and run again, or give the input a new name and read it anew"
        if stand < noted["accepted"]
        else "rows came in past the program: see who else writes to this ledger"
    )
    return Finding(
        f"{noted['topic']}/{noted['partition']}, run {noted['run']}, lane {noted['lane']}",
        f"what was noted as accepted below position {noted['position']} is not what stands in the ledger",
        f"{noted['accepted']} rows",
        f"{stand}",
        advice,
    )


def _compare_rejected(client: Client, counts: Counts, result: Result) -> None:
    noted: dict[RunOf, list[Row]] = defaultdict(list)
    for (run, topic, partition, _), row in counts.noted.items():
        noted[run, topic, partition].append(row)
    stand: dict[RunOf, tuple[int, int]] = dict.fromkeys(noted, (0, 0))
    cut: list[tuple[RunOf, int, int]] = []
    for row in ask(client, "rejects_by_run"):
        place = row["topic"], row["partition"]
        account = counts.accounts.setdefault(place, Account(*place))
        account.rejected += row["rows"]
        account.saw(row["last"] + 1)
        key = (row["run"], *place)
        if key not in noted:
            continue
        stand[key] = row["rows"], row["rows"]
        positions = [line["position"] for line in noted[key]]
        least = min(positions) if len(positions) == noted[key][0]["lanes"] else 0
        if row["last"] >= least:
            cut.append((key, least, max(positions)))
    for start in range(0, len(cut), _ZONES):
        stand |= _rejects_below(client, cut[start : start + _ZONES])
    for key, lines in noted.items():
        told = sum(line["rejected"] for line in lines)
        least, most = stand[key]
        again = lines[0]["pass"] > 1  # what an earlier reading of the file has rejected is not kept twice
        if told > most and not again:
            result.add([_rejected(key, told, most)])
        elif told < least:
            result.add([_rejected(key, told, least)])


def _rejects_below(client: Client, cut: list[tuple[RunOf, int, int]]) -> dict[RunOf, tuple[int, int]]:
    stand = {key: (0, 0) for key, _, _ in cut}
    rows = ask(
        client, "rejects_below",
        runs=[key[0] for key, _, _ in cut], topics=[key[1] for key, _, _ in cut],
        partitions=[key[2] for key, _, _ in cut], least=[least for _, least, _ in cut],
        most=[most for _, _, most in cut],
    )  # fmt: skip
    return stand | {(r["run"], r["topic"], r["partition"]): (r["below_least"], r["below_most"]) for r in rows}


def _rejected(key: RunOf, told: int, stand: int) -> Finding:
    run, topic, partition = key
    return Finding(
        f"{topic}/{partition}, run {run}",
        "what was noted as rejected is not what stands among the rejects",
        f"{told} rejects",
        f"{stand}",
        "rejects are missing: put a backup of the ledger back and run again"
        if stand < told
        else "rejects came in past the program: see who else writes to this ledger",
    )


def _too_many(account: Account) -> Finding:
    return Finding(
        f"{account.topic}/{account.partition}",
        f"there are more outcomes than records from {account.begun} to {account.seen - 1}",
        f"{account.seen - account.begun} at most",
        f"{account.accepted} accepted + {account.duplicates} duplicates + {account.rejected} rejected",
        "records were counted twice: see the other findings, and report it with the runs of that time",
    )


def check_origins(client: Client, origins_a_pass: int = ORIGINS_A_PASS) -> Result:
    """No record has two outcomes."""
    sizes = "SELECT (SELECT count() FROM ledger) + (SELECT count() FROM rejected_events)"
    rows = int(client.query(sizes, {}, {}).result_rows[0][0])
    result = Result(rows, "outcomes")
    shares = -(-rows // origins_a_pass) or 1
    for share in range(shares):
        found = ask(client, "origins_twice", share=share, shares=shares)
        result.add(map(_twice, found))
        result.open += int(found[0]["differences"]) - len(found) if found else 0
    return result


def _twice(row: Row) -> Finding:
    reading = f", reading {row['pass']}" if row["pass"] else ""
    return Finding(
        f"{row['topic']}/{row['partition']}/{row['offset']}{reading}",
        "a record has more than one outcome",
        "one row or one reject",
        f"{row['rows']} rows and {row['rejects']} rejects",
        "see both with `millrace query`, take the wrong row back with a correction, and report it",
    )
