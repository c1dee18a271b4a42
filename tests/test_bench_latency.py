"""`millrace bench --latency` and `--horizon`: events made anew, probes among them, windows that show them."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from benchmarks import latency
from benchmarks.bench_input import Input, InputPlan, make_input
from benchmarks.fresh_lines import PASSES_MAX, FreshLines, stamp
from benchmarks.kafka.topic import Kafka
from benchmarks.latency import PROBES, Plan, Seen, probe_line, probe_tenant
from benchmarks.peers.quix_sums import key_of
from cli import bench_horizon, bench_latency
from pipeline.errors import MillraceError
from tests.kafka.broker import Kafka as AnyKafka

MS = 1_000_000


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Input:
    return make_input(tmp_path_factory.mktemp("input"), InputPlan(3000), lambda _lines: None)


def keys(block: bytes) -> list[tuple[str, str]]:
    events = map(json.loads, block.splitlines())
    return [(event["tenant"], key_of(event)) for event in events]


def test_each_pass_has_keys_of_its_own_and_its_retries_stay_retries(given: Input) -> None:
    lines = FreshLines(given.events)
    first, second = (set(keys(lines.block(number, stamp(0)))) for number in (1, 2))
    assert len(first) == len(second) == given.expected.keys
    assert not first & second
    assert lines.block(1, stamp(0)) == lines.block(1, stamp(0))


def test_a_pass_has_another_time_and_is_the_same_but_for_that(given: Input) -> None:
    lines = FreshLines(given.events)
    block = [json.loads(line) for line in lines.block(PASSES_MAX - 1, stamp(1_700_000_000_123)).splitlines()]
    assert {event["time"] for event in block} == {"2023-11-14T22:13:20.123Z"}
    before = [json.loads(line) for line in given.events.read_bytes().splitlines()]
    same = [
        (event["tenant"], event["type"], event.get("subject"), event["data"].get("units")) for event in before
    ]
    assert [(e["tenant"], e["type"], e.get("subject"), e["data"].get("units")) for e in block] == same


def test_other_lines_and_too_many_passes_are_refused(given: Input, tmp_path: Path) -> None:
    with pytest.raises(MillraceError, match="there are 10000 passes, not 10000"):
        FreshLines(given.events).block(PASSES_MAX, stamp(0))
    (tmp_path / "other").write_bytes(b'{"id":"1"}\n')
    with pytest.raises(MillraceError, match="give lines of the benchmark's input"):
        FreshLines(tmp_path / "other")


def test_a_probe_counts_when_a_reading_shows_it() -> None:
    """Tenant 0 has the probes 0, 100 and 200; the first is of the warm-up.

    sent     0 ms   ...   100 at 100 ms   ...   200 at 200 ms
    shown    1 at 50 ms                  2 at 190 ms            3 at 400 ms
    """
    seen = Seen([number * MS for number in range(3 * PROBES)], first=1)
    for count, at_ms in ((1, 50), (1, 150), (2, 190), (3, 400)):
        seen.note(probe_tenant(0), count, at_ms * MS)
    assert seen.count == 3
    assert seen.latencies.count == 2
    assert 90_000 <= seen.latencies.at(50) <= 92_000
    assert seen.latencies.at(100) == 200_000


def test_probes_that_become_visible_at_once_have_each_their_own_latency() -> None:
    seen = Seen([number * MS for number in range(2 * PROBES)])
    seen.note(probe_tenant(7), 2, 300 * MS)
    assert min(seen.latencies.counts.elements()) >= 193_000
    assert seen.latencies.most_us == 293_000


def test_a_probe_is_an_event_of_its_tenant_that_costs_the_price() -> None:
    event = json.loads(probe_line(PROBES + 3, 0))
    assert event["tenant"] == "probe-003"
    assert event["idempotencykey"] == f"probe-{PROBES + 3}"
    assert event["time"] == "1970-01-01T00:00:00.000Z"


def test_latency_is_measured_from_a_broker_to_the_windows(
    real_kafka: AnyKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_latency, "BLOCK_LINES", 2000)
    found = bench_latency.measure(tmp_path, Plan(200, 1), Kafka(real_kafka.address), 1, lambda _said: None)
    assert found["probes"] == 50
    assert found["events"] == (200 + 50) * (latency.WARM_UP_S + 1)
    assert 0 < found["visible_us"]["p50"] <= found["visible_us"]["p99"] < 60_000_000
    assert found["reading_us"]["p50"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"input-2000-1"}


def test_memory_is_sampled_while_every_event_counts_once(tmp_path: Path) -> None:
    found = bench_horizon.measure(tmp_path, 4000, 1, lambda _said: None)
    assert found["events"] == 4000
    assert found["keys_most"] == found["keys_seen"] < 4000
    assert found["samples"][-1]["events"] == 4000
    assert 10 < found["row_bytes"] < 1000
    assert all(sample["resident_bytes"] > 50_000_000 for sample in found["samples"])
    assert {path.name for path in tmp_path.iterdir()} == {"input-400-1"}


def test_a_run_that_loses_events_is_no_measurement_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"found": {"rows": 390, "pico_usd": 1}}
    monkeypatch.setattr(bench_horizon, "_run", lambda *_arguments: found)
    with pytest.raises(MillraceError, match="memory is not measured: rows must be"):
        bench_horizon.measure(tmp_path, 4000, 1, lambda _said: None)


def test_the_load_is_laid_out_before_with_the_moment_of_each_pass(given: Input) -> None:
    lines, plan = FreshLines(given.events), Plan(rate=1500, seconds=1)
    load = latency._load(plan, lines)
    assert len(load) >= plan.ticks * plan.rate // 50
    assert len({key_of(json.loads(line)) for line in load}) == len(load) // lines.count * given.expected.keys
    times = [json.loads(load[number * lines.count])["time"] for number in range(3)]
    first, second, third = (datetime.fromisoformat(moment) for moment in times)
    assert (second - first, third - second) == (timedelta(seconds=2), timedelta(seconds=2))
    assert json.loads(load[lines.count + 7])["tenant"].encode() == lines.tenants[7]
