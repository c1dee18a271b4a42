"""kill -9 in mid-run, again and again: in the end it is as if nothing had ever died."""

import json
import random
import subprocess
import sys
import time
import tomllib
from collections import Counter, defaultdict

import pytest

from tests.hostile import hostile_accounts, hostile_catalogs, hostile_stream
from tests.model import Model

LINES = 9_000
KILLS = 6

LOOK = r"""
import json, sys
from sinks.clickhouse import connect
client = connect(sys.argv[1])
rows = lambda sql: [list(map(str, r)) for r in client.query(sql).result_rows]
pico = "sum(toInt128(cost_micro_usd) * 1000000 + residual_pico_usd)"
json.dump({
    "sums": rows(f"SELECT tenant, billing_period, {pico} FROM ledger GROUP BY 1, 2"),
    "rollup": rows(f"SELECT tenant, billing_period, {pico} FROM usage_by_quarter GROUP BY 1, 2"),
    "origins": rows("SELECT count(), uniqExact(topic, partition, offset) FROM ledger"),
    "keys": rows("SELECT count(), uniqExact(key_hash) FROM ledger"),
    "rejects": rows("SELECT reason, offset FROM rejected_events"),
    "duplicates": rows("SELECT sum(duplicates) FROM progress"),
    "decisions": rows(
        "SELECT tenant, window, toUnixTimestamp(window_start), threshold_percent, state "
        "FROM cap_decisions ORDER BY sequence"
    ),
}, sys.stdout)
"""


def millrace(arguments, **more):
    code = "import sys; from cli.main import run; sys.exit(run(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
    )


def look(url):
    result = subprocess.run([sys.executable, "-c", LOOK, url], capture_output=True, check=True)
    return json.loads(result.stdout)


@pytest.fixture
def stage(tmp_path):
    lines = hostile_stream(77, LINES)
    (tmp_path / "events.ndjson").write_bytes(b"\n".join(lines))
    (tmp_path / "catalog").mkdir()
    for number, text in enumerate(hostile_catalogs()):
        (tmp_path / "catalog" / f"{number}.toml").write_text(text)
    (tmp_path / "accounts.toml").write_text(hostile_accounts())
    model = Model([tomllib.loads(t) for t in hostile_catalogs()], tomllib.loads(hostile_accounts()))
    model.feed_lines(lines, "events.ndjson", int(time.time() * 1000))
    return tmp_path, model


def arguments(folder, workers):
    return [
        "run", str(folder / "events.ndjson"), "--format", "cloudevents", "--catalog", str(folder / "catalog"),
        "--accounts", str(folder / "accounts.toml"), "--ledger", f"chdb://{folder}/ledger", "--json",
        "--reject-budget", "1", "--workers", str(workers), "--block-rows", "20",
        "--chunk-bytes", "16384",
    ]  # fmt: skip


def kill_when_it_has_written(folder, workers, source):
    """Start a run and kill it at a random moment after its first commits; whether it was still running."""
    process = millrace(arguments(folder, workers))
    store = folder / "ledger" / "store"
    before = set(store.glob("store/*/*/*")) if store.exists() else set()
    wanted = source.randrange(1, 300)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        now = set(store.glob("store/*/*/*")) if store.exists() else set()
        if len(now - before) > wanted:
            break
        time.sleep(0.01)
    time.sleep(source.uniform(0, 0.1))
    running = process.poll() is None
    process.kill()
    process.communicate()
    return running


@pytest.mark.parametrize("workers", [1, 2])
def test_after_kills_at_random_points_the_ledger_is_as_if_never_killed(stage, workers):
    folder, model = stage
    source = random.Random(workers)
    killed = sum(kill_when_it_has_written(folder, workers, source) for _ in range(KILLS))
    last = millrace(arguments(folder, workers))
    out, err = last.communicate(timeout=300)
    assert last.returncode == 0, err
    summary = json.loads(out)
    assert killed >= KILLS - 1
    assert summary["events"] == sum(summary[k] for k in ("accepted", "duplicates", "rejected", "replayed"))
    found = look(f"chdb://{folder}/ledger")
    wanted = model.sums("tenant", "billing_period")
    assert {(t, p): int(s) for t, p, s in found["sums"]} == wanted
    assert {(t, p): int(s) for t, p, s in found["rollup"]} == wanted
    assert found["origins"] == [[str(len(model.rows))] * 2]
    assert found["keys"] == [[str(len(model.rows))] * 2]
    assert Counter((r, int(o)) for r, o in found["rejects"]) == Counter((r, o[2]) for r, o in model.rejects)
    assert found["duplicates"] == [
        [str(model.counts["duplicate"])]
    ]  # the one count that has no row of its own
    assert_decisions_alternate_and_end_right(found["decisions"], model)


def assert_decisions_alternate_and_end_right(decisions, model):
    states = defaultdict(list)
    for tenant, window, start, percent, state in decisions:
        states[tenant, window, int(start), int(percent)].append(state)
    for key, sequence in states.items():
        assert sequence == [("crossed", "cleared")[i % 2] for i in range(len(sequence))], key
    crossed = {(t, w, int(s.timestamp()), p) for t, w, s, p in model.spend.crossed()}
    assert {key for key, sequence in states.items() if sequence[-1] == "crossed"} == crossed
