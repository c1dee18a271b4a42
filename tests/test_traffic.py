"""The made-up traffic of the stack: a pace, other keys at each start, times of arrival, and events that count."""

import itertools
import re
import threading
import time
from collections import Counter

from benchmarks.traffic import Traffic, send
from pipeline.event import Event, Reject
from pipeline.strict import Rules, decode_event

NOW_MS = 1_795_000_000_000
TRAFFIC = Traffic(7, 20, NOW_MS)


def first(traffic, count=2_000):
    return list(itertools.islice(traffic.lines(), count))


def test_the_same_values_give_the_same_lines_and_another_start_gives_others():
    assert first(TRAFFIC) == first(TRAFFIC)
    ours, theirs = keys(TRAFFIC), keys(Traffic(8, 20, NOW_MS))
    assert len(ours) > 1_000
    assert ours & theirs == set()


def keys(traffic):
    found = re.findall(rb'"idempotencykey":"([^"]+)"', b"\n".join(first(traffic)))
    return set(found)


def test_events_happen_when_they_arrive_and_most_of_them_count():
    outcomes = [decode_event(line, NOW_MS, Rules()) for line in first(TRAFFIC)]
    good = [one for one in outcomes if isinstance(one, Event)]
    assert len(good) > 1_900
    assert any(isinstance(one, Reject) for one in outcomes)
    assert Counter(one.occurred_at_ms == NOW_MS for one in good)[False] < 20


def test_it_is_sent_at_its_pace_until_it_is_stopped(mock_kafka):
    topic = mock_kafka.create_topic(f"traffic-{time.time_ns()}")
    stop = threading.Event()
    threading.Timer(3, stop.set).start()
    sent = send(TRAFFIC, mock_kafka.producer(), topic, 100, stop)
    assert 10 <= sent <= 300
    consumer = mock_kafka.consumer(topic)
    assert len(consumer.consume(sent, timeout=10)) == sent
    consumer.close()
