"""Files that other systems wrote, through the mappings that the project ships: counts and exact totals.

The files are read from `../shared/data` beside the project, or from the folder that MILLRACE_TEST_DATA names.
"""

import gzip
import json
import os
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline.event import Reason, Reject
from pipeline.formats import detect_format, load_mapping, make_format

PROJECT = Path(__file__).parents[1]
DATA = Path(os.environ.get("MILLRACE_TEST_DATA") or PROJECT.parent / "shared" / "data")


def lines_of(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not in {DATA}")
    lines = (gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()).split(b"\n")
    return lines if lines[-1] else lines[:-1]


def converted(name, format_name, mapping_name=None):
    """The events and the rejects of a file, each with its line number."""
    lines = lines_of(name)
    mapping = load_mapping(PROJECT / "examples" / mapping_name) if mapping_name else None
    made = make_format(format_name, mapping, "acme")
    first = made.header_lines
    made = made.with_header(lines[0]) if first else made
    results = [(n, made.convert(line, name, n)) for n, line in enumerate(lines[first:], first + 1)]
    events = [json.loads(r, parse_float=Decimal) for _, r in results if not isinstance(r, Reject)]
    return events, [(n, r.reason) for n, r in results if isinstance(r, Reject)]


def total(events, *path):
    """The exact sum of a quantity, absent ones as 0."""
    amount = Decimal(0)
    for event in events:
        value = event["data"]
        for name in path:
            value = value.get(name, 0)
        amount += value
    return amount


def keys(events):
    return {event.get("idempotencykey") or (event["source"], event["id"]) for event in events}


def test_an_access_log():
    events, rejects = converted("access.log", "access-log")
    assert rejects == [(8_899, Reason.UNREADABLE)]
    assert len(events) == len(keys(events)) == 9_999
    assert total(events, "response_bytes") == 2_747_282_505
    assert {event["type"] for event in events} == {"traffic"}
    assert all(event["subject"] and event["time"] and event["data"]["endpoint"] for event in events)


def test_an_access_log_by_a_second_way_of_reading():
    """A line splits at its quotes; address, status and size are counted without the format's patterns."""
    whole = [line.split(b'"') for n, line in enumerate(lines_of("access.log"), 1) if n != 8_899]
    expected = Counter(
        (parts[0].split()[0].decode(), *map(bytes.decode, parts[2].split())) for parts in whole
    )
    events, _ = converted("access.log", "access-log")
    got = Counter((e["subject"], str(e["data"]["status"]), str(e["data"]["response_bytes"])) for e in events)
    assert got == Counter({(a, s, "0" if b == "-" else b): n for (a, s, b), n in expected.items()})


def test_calls_of_a_language_model():
    events, rejects = converted("llm-tokens.csv", "csv", "llm-tokens.toml")
    assert not rejects
    assert len(events) == len(keys(events)) == 8_819
    assert total(events, "usage", "context") == 18_059_974
    assert total(events, "usage", "generated") == 245_896
    assert {event["data"]["operation"] for event in events} == {"llm.generate"}
    assert events[0]["time"] == "2023-11-16T18:17:03.9799600Z"
    assert events[-1]["time"] == "2023-11-16T19:14:19.9280160Z"


def test_invocations_of_functions():
    events, rejects = converted("functions.csv", "csv", "functions.toml")
    assert not rejects
    assert len(events) == len(keys(events)) == 199
    assert total(events, "usage", "duration") == Decimal("10599.17")
    assert events[0]["data"]["usage"]["duration"] == Decimal("0.078")
    assert events[0]["time"] == "2021-01-31T00:00:00.079Z"
    assert all(len(event["subject"]) == len(event["data"]["operation"]) == 64 for event in events)


def test_edits_of_a_wiki():
    events, rejects = converted("wiki-edits.ndjson.gz", "json", "wiki-edits.toml")
    assert not rejects
    assert len(events) == len(keys(events)) == 39_244
    assert total(events, "delta_bytes") == 8_991_275 == 9_385_573 - 394_298
    assert events[0]["subject"] == "GELongstreet"
    assert events[0]["data"]["object"] == "#en.wikipedia/Talk:Oswald Tilghman"


def test_changes_of_files():
    events, rejects = converted("file-changes.ndjson.gz", "json", "file-changes.toml")
    assert [reason for _, reason in rejects] == [Reason.INVALID_DATA] * 4
    assert len(events) == len(keys(events)) == 6_709
    assert total(events, "delta_bytes") == 27_739_724
    assert events[0]["idempotencykey"] == "6975fb0d57cd0a06b1ba4d8adbe1e1f64cdbff8f:0"
    assert events[0]["time"] == "2022-11-04T04:50:29.000Z"


def test_webhooks_that_share_ids_are_two_keys_of_many_operations():
    events, rejects = converted("stripe-webhooks.ndjson", "json", "stripe-webhooks.toml")
    assert not rejects
    assert len(events) == 88
    assert len(keys(events)) == 2
    assert len({event["data"]["operation"] for event in events}) == 86
    assert [event["data"]["event"] for event in events] == list(
        map(json.loads, lines_of("stripe-webhooks.ndjson"))
    )


@pytest.mark.parametrize(
    ("name", "mapped", "expected"),
    [
        ("access.log", False, "access-log"),
        ("llm-tokens.csv", True, "csv"),
        ("functions.csv", True, "csv"),
        ("wiki-edits.ndjson.gz", True, "json"),
        ("file-changes.ndjson.gz", True, "json"),
        ("stripe-webhooks.ndjson", True, "json"),
    ],
)
def test_the_format_is_found_by_the_first_lines(name, mapped, expected):
    assert detect_format(name, b"\n".join(lines_of(name)[:20]), mapped=mapped) == expected
