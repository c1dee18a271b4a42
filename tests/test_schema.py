"""The published form and the strict decoder say the same about every event that a schema can tell apart."""

import json
from decimal import Decimal
from typing import get_args

import jsonschema
import pytest
from event_lines import MINIMAL, event, judge, line, number
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cli.main import run
from pipeline import schema
from pipeline.event import CONTEXT_NAMES, TRIGGER_NAMES, TYPE_NAMES, Event
from pipeline.extras import ATTRIBUTE_NAMES, CONTEXT_MEMBERS, MEMBERS
from pipeline.schema import PUBLISHED_EVENT, event_json_schema

JSON_SCHEMA = jsonschema.Draft202012Validator(event_json_schema())


def is_modelled(text):
    """Whether the models take the event, its numbers exact."""
    try:
        PUBLISHED_EVENT.validate_python(json.loads(text, parse_int=Decimal, parse_float=Decimal))
    except ValidationError:
        return False
    return True


def is_event(text):
    return isinstance(judge(text), Event)


# What each member may be: as it should, and not.

ODD = st.sampled_from([True, False, [], {}, ["x"], {"a": 1}, "x", number("1"), number("0.5")])


def texts(least, most):
    lengths = st.sampled_from(sorted({least, least + 1, most}))
    good = st.builds(lambda length, character: character * length, lengths, st.sampled_from("xé🧾"))
    return good, st.sampled_from(["🧾" * (most + 1), *([""] if least else [])])


def numbers(good, bad):
    return st.sampled_from(good).map(number), st.sampled_from(bad).map(number)


QUANTITY = numbers(
    ["0", "-0", "1.0", "2.5e-3", "0.000001", "1e15", "1E+3", "999999999999999.999999"],
    ["-1", "-1e-6", "1e-7", "1000000000000001", "1e16", "1e300", "1e-300", "1000000000000000.000001"],
)
BYTES = numbers(["0", "-0.0", "1e3", "5.00", "1e15"], ["0.5", "-1", "1e-1", "1000000000000001", "1e300"])
DELTA = numbers(["0", "-1", "-1e15", "1e15", "-5.0"], ["0.5", "-0.5", "-1000000000000001", "1e16", "-1e300"])
STATUS = numbers(
    ["200", "-1", "2e2", "9223372036854775807", "-9223372036854775808"], ["200.5", "1e19", "-1e19"]
)
TEXT = texts(0, 1024)
TIMES = (
    st.sampled_from(["2026-11-02T06:13:20Z", "2000-01-01t00:00:00.5z", "2024-02-29T23:59:59.1234567+05:45"]),
    st.sampled_from(
        ["", "2026-11-02", "2026-02-29T00:00:00Z", "1999-12-31T23:59:59Z", "2026-11-02T06:13:60Z"]
    )
    | st.sampled_from(["2026-11-02T06:13:20", "2026-11-02T06:13:20+24:00", "2026-11-02T06:13:20Z\n"]),
)
USAGE = (
    st.dictionaries(texts(1, 1024)[0], QUANTITY[0] | st.none(), max_size=3),
    st.builds(lambda name, quantity: {name: quantity}, texts(1, 1024)[0], QUANTITY[1])
    | st.builds(lambda name, quantity: {name: quantity}, texts(1, 1024)[1], QUANTITY[0]),
)


def choices(*names):
    return st.sampled_from(names), st.sampled_from(["", "nobody", names[0].upper()])


def rarely(good, bad):
    """Mostly what is right, now and then null, what is wrong, or of another JSON type."""
    return st.sampled_from([good] * 40 + [st.none(), bad, ODD]).flatmap(lambda chosen: chosen)


CONTEXT = (
    st.fixed_dictionaries(
        {},
        optional={
            "type": rarely(*choices(*CONTEXT_NAMES[1:])),
            "name": rarely(*TEXT),
            "display": rarely(*TEXT),
        },
    ),
    st.sampled_from([[], "project"]),
)
COMMON = {
    "operation": TEXT,
    "action": TEXT,
    "context": CONTEXT,
    "trigger": choices(*TRIGGER_NAMES),
    "usage": USAGE,
    "unknown": (ODD, ODD),
}
DATA = {
    "traffic": {
        "method": TEXT, "endpoint": TEXT, "status": STATUS, "request_bytes": BYTES, "response_bytes": BYTES
    },
    "compute": {"operation": texts(1, 1024), "units": QUANTITY},
    "storage": {"delta_bytes": DELTA, "object": TEXT},
    "webhook": {"provider": TEXT, "verified": (st.booleans(), st.just("true")), "event": (ODD, ODD)},
    "correction": {"voids": texts(1, 512), "reason": TEXT},
}  # fmt: skip
ATTRIBUTES = {
    "specversion": (st.just("1.0"), st.sampled_from(["", "1", "0.3"])),
    "id": texts(1, 256),
    "source": (texts(1, 255)[0], st.sampled_from(["", "s" * 256, "a b", "a\u2003b", "\x1cx", "a\x85"])),
    "tenant": texts(1, 128),
    "subject": TEXT,
    "time": TIMES,
    "idempotencykey": texts(1, 512),
    "extension": (ODD, ODD),
}


def members(known, required):
    return st.fixed_dictionaries(
        {name: rarely(*known[name]) for name in required},
        optional={name: rarely(*values) for name, values in known.items() if name not in required},
    )


def events_of(kind):
    data = members(COMMON | DATA[kind], MINIMAL[kind])
    attributes = members(ATTRIBUTES, ["specversion", "id", "source", "tenant"])
    return st.builds(lambda whole, inner: {**whole, "type": kind, "data": inner}, attributes, data)


EVENTS = st.sampled_from(TYPE_NAMES).flatmap(events_of)
SETTINGS = settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])


@SETTINGS
@given(EVENTS)
def test_the_models_take_what_the_decoder_takes_and_nothing_else(whole):
    text = line(whole)
    assert is_modelled(text) == is_event(text)


@settings(SETTINGS, max_examples=100)
@given(EVENTS)
def test_the_json_schema_refuses_nothing_that_the_decoder_takes(whole):
    text = line(whole)
    assume(is_event(text))
    JSON_SCHEMA.validate(json.loads(text))


FAULTS = [
    {"specversion": "0.3"},
    {"specversion": None},
    {"id": ""},
    {"id": "🧾" * 257},
    {"source": "a b"},
    {"source": "s" * 256},
    {"tenant": None},
    {"tenant": "t" * 129},
    {"subject": 5},
    {"time": "2026-11-02"},
    {"time": "2026-11-02T24:00:00Z"},
    {"idempotencykey": ""},
    {"type": "usage"},
    {"type": None},
    {"data": []},
    {"data": None},
    {"data": {}},
    {"data": {"operation": ""}},
    {"data": {"operation": "ask", "action": "x" * 1025}},
    {"data": {"operation": "ask", "trigger": "cron"}},
    {"data": {"operation": "ask", "context": {"type": "team"}}},
    {"data": {"operation": "ask", "units": "5"}},
    {"data": {"operation": "ask", "units": -1}},
    {"data": {"operation": "ask", "units": 10**15 + 1}},
    {"data": {"operation": "ask", "usage": {"": 1}}},
    {"data": {"operation": "ask", "usage": {"a": True}}},
    {"type": "storage", "data": {"delta_bytes": 0.5}},
    {"type": "storage", "data": {}},
    {"type": "traffic", "data": {"response_bytes": -1}},
    {"type": "traffic", "data": {"status": "200"}},
    {"type": "webhook", "data": {"verified": 1}},
    {"type": "correction", "data": {}},
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_decoder_models_and_json_schema_refuse_the_same_faults(fault):
    whole = {**event(), **fault}
    assert not is_event(line(whole))
    assert not is_modelled(line(whole))
    assert not JSON_SCHEMA.is_valid(whole)


SPACES = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"
NO_SPACES = "\u200b\ufeff\u180e\u2060\x7f\x1b"
TAKEN = [
    *(event(source=f"a{letter}b") for letter in NO_SPACES),
    *(event(members={"units": number(text)}) for text in ("0.0000010", "1e15", "999999999999999.999999")),
    *(event("traffic", {"status": number(text)}) for text in (str(2**63 - 1), str(-(2**63)), "1e2")),
    event(members={"usage": {"": None, "x" * 1025: None}}),
]
REFUSED = [
    *(event(source=f"a{space}b") for space in SPACES),
    *(
        event(time=time)
        for time in ("2026-02-29T00:00:00Z", "1999-12-31T23:59:59Z", "2026-11-02T06:13:20Z\n")
    ),
    *(event(members={"units": number(text)}) for text in ("0.0000001", "1e-7", "1000000000000000.000001")),
    *(event("traffic", {"status": number(text)}) for text in (str(2**63), str(-(2**63) - 1), "0.1", "1e300")),
    *(event("storage", {"delta_bytes": number(text)}) for text in ("-1000000000000001", "-0.5", "1e16")),
    event(members={"usage": {"x" * 1025: 0}}),
]


@pytest.mark.parametrize("whole", TAKEN)
def test_decoder_and_models_take_what_is_just_inside(whole):
    assert is_event(line(whole))
    assert is_modelled(line(whole))


@pytest.mark.parametrize("whole", REFUSED)
def test_decoder_and_models_refuse_what_is_just_outside(whole):
    assert not is_event(line(whole))
    assert not is_modelled(line(whole))


@pytest.mark.parametrize("kind", TYPE_NAMES)
def test_decoder_models_and_json_schema_take_the_least_of_each_type(kind):
    whole = event(kind)
    assert is_event(line(whole))
    assert is_modelled(line(whole))
    assert JSON_SCHEMA.is_valid(whole)


def test_the_json_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(event_json_schema())


def test_the_command_prints_the_json_schema(capsys):
    assert run(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == event_json_schema()


def test_the_models_name_the_members_that_the_decoder_reads():
    kinds = get_args(get_args(schema.PublishedEvent)[0])
    assert len(kinds) == len(TYPE_NAMES)
    for kind, (code, known) in zip(kinds, MEMBERS.items(), strict=True):
        data = kind.model_fields["data"].annotation
        assert set(kind.model_fields) == ATTRIBUTE_NAMES
        assert kind.model_fields["type"].annotation.__args__ == (TYPE_NAMES[code],)
        assert set(data.model_fields) - {"event", "reason"} == known
    assert set(schema.Context.model_fields) == CONTEXT_MEMBERS
