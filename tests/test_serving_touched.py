"""Caps read a tenant as soon as the flow has counted something of it, and the time that took is shown."""

import threading

import pytest

from cli.serving_caps import Touched
from pipeline.errors import LedgerAwayError


class Clock:
    def __init__(self) -> None:
        self.ms = 10_000

    def now_ms(self) -> int:
        return self.ms


@pytest.fixture
def refreshed(monkeypatch):
    """What was refreshed; a list of errors to raise first."""
    calls, errors = [], []

    def refresh(_store, _reader, _clock, names):
        if errors:
            raise errors.pop()
        calls.append(set(names))

    monkeypatch.setattr("cli.serving_caps.refresh", refresh)
    return calls, errors


def delay_of(touched) -> tuple[str, str]:
    lines = dict(line.rsplit(" ", 1) for line in touched.metrics().decode().splitlines() if line[0] != "#")
    return lines["millrace_arrival_to_caps_seconds_count"], lines["millrace_arrival_to_caps_seconds_sum"]


def test_only_those_are_read_of_whom_something_was_counted(refreshed) -> None:
    touched = Touched()
    touched.add({"a", "b"})
    touched.add({"b", "c"})
    touched.read(None, None, Clock())
    touched.read(None, None, Clock())
    assert refreshed[0] == [{"a", "b", "c"}]


def test_a_reading_that_fails_is_tried_again_with_the_same_tenants(refreshed) -> None:
    calls, errors = refreshed
    errors.append(LedgerAwayError("away"))
    touched = Touched()
    touched.add({"a"})
    with pytest.raises(LedgerAwayError):
        touched.read(None, None, Clock())
    touched.read(None, None, Clock())
    assert calls == [{"a"}]


def test_the_time_from_arrival_until_the_caps_know_is_shown(refreshed) -> None:
    touched, clock = Touched(), Clock()
    touched.add({"a"})
    touched.counted(9_800)
    touched.read(None, None, clock)
    touched.counted(9_000)  # of a tenant that was read already
    touched.read(None, None, clock)
    assert delay_of(touched) == ("2.0", "1.2")


def test_it_waits_for_something_and_wakes_when_all_lanes_have_counted(refreshed, monkeypatch) -> None:
    monkeypatch.setattr("cli.serving_caps.TOUCHED_WAIT_S", 60)
    touched = Touched()
    touched.add({"a"})
    threading.Timer(0.02, touched.counted, [0]).start()
    touched.read(None, None, Clock())
    assert refreshed[0] == [{"a"}]
