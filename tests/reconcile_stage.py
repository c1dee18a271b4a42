"""Ledgers in which keys stand twice: retries with a fresh time that came after the dedupe horizon."""

import json
import random
import tomllib

import cli.run
from cli.clock import SystemClock
from cli.run import RunOptions, run_files
from tests.model import Model

CATALOG = """
version = "2026-01"

[kinds.compute]
components = [
  { source = "compute", basis = "per-unit", micro_usd = "33.333333" },
  { source = "openai", basis = "per-1k-tokens", micro_usd = "2000.5" },
]
[kinds.traffic]
components = [{ source = "egress", basis = "per-mb", micro_usd = "90", quantity = "bytes" }]

[operations.gift]
components = [{ source = "compute", basis = "per-call", micro_usd = "7" }]
settlement = { method = "free" }
"""
ACCOUNTS = """
[tenants.acme]
time_zone = "Asia/Kathmandu"
stripe_customer = "cus_1"
thresholds_percent = [10, 50, 100]
spendLimit.dailySpendUsd = "0.05"
spendLimit.monthlySpendUsd = "0.08"
"""
HOUR_MS = 3_600_000
TENANTS = ("acme", "böse 'tenant'", "other")


class EarlierClock(SystemClock):
    """A clock that is behind by so many hours."""

    hours = 0

    def now_ms(self):
        return super().now_ms() - self.hours * HOUR_MS


def settings_of(folder):
    (folder / "catalog.toml").write_text(CATALOG)
    (folder / "accounts.toml").write_text(ACCOUNTS)
    return folder / "catalog.toml", folder / "accounts.toml"


def model_of():
    return Model([tomllib.loads(CATALOG)], tomllib.loads(ACCOUNTS))


def usage(source, key, tenant):
    """An event without a time; 1 to 3 kinds of quantities."""
    kind = source.choice(("compute", "compute", "traffic"))
    data = {"operation": source.choice(("ask", "gift", "über"))}
    if kind == "compute":
        data |= {"units": source.randrange(1, 999) / 8, "usage": {"openai": source.randrange(5_000)}}
    else:
        data |= {"response_bytes": source.randrange(10**7), "method": "GET", "endpoint": "/x"}
    return {
        "specversion": "1.0", "id": key, "source": "/s", "type": kind, "tenant": tenant,
        "subject": source.choice(("ann", "bob")), "idempotencykey": key, "data": data,
    }  # fmt: skip


def correction(key, tenant, name):
    return {
        "specversion": "1.0", "id": f"{name}-{key}", "source": "/s", "type": "correction", "tenant": tenant,
        "data": {"voids": key, "reason": "wrong"},
    }  # fmt: skip


def first_and_again(seed, events):
    """A stream, and one that comes hours later: retries of it (some of other content), new usage, corrections."""
    source = random.Random(seed)
    keys = [(f"k-{n}", source.choice(TENANTS)) for n in range(events)]
    first = [usage(source, key, tenant) for key, tenant in keys]
    first += [correction(*place, "early") for place in source.sample(keys, events // 10)]
    again = [dict(event) for event in source.sample(first[:events], events // 2)]
    for event in source.sample(again, max(len(again) // 5, 1)):
        event["data"] = usage(source, "x", "x")["data"] | {"operation": event["data"]["operation"]}
        event["data"].pop("method", None)
    again += [usage(source, f"new-{n}", source.choice(TENANTS)) for n in range(events // 10)]
    again += [correction(*place, "late") for place in source.sample(keys, events // 10)]
    return first, again


def run_at(ledger, folder, name, events, hours_ago, monkeypatch, **more):
    """Run a file as it would have been so many hours ago, with no keys in memory but those of the last hour."""
    text = "\n".join(json.dumps(event) for event in events)
    if not (folder / name).exists() or (folder / name).read_text() != text:
        (folder / name).write_text(text)
    catalog, accounts = settings_of(folder)
    monkeypatch.setattr(EarlierClock, "hours", hours_ago)
    monkeypatch.setattr(cli.run, "SystemClock", EarlierClock)
    options = RunOptions(
        [str(folder / name)], ledger.url, "cloudevents", catalog=catalog, accounts=accounts, reject_budget=1.0,
        dedupe_horizon_hours=1, hot_keys_max=0, **more,
    )  # fmt: skip
    return run_files(options)


def doubled(ledger, folder, monkeypatch, seed=1, events=60, **more):
    """A ledger in which keys stand twice; returns the model of what is right."""
    first, again = first_and_again(seed, events)
    run_at(ledger, folder, "first.ndjson", first, 40, monkeypatch, **more)
    run_at(ledger, folder, "again.ndjson", again, 2, monkeypatch, **more)
    model = model_of()
    for name, lines, hours in (("first.ndjson", first, 40), ("again.ndjson", again, 2)):
        now = SystemClock().now_ms() - hours * HOUR_MS
        model.feed_lines([json.dumps(line).encode() for line in lines], name, now)
    return model


def sums_of(client):
    """What the model sums, as it stands in the ledger; groups that cancel out are left away on both sides."""
    pico = "sum(toInt128(cost_micro_usd) * 1000000 + residual_pico_usd)"
    rows = client.query(
        f"SELECT tenant, principal, operation, settlement, {pico}, sum(base_units), "
        "sum(request_bytes + response_bytes) FROM ledger GROUP BY 1, 2, 3, 4"
    ).result_rows
    return {tuple(r[:4]): (int(r[4]), r[5], int(r[6])) for r in rows if any(r[4:])}


def sums_wanted(model):
    totals = {}
    for r in model.rows:
        key = (r.tenant, r.principal, r.operation, r.settlement)
        pico, units, size = totals.get(key, (0, 0, 0))
        totals[key] = (pico + r.pico, units + r.base_units, size + r.request_bytes + r.response_bytes)
    return {key: sums for key, sums in totals.items() if any(sums)}
