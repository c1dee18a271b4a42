"""The whole way from a file to the ledger, held to the dumb model of the contract."""

import time
import tomllib
from collections import Counter, defaultdict
from datetime import UTC

import pytest

from cli.run import RunOptions, run_files
from tests.hostile import hostile_accounts, hostile_catalogs, hostile_stream
from tests.model import Model


@pytest.fixture
def settings_files(tmp_path):
    folder = tmp_path / "catalog"
    folder.mkdir()
    for number, text in enumerate(hostile_catalogs()):
        (folder / f"{number}.toml").write_text(text)
    accounts = tmp_path / "accounts.toml"
    accounts.write_text(hostile_accounts())
    return folder, accounts


def run(ledger, paths, settings_files, **more):
    catalog, accounts = settings_files
    return run_files(
        RunOptions(
            [str(p) for p in paths],
            ledger.url,
            format_name="cloudevents",
            catalog=catalog,
            accounts=accounts,
            reject_budget=1.0,
            **more,
        )
    )


def model_of(*streams):
    model = Model([tomllib.loads(t) for t in hostile_catalogs()], tomllib.loads(hostile_accounts()))
    for topic, lines in streams:
        model.feed_lines(lines, topic, int(time.time() * 1000))
    return model


def assert_ledger_is(ledger, model):
    rows = ledger.client.query
    pico = "sum(toInt128(cost_micro_usd) * 1000000 + residual_pico_usd)"
    sums = rows(
        f"SELECT tenant, principal, billing_period, settlement, {pico} FROM ledger GROUP BY 1, 2, 3, 4"
    ).result_rows
    assert {tuple(r[:4]): int(r[4]) for r in sums} == model.sums(
        "tenant", "principal", "billing_period", "settlement"
    )
    by_source = rows(
        "SELECT tenant, s, sum(toInt128(p)) FROM ledger "
        "ARRAY JOIN breakdown_sources AS s, breakdown_pico_usd AS p GROUP BY 1, 2"
    ).result_rows
    assert {(t, s): int(p) for t, s, p in by_source} == model.sums_by_source()
    rollup = rows(f"SELECT tenant, {pico} FROM usage_by_quarter GROUP BY 1").result_rows
    assert {(t,): int(p) for t, p in rollup} == model.sums("tenant")
    reasons = rows("SELECT reason, count() FROM rejected_events GROUP BY 1").result_rows
    assert dict(reasons) == model.rejects_by_reason()
    origins = rows("SELECT reason, (topic, partition, offset) FROM rejected_events").result_rows
    assert Counter((r, tuple(o)) for r, o in origins) == Counter(model.rejects)


def assert_rows_are(ledger, model):
    found = ledger.client.query(
        "SELECT topic, offset, tenant, principal, idempotency_key, event_id, source, type, operation, action, "
        "toUnixTimestamp64Milli(occurred_at), request_bytes, response_bytes, delta_bytes, base_units, weighted_units, "
        "usage, arrayZip(breakdown_sources, breakdown_pico_usd), pricing, settlement, catalog_version, "
        "billing_period, voids "
        "FROM ledger"
    ).result_rows
    wanted = {
        (r.origin[0], r.origin[2]): (
            r.tenant, r.principal, r.key, r.event_id, r.source, r.type, r.operation, r.action, r.at_ms, r.request_bytes,
            r.response_bytes, r.delta_bytes, r.base_units, r.weighted_units, dict(r.usage), list(r.breakdown),
            r.pricing, r.settlement, r.catalog_version, r.billing_period, r.voids,
        )
        for r in model.rows
    }  # fmt: skip
    timeless = 8
    got = {(r[0], r[1]): (*r[2:17], [tuple(p) for p in r[17]], *r[18:]) for r in found}
    assert got.keys() == wanted.keys()
    for origin, row in wanted.items():
        for index, (have, want) in enumerate(zip(got[origin], row, strict=True)):
            assert have == want or index == timeless, (origin, index, have, want)


def decisions_of(ledger):
    rows = ledger.client.query(
        "SELECT tenant, window, window_start, threshold_percent, state, current_micro_usd, (topic, partition, offset) "
        "FROM cap_decisions ORDER BY sequence"
    ).result_rows
    found = defaultdict(list)
    for tenant, window, start, percent, state, current, origin in rows:
        moment = start if start.tzinfo else start.replace(tzinfo=UTC)
        found[tenant, window, moment].append((percent, state, current, tuple(origin)))
    return found


def crossings_of(model):
    wanted = defaultdict(list)
    for c in model.spend.crossings:
        wanted[c.tenant, c.window, c.window_start].append(
            (c.threshold_percent, c.state, c.current_pico_usd // 10**6, c.origin)
        )
    return wanted


@pytest.mark.parametrize(
    ("seed", "workers", "block_rows", "fast"),
    [(1, 1, 250_000, True), (2, 2, 50, True), (3, 3, 400, False), (4, 2, 250_000, True)],
)
def test_a_hostile_stream_comes_out_as_the_model_says(
    ledger, tmp_path, settings_files, seed, workers, block_rows, fast
):
    lines = hostile_stream(seed, 3_000)
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join(lines))
    model = model_of(("events.ndjson", lines))
    summary = run(ledger, [file], settings_files, workers=workers, block_rows=block_rows, fast=fast)
    counted = {k: summary[k] for k in ("events", "accepted", "conflicts", "rejected")}
    assert counted == {k: model.counts[k] for k in counted}
    assert summary["duplicates"] == model.counts["duplicate"]
    assert summary["replayed"] == 0
    total = sum(r.pico for r in model.rows)
    assert (summary["cost_micro_usd"], summary["residual_pico_usd"]) == divmod(total, 10**6)
    assert_ledger_is(ledger, model)
    assert_rows_are(ledger, model)
    assert decisions_of(ledger) == crossings_of(model)


def test_files_are_one_stream_in_the_order_given_and_read_again_add_nothing(ledger, tmp_path, settings_files):
    lines = hostile_stream(11, 2_000)
    files = [tmp_path / "b.ndjson", tmp_path / "a.ndjson"]
    files[0].write_bytes(b"\n".join(lines[:900]) + b"\n")
    files[1].write_bytes(b"\n".join(lines[900:]))
    model = model_of(("b.ndjson", lines[:900]), ("a.ndjson", lines[900:]))
    run(ledger, files, settings_files, workers=2, block_rows=100)
    assert_ledger_is(ledger, model)
    first_rows = list(model.rows)
    first_rejects = Counter(model.rejects)
    for topic, part in (("b.ndjson", lines[:900]), ("a.ndjson", lines[900:])):
        model.feed_lines(part, topic, int(time.time() * 1000))
    again = run(ledger, files, settings_files, workers=3)
    assert again["events"] == model.counts["events"] // 2
    late_corrections = len(model.rows) - len(first_rows)
    assert again["accepted"] == late_corrections  # those that came before what they void, and no other row
    assert sum(again[k] for k in ("accepted", "duplicates", "rejected")) == again["events"]
    stored = ledger.client.query("SELECT reason, (topic, partition, offset) FROM rejected_events").result_rows
    assert Counter((r, tuple(o)) for r, o in stored) == first_rejects
    third = run(ledger, files, settings_files, workers=1)
    assert third["accepted"] == 0
    assert ledger.client.query("SELECT count() FROM ledger").first_row[0] == len(model.rows)


def test_of_a_file_with_one_changed_line_exactly_that_line_is_new(ledger, tmp_path, settings_files):
    lines = list(hostile_stream(12, 500))
    file = tmp_path / "x.log"
    log = [
        b'10.0.0.%d - - [17/May/2026:10:05:03 +0000] "GET /p%d HTTP/1.1" 200 %d' % (i % 9, i, i)
        for i in range(len(lines))
    ]
    file.write_bytes(b"\n".join(log))
    catalog, accounts = settings_files
    options = RunOptions(
        [str(file)], ledger.url, format_name="access-log", tenant="web", catalog=catalog, accounts=accounts
    )
    assert run_files(options)["accepted"] == 500
    log[77] = log[77].replace(b"GET", b"PUT")
    file.write_bytes(b"\n".join(log))
    second = run_files(options)
    assert (second["accepted"], second["duplicates"]) == (1, 499)
    offsets = ledger.client.query("SELECT offset FROM ledger WHERE method = 'PUT'").result_rows
    assert [tuple(r) for r in offsets] == [(78,)]


@pytest.mark.parametrize("workers", [1, 2])
def test_keys_that_are_not_in_memory_are_found_in_the_ledger(ledger, tmp_path, settings_files, workers):
    lines = hostile_stream(21, 1_500)
    first, second = tmp_path / "first.ndjson", tmp_path / "second.ndjson"
    first.write_bytes(b"\n".join(lines[:800]))
    second.write_bytes(b"\n".join(lines[400:]))
    model = model_of(("first.ndjson", lines[:800]), ("second.ndjson", lines[400:]))
    cold = {"hot_keys_max": 0, "dedupe_horizon_hours": 0, "workers": workers}
    run(ledger, [first], settings_files, **cold)
    time.sleep(0.01)  # so that the first run lies behind a horizon of nothing
    run(ledger, [second], settings_files, **cold)
    assert_ledger_is(ledger, model)
    assert_rows_are(ledger, model)
