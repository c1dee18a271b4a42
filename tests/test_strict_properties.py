"""Whatever the bytes, the answer is an event or a reject; what is sent is what is read."""

import json

import msgspec
import pytest
from event_lines import LENIENT, MINIMAL, NOW_MS, STRICT, accepted, event, line, refused
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline import extras
from pipeline.event import TYPE_NAMES, Event, Reason, Reject
from pipeline.strict import decode_event

# Sameness.


def test_of_duplicate_members_the_last_counts():
    text = line(event(extra=2)).replace(b"{", b'{"tenant":5,"data":[],"extra":1,"id":null,', 1)
    assert accepted(text) == accepted(event(extra=2))
    assert refused(line(event())[:-1] + b',"tenant":null}') is Reason.MISSING_ATTRIBUTE
    nested = b'{"operation":5,"usage":{"a":"x","a":1,"b":2},"usage":{"a":2,"a":3},"operation":"ask"}'
    assert accepted(event() | {"data": msgspec.Raw(nested)}).usage_micro == (("a", 3_000_000),)


def test_a_member_that_is_last_null_is_absent():
    assert accepted(line(event(extra=1))[:-1] + b',"extra":null}').attributes == ""


@pytest.mark.parametrize("kind", TYPE_NAMES)
def test_null_is_the_same_as_absent(kind):
    optional = ["operation", "action", "context", "trigger", "usage", "method", "endpoint", "status", "event"]
    optional += [
        "request_bytes",
        "response_bytes",
        "units",
        "object",
        "provider",
        "verified",
        "reason",
        "new",
    ]
    nulls = {name: None for name in optional if name not in MINIMAL[kind]}
    with_nulls = event(kind, nulls, subject=None, idempotencykey=None, extension=None)
    assert accepted(with_nulls) == accepted(event(kind))


# Whatever the bytes.

MEMBERS = frozenset().union(*extras.MEMBERS.values(), extras.ATTRIBUTE_NAMES, extras.CONTEXT_MEMBERS)
NAMES = st.sampled_from(sorted(MEMBERS | {"event", "reason", "x"}))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=8), inner, max_size=8)
    ),
    max_leaves=20,
)
VALID = [
    line(event(kind, {"usage": {"a": 1}, "context": {"type": "admin"}, "more": [1]})) for kind in TYPE_NAMES
]


def assert_judged(text):
    for rules in (STRICT, LENIENT):
        outcome = decode_event(text, NOW_MS, rules)
        assert isinstance(outcome, Event | Reject)
        if isinstance(outcome, Reject):
            assert Reason.UNREADABLE <= outcome.reason <= Reason.QUANTITY_OUT_OF_RANGE
            assert outcome.detail.isprintable()
            assert 0 < len(outcome.detail) < 400
        elif outcome.attributes:
            assert json.loads(outcome.attributes)


@given(st.binary())
@example(b"\xef\xbb\xbf")
@example(b'{"a":"\\')
def test_any_bytes_are_an_event_or_a_reject(text):
    assert_judged(text)


@given(JSON)
def test_any_json_is_an_event_or_a_reject(value):
    assert_judged(json.dumps(value).encode())


@given(st.sampled_from(VALID), st.integers(0, 400), st.integers(0, 4), st.binary(max_size=4))
def test_a_valid_line_with_any_damage_is_an_event_or_a_reject(text, at, length, damage):
    at %= len(text)
    assert_judged(text[:at] + damage + text[at + length :])


@given(
    st.sampled_from(TYPE_NAMES),
    st.dictionaries(NAMES, JSON, max_size=4),
    st.dictionaries(NAMES, JSON, max_size=4),
)
def test_an_event_with_any_members_is_an_event_or_a_reject(kind, data, attributes):
    whole = {**event(kind, data), **attributes}
    assert_judged(json.dumps(whole).encode())


# There and back.

TEXT = st.text(min_size=1, max_size=40)
MICRO = st.integers(0, 10**21)
UNKNOWN = st.dictionaries(TEXT.map(lambda name: f"x_{name}"), JSON, max_size=4)


def micro(size):
    return f"{size // 10**6}.{size % 10**6:06}"


def written(members, *, escaped):
    """An object of JSON texts."""
    return "{" + ",".join(f"{json.dumps(n, ensure_ascii=escaped)}:{v}" for n, v in members.items()) + "}"


@given(st.data(), st.booleans())
def test_what_is_sent_is_what_is_read(data, escaped):
    texts = {name: data.draw(TEXT, name) for name in ("tenant", "id", "subject", "idempotencykey")}
    inner_texts = {name: data.draw(TEXT, name) for name in ("operation", "action")}
    units, usage = data.draw(MICRO, "units"), data.draw(st.dictionaries(TEXT, MICRO, max_size=4), "usage")
    unknown, extensions = data.draw(UNKNOWN, "unknown"), data.draw(UNKNOWN, "extensions")
    dump = lambda members: {name: json.dumps(value, ensure_ascii=escaped) for name, value in members.items()}
    inner = dump(inner_texts | unknown) | {
        "units": micro(units),
        "usage": written({name: micro(size) for name, size in usage.items()}, escaped=escaped),
    }
    outer = dump(event(**texts) | extensions)
    outer["data"] = written(dict(data.draw(st.permutations(list(inner.items())))), escaped=escaped)
    sent = written(dict(data.draw(st.permutations(list(outer.items())))), escaped=escaped)

    found = accepted(sent.encode())

    assert (found.tenant, found.event_id, found.principal, found.idempotency_key) == tuple(texts.values())
    assert (found.operation, found.action) == tuple(inner_texts.values())
    assert (found.units_micro, dict(found.usage_micro)) == (units, usage)
    kept = {name: value for name, value in unknown.items() if value is not None}
    beside = {("ce_" if n in kept else "") + n: value for n, value in extensions.items() if value is not None}
    assert json.loads(found.attributes or "{}") == kept | beside
