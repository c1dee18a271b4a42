"""From a Kafka topic to the ledger, on librdkafka's mock cluster and on a real broker, both ways."""

import itertools
import json
import time
import tomllib
from collections import Counter

import pytest
from confluent_kafka import Consumer, TopicPartition

from cli.run_kafka import KafkaOptions, run_kafka
from cli.running import RunOptions
from pipeline.errors import MillraceError, UsageError
from tests.event_lines import event, line
from tests.hostile import hostile_accounts, hostile_catalogs, hostile_stream
from tests.kafka import ways
from tests.model import Model
from tests.test_end_to_end import assert_ledger_is, crossings_of, decisions_of

_names = itertools.count()


@pytest.fixture(autouse=True, params=ways.WAYS)
def way(request, monkeypatch):
    """Each way in which records come out of librdkafka, in turn."""
    ways.go(request.param, monkeypatch)


@pytest.fixture
def topic(kafka):
    return kafka.create_topic(f"usage-{next(_names)}-{time.time_ns()}", 4)


@pytest.fixture
def settings_files(tmp_path):
    folder = tmp_path / "catalog"
    folder.mkdir()
    for number, text in enumerate(hostile_catalogs()):
        (folder / f"{number}.toml").write_text(text)
    accounts = tmp_path / "accounts.toml"
    accounts.write_text(hostile_accounts())
    return folder, accounts


def run(kafka, topic, ledger, *, options=(), settings=(), **more):
    return run_kafka(
        RunOptions([], ledger.url, **{"reject_budget": 1.0, "workers": 2, **dict(options)}),
        KafkaOptions(kafka.address, topic, "lag", list(settings), **{"until_end": True, **more}),
    )


def compute(key, tenant="acme", **more):
    return line(event(tenant=tenant, id=key, time="2026-01-01T00:00:00Z", **more))


def test_hostile_partitions_come_out_as_the_model_says(kafka, topic, ledger, settings_files):
    folder, accounts = settings_files
    streams = {p: [v for v in hostile_stream(30 + p, 700) if v.strip()] for p in range(2)}
    for p, lines in streams.items():  # no key stands in two partitions: their order is not to be foretold
        streams[p] = [v.replace(b'"acme', b'"p%dacme' % p) for v in lines]
    model = Model([tomllib.loads(t) for t in hostile_catalogs()], tomllib.loads(hostile_accounts()))
    kafka.send(topic, {0: streams[0]})
    now = int(time.time() * 1000)
    for offset, value in enumerate(streams[0]):
        model.feed(value, topic, 0, offset, now)
    options = {"catalog": folder, "accounts": accounts, "block_rows": 100}
    summary = run(kafka, topic, ledger, options=options)
    counted = {k: summary[k] for k in ("events", "accepted", "conflicts", "rejected")}
    assert counted == {k: model.counts[k] for k in counted}
    assert summary["duplicates"] == model.counts["duplicate"]
    assert_ledger_is(ledger, model)
    assert decisions_of(ledger) == crossings_of(model)
    kafka.send(topic, {1: streams[1]})
    for offset, value in enumerate(streams[1]):
        model.feed(value, topic, 1, offset, now)
    run(kafka, topic, ledger, options=options | {"workers": 3})
    assert_ledger_is(ledger, model)


def test_a_run_goes_on_where_the_ledger_is_and_reads_nothing_twice(kafka, topic, ledger):
    kafka.send(topic, {p: [compute(f"{p}-{i}") for i in range(50)] for p in range(4)})
    assert run(kafka, topic, ledger)["accepted"] == 200
    kafka.send(topic, {1: [compute("1-0"), compute("late")]})
    second = run(kafka, topic, ledger)
    assert (second["events"], second["accepted"], second["duplicates"]) == (2, 1, 1)
    assert run(kafka, topic, ledger)["events"] == 0


def test_a_key_in_several_partitions_counts_once(kafka, topic, ledger):
    kafka.send(topic, {p: [compute(f"k{i}") for i in range(100)] for p in range(4)})
    summary = run(kafka, topic, ledger, options={"workers": 3})
    assert (summary["accepted"], summary["duplicates"]) == (100, 300)


def test_binary_mode_is_the_same_event(kafka, topic, ledger):
    headers = [
        ("ce_specversion", "1.0"), ("ce_id", "b1"), ("ce_source", "/svc"), ("ce_type", "compute"),
        ("ce_tenant", 'ac"me ü'), ("ce_time", "2026-01-01T00:00:00Z"), ("content-type", "application/json"),
    ]  # fmt: skip
    kafka.send(topic, {0: [b'{"operation":"ask","units":2}']}, headers=headers)
    kafka.send(topic, {0: [compute("b1", tenant='ac"me ü', members={"units": 2}, source="/svc")]})
    summary = run(kafka, topic, ledger)
    assert (summary["accepted"], summary["duplicates"], summary["rejected"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "missing_attribute"),
        (b'1},"x":{', "unreadable"),
        (b"not json", "unreadable"),
        (b"[]", "invalid_data"),
    ],
)
def test_binary_mode_with_bad_data_is_rejected(mock_kafka, ledger, value, reason):
    topic = mock_kafka.create_topic(f"binary-{next(_names)}-{time.time_ns()}")
    headers = [
        ("ce_specversion", "1.0"),
        ("ce_id", "b1"),
        ("ce_source", "/s"),
        ("ce_type", "compute"),
        ("ce_tenant", "t"),
    ]
    mock_kafka.send(topic, {0: [value]}, headers=headers)
    assert run(mock_kafka, topic, ledger)["rejected"] == 1
    assert ledger.client.query("SELECT reason FROM rejected_events").result_rows[0][0] == reason


def test_a_tombstone_and_blanks_are_unreadable_and_keep_their_place(kafka, topic, ledger):
    kafka.send(topic, {2: [None, b"", b"  ", b"{\n}", compute("x")]})
    assert run(kafka, topic, ledger)["rejected"] == 4
    rows = ledger.client.query("SELECT offset, reason, raw FROM rejected_events ORDER BY offset").result_rows
    assert [(o, r) for o, r, _ in rows] == [
        (0, "unreadable"),
        (1, "unreadable"),
        (2, "unreadable"),
        (3, "missing_attribute"),
    ]
    assert rows[0][2] == ""


def test_without_a_time_the_timestamp_of_the_record_counts_and_an_impossible_one_is_the_clock(
    kafka, topic, ledger
):
    def timeless(key):
        return line({k: v for k, v in event(id=key).items() if k != "time"})

    kafka.send(topic, {0: [timeless("known")]}, timestamp=1_700_000_000_123)
    kafka.send(topic, {0: [timeless("ancient")]}, timestamp=1_000)
    before = int(time.time() * 1000)
    run(kafka, topic, ledger)
    found = dict(
        ledger.client.query("SELECT event_id, toUnixTimestamp64Milli(occurred_at) FROM ledger").result_rows
    )
    assert found["known"] == 1_700_000_000_123
    assert found["ancient"] >= before


def test_a_position_that_the_broker_no_longer_has_stops_the_run_with_a_sentence(mock_kafka, ledger):
    topic = mock_kafka.create_topic(f"gone-{next(_names)}-{time.time_ns()}")
    mock_kafka.send(topic, {0: [compute("first")]})
    run(mock_kafka, topic, ledger)
    filler = [compute(f"f{i}", members={"note": "x" * 900}) for i in range(9_000)]  # the mock keeps 5 MB
    mock_kafka.send(topic, {0: filler})
    with pytest.raises(MillraceError, match=rf"records 1 to \d+ of {topic}/0 are gone.*--accept-gap"):
        run(mock_kafka, topic, ledger)
    assert ledger.client.query("SELECT count() FROM ledger").first_row[0] == 1
    accepted = run(mock_kafka, topic, ledger, accept_gap=True)["accepted"]
    assert 0 < accepted < 9_000


def test_a_topic_that_lost_records_behind_the_position_is_not_read_as_the_same(mock_kafka, ledger):
    topic = mock_kafka.create_topic(f"short-{next(_names)}-{time.time_ns()}")
    mock_kafka.send(topic, {0: [compute("first")]})
    run(mock_kafka, topic, ledger)
    ledger.client.insert(
        "progress",
        [[99, 0, 1, topic, 0, 1, 500]],
        column_names=["run", "lane", "lanes", "topic", "partition", "pass", "position"],
    )
    with pytest.raises(MillraceError, match="ends at 1 but the ledger has it up to 500"):
        run(mock_kafka, topic, ledger)


def test_a_topic_that_is_not_there_is_named(real_kafka, ledger):
    with pytest.raises(MillraceError, match="there is no topic 'nowhere' to read"):
        run(real_kafka, "nowhere", ledger)


def test_new_partitions_are_read_after_a_restart_and_reported(real_kafka, ledger, capsys):
    topic = real_kafka.create_topic(f"grow-{time.time_ns()}", 1)
    real_kafka.send(topic, {0: [compute("a")]})
    run(real_kafka, topic, ledger)
    real_kafka.grow_topic(topic, 3)
    real_kafka.send(topic, {2: [compute("b")]})
    assert run(real_kafka, topic, ledger)["accepted"] == 1
    assert f"new partitions are read from now on: {topic}/1, {topic}/2" in capsys.readouterr().err


def test_what_a_transaction_took_back_is_not_read(real_kafka, ledger):
    topic = real_kafka.create_topic(f"transactions-{time.time_ns()}", 1)
    producer = real_kafka.producer(**{"transactional.id": topic})
    producer.init_transactions(30)
    for key, ends_well in (("kept", True), ("aborted", False), ("also", True)):
        producer.begin_transaction()
        producer.produce(topic, compute(key), partition=0)
        producer.flush(10)
        (producer.commit_transaction if ends_well else producer.abort_transaction)(30)
    assert run(real_kafka, topic, ledger)["accepted"] == 2
    assert run(real_kafka, topic, ledger)["events"] == 0
    keys = ledger.client.query("SELECT event_id FROM ledger ORDER BY 1").result_rows
    assert [k for (k,) in keys] == ["also", "kept"]


def test_the_group_shows_where_the_ledger_is(kafka, topic, ledger):
    kafka.send(topic, {0: [compute(f"{i}") for i in range(7)]})
    run(kafka, topic, ledger)
    consumer = Consumer({"bootstrap.servers": kafka.address, "group.id": "lag"})
    assert consumer.committed([TopicPartition(topic, 0)], timeout=10)[0].offset == 7
    consumer.close()


@pytest.mark.parametrize(
    "setting", ["auto.offset.reset=latest", "enable.auto.commit=true", "nonsense.at.all=1", "novalue"]
)
def test_settings_that_would_lose_or_are_none_are_refused(mock_kafka, ledger, setting):
    with pytest.raises(UsageError):
        run(mock_kafka, "t", ledger, settings=[setting])


def dead_letters(kafka, topic, count):
    consumer = kafka.consumer(topic)
    found = consumer.consume(count, 15)
    consumer.close()
    return found


def test_rejects_stand_on_the_dead_letter_topic_with_reason_and_place(kafka, topic, ledger):
    letters = kafka.create_topic(f"letters-{next(_names)}-{time.time_ns()}")
    kafka.send(topic, {3: [compute("good"), b"bad", line(event(kind="compute", id="x", type="nope"))]})
    run(kafka, topic, ledger, dead_letters=letters)
    found = dead_letters(kafka, letters, 2)
    told = [dict(m.headers()) for m in found]
    assert Counter(m.value() for m in found).keys() >= {b"bad"}
    assert Counter(
        (t["millrace_reason"], t["millrace_partition"], t["millrace_offset"]) for t in told
    ) == Counter([(b"unreadable", b"3", b"1"), (b"unknown_type", b"3", b"2")])
    stored = ledger.client.query("SELECT reason, offset FROM rejected_events ORDER BY offset").result_rows
    assert [tuple(r) for r in stored] == [("unreadable", 1), ("unknown_type", 2)]


def test_decisions_stand_on_their_topic_keyed_by_tenant_and_window(kafka, topic, ledger, tmp_path):
    (tmp_path / "catalog.toml").write_text(
        'version = "1"\n[operations.ask]\ncomponents = [{ source = "compute", basis = "per-call", micro_usd = "60" }]\n'
    )
    (tmp_path / "accounts.toml").write_text('[tenants.acme.spendLimit]\ndailySpendUsd = "0.0001"\n')
    decisions = kafka.create_topic(f"decisions-{next(_names)}-{time.time_ns()}")
    kafka.send(topic, {0: [compute("a"), compute("b")]})
    options = {"catalog": tmp_path / "catalog.toml", "accounts": tmp_path / "accounts.toml"}
    run(kafka, topic, ledger, options=options, decisions_topic=decisions)
    stored = ledger.client.query(
        "SELECT threshold_percent, state FROM cap_decisions ORDER BY sequence"
    ).result_rows
    found = dead_letters(kafka, decisions, len(stored))
    told = [json.loads(m.value()) for m in found]
    assert [(t["threshold_percent"], t["state"]) for t in told] == [tuple(r) for r in stored]
    assert (100, "crossed") in {(t["threshold_percent"], t["state"]) for t in told}
    assert {m.key() for m in found} == {b'["acme","day"]'}


def test_a_key_that_a_crash_left_behind_in_another_partition_is_known(kafka, topic, ledger):
    kafka.send(topic, {0: [compute("k")]})
    run(kafka, topic, ledger, options={"workers": 1})
    ledger.client.command("ALTER TABLE progress DELETE WHERE accepted > 0 SETTINGS mutations_sync = 2")
    kafka.send(topic, {1: [compute("k")]})  # the row stands, its position does not
    summary = run(kafka, topic, ledger, options={"workers": 2})
    assert (summary["accepted"], summary["duplicates"], summary["replayed"]) == (0, 1, 1)
