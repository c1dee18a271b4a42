"""One line is an event, or has one reason why not: the first of the order in the contract."""

from itertools import combinations

import pytest
from event_lines import ABSENT, LENIENT, NOW_MS, accepted, event, judge, line, number, refused

from pipeline.event import UNATTRIBUTED, Event, Reason, Reject

# The order of the reasons.


def _set(name, value):
    return lambda whole: whole.update({name: value})


def _set_data(name, value):
    return lambda whole: isinstance(whole.get("data"), dict) and whole["data"].update({name: value})


def _remove(name):
    return lambda whole: whole.pop(name, None)


FAULTS = [
    (Reason.MISSING_ATTRIBUTE, "no tenant", _remove("tenant")),
    (Reason.MISSING_ATTRIBUTE, "no specversion", _remove("specversion")),
    (Reason.MISSING_ATTRIBUTE, "no data", _remove("data")),
    (Reason.MISSING_ATTRIBUTE, "null for id", _set("id", None)),
    (Reason.INVALID_ATTRIBUTE, "another specversion", _set("specversion", "0.3")),
    (Reason.INVALID_ATTRIBUTE, "empty source", _set("source", "")),
    (Reason.INVALID_ATTRIBUTE, "long key", _set("idempotencykey", "k" * 513)),
    (Reason.INVALID_ATTRIBUTE, "no time", _set("time", "tomorrow")),
    (Reason.INVALID_ATTRIBUTE, "type a number", _set("type", 1)),
    (Reason.UNKNOWN_TYPE, "unknown type", _set("type", "usage")),
    (Reason.INVALID_DATA, "data an array", _set("data", [])),
    (Reason.INVALID_DATA, "action a number", _set_data("action", 5)),
    (Reason.INVALID_DATA, "usage of text", _set_data("usage", {"b": "1"})),
    (Reason.TIME_IN_FUTURE, "time ahead", _set("time", "2100-01-01T00:00:00Z")),
    (Reason.QUANTITY_OUT_OF_RANGE, "too many units", _set_data("units", 10**15 + 1)),
]
PAIRS = [
    pytest.param(first, later, id=f"{first[1]} and {later[1]}")
    for first, later in combinations(FAULTS, 2)
    if first[0] is not later[0]
]


@pytest.mark.parametrize("fault", FAULTS, ids=[name for _, name, _ in FAULTS])
def test_each_fault_by_itself_has_its_reason(fault):
    whole = event()
    fault[2](whole)
    assert refused(whole) is fault[0]


@pytest.mark.parametrize(("first", "later"), PAIRS)
def test_of_two_faults_the_earlier_reason_wins(first, later):
    whole = event()
    later[2](whole)
    first[2](whole)
    assert refused(whole) is first[0]


@pytest.mark.parametrize("fault", FAULTS, ids=[name for _, name, _ in FAULTS])
def test_a_line_that_is_no_json_or_no_object_has_no_other_fault(fault):
    whole = event()
    fault[2](whole)
    assert refused(line(whole) + b"}") is Reason.UNREADABLE
    assert refused([whole]) is Reason.NOT_AN_OBJECT
    assert refused(line([whole]) + b"}") is Reason.UNREADABLE


def test_the_form_of_any_quantity_is_judged_before_the_size_of_any_other():
    assert refused(event(members={"units": 10**16, "usage": {"a": "1"}})) is Reason.INVALID_DATA
    assert refused(event(members={"usage": {"a": 10**16, "b": -1}})) is Reason.INVALID_DATA


def test_the_future_is_judged_before_the_size_of_quantities():
    assert refused(event(time="2027-01-01T00:00:00Z", members={"units": 10**16})) is Reason.TIME_IN_FUTURE


# Attributes.


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type", "tenant", "data"])
@pytest.mark.parametrize("value", [ABSENT, None], ids=["absent", "null"])
def test_what_is_required_must_be_there(name, value):
    assert refused(event(**{name: value})) is Reason.MISSING_ATTRIBUTE


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("id", 1, 256),
        ("source", 1, 255),
        ("tenant", 1, 128),
        ("subject", 0, 1024),
        ("idempotencykey", 1, 512),
    ],
)
@pytest.mark.parametrize("character", ["x", "é", "語", "🧾", "\u0301"])
def test_attributes_have_their_length_in_characters(name, least, most, character):
    assert accepted(event(**{name: character * most}))
    assert refused(event(**{name: character * (most + 1)})) is Reason.INVALID_ATTRIBUTE
    assert isinstance(judge(event(**{name: ""})), Reject if least else Event)


@pytest.mark.parametrize(
    "name", ["specversion", "id", "source", "type", "tenant", "subject", "time", "idempotencykey"]
)
@pytest.mark.parametrize("value", [1, 1.0, True, False, [], {}, ["x"]], ids=str)
def test_attributes_of_another_json_type_are_invalid(name, value):
    assert refused(event(**{name: value})) is Reason.INVALID_ATTRIBUTE


@pytest.mark.parametrize(
    "space", list(" \t\n\r\x0b\x0c\x1c\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000")
)
def test_a_source_has_no_white_space(space):
    for source in (f"/a{space}b", f"{space}/a", f"/a{space}", space):
        assert refused(event(source=source)) is Reason.INVALID_ATTRIBUTE


@pytest.mark.parametrize("version", ["", "1", "1.0 ", "1.1", "0.3"])
def test_only_version_1_0_is_known(version):
    assert refused(event(specversion=version)) is Reason.INVALID_ATTRIBUTE


@pytest.mark.parametrize("kind", ["", "Traffic", "traffic ", "usage", "com.example.traffic"])
def test_a_type_that_is_not_in_the_list_is_unknown(kind):
    assert refused(event(type=kind)) is Reason.UNKNOWN_TYPE


@pytest.mark.parametrize("subject", ["", None, ABSENT])
def test_without_a_subject_the_principal_is_unattributed(subject):
    assert accepted(event(subject=subject)).principal == UNATTRIBUTED


def test_a_tenant_may_be_missing_only_where_the_operator_says_so():
    for tenant in (None, ABSENT):
        assert refused(event(tenant=tenant)) is Reason.MISSING_ATTRIBUTE
        assert accepted(event(tenant=tenant), LENIENT).tenant == "@unattributed"
    assert accepted(event(tenant="acme"), LENIENT).tenant == "acme"
    assert refused(event(tenant=""), LENIENT) is Reason.INVALID_ATTRIBUTE


def test_the_key_is_the_explicit_one_or_left_open():
    assert accepted(event(idempotencykey="k 1")).idempotency_key == "k 1"
    assert accepted(event()).idempotency_key is None
    assert accepted(event(idempotencykey=None)).idempotency_key is None


def test_without_a_time_the_event_happened_when_it_arrived():
    for time in (None, ABSENT):
        assert accepted(event(time=time)).occurred_at_ms == NOW_MS


@pytest.mark.parametrize(
    ("time", "moment_ms"),
    [
        ("2000-01-01T00:00:00Z", 946_684_800_000),
        ("2000-01-01t01:00:00.0009+01:00", 946_684_800_000),
        ("2026-11-02T06:18:20.000999Z", NOW_MS + 300_000),
        ("2026-11-02T12:03:20.000+05:45", NOW_MS + 300_000),
    ],
)
def test_the_time_is_kept_in_utc(time, moment_ms):
    assert accepted(event(time=time)).occurred_at_ms == moment_ms


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        ("", Reason.INVALID_ATTRIBUTE),
        ("2026-11-02", Reason.INVALID_ATTRIBUTE),
        ("2026-02-29T00:00:00Z", Reason.INVALID_ATTRIBUTE),
        ("1999-12-31T23:59:59.999Z", Reason.INVALID_ATTRIBUTE),
        ("2000-01-01T00:59:59.999+01:00", Reason.INVALID_ATTRIBUTE),
        ("2026-11-02T06:18:20.001Z", Reason.TIME_IN_FUTURE),
        ("2026-11-02T06:18:20.001+00:00", Reason.TIME_IN_FUTURE),
        ("9999-12-31T23:59:59-23:59", Reason.TIME_IN_FUTURE),
    ],
)
def test_times_that_are_none_too_old_or_ahead_are_refused(time, reason):
    assert refused(event(time=time)) is reason


# Sentences.


SENTENCES = [
    (b"\xef\xbb\xbf{}", "not JSON: it begins with a byte order mark, expected UTF-8 without one"),
    (b'{"a":"\xff"}', "not UTF-8 at byte 7: invalid start byte"),
    (b'{"a" 1}', "not JSON at character 6: expecting ':' delimiter"),
    (b'{"a":NaN}', "not JSON: NaN is no JSON number"),
    (b'{"a":"\\ud83d"}', "not Unicode at character 7: a lone surrogate \\ud83d"),
    (b"[1]", "the line must be a JSON object, got an array"),
    (event(tenant=ABSENT, id=None), "an event must have id, tenant, got none"),
    (event(id=""), "id must be a string of 1 to 256 characters, got ''"),
    (event(subject=7), "subject must be a string of at most 1024 characters, got the number 7"),
    (event(specversion=[1]), 'specversion must be the string "1.0", got an array'),
    (event(type="x\n"), "type must be one of traffic, compute, storage, webhook, correction, got 'x\\n'"),
    (
        event(members={"units": "5"}),
        "data.units must be a number >= 0 with at most 6 fractional digits, got '5'",
    ),
    (event("storage", {"delta_bytes": True}), "data.delta_bytes must be an integer, got true"),
    (
        event(members={"usage": {"a": {}}}),
        "data.usage.a must be a number >= 0 with at most 6 fractional digits, got an object",
    ),
    (
        event(members={"context": {"type": "x"}}),
        "data.context.type must be one of project, workspace, admin, other, got 'x'",
    ),
    (event(members={"units": number("1e16")}), "data.units must be at most 10^15, got the number 1e16"),
    (
        event("correction", {"voids": None}),
        "data.voids must be a string of 1 to 512 characters, got null",
    ),
    (
        event(time="2026-11-02T07:13:20Z"),
        (
            "time must be at most 5 minutes after the arrival, got '2026-11-02T07:13:20Z', "
            "which is 3600 seconds ahead"
        ),
    ),
]


@pytest.mark.parametrize(("value", "sentence"), SENTENCES, ids=[sentence[:20] for _, sentence in SENTENCES])
def test_the_sentence_says_what_where_expected_and_got(value, sentence):
    assert judge(value).detail == sentence


@pytest.mark.parametrize(
    "value",
    [
        event(id="\x00\x1b[2J" * 1000),
        event(members={"units": number("9" * 100_000)}),
        event(members={"usage": {"\u202e\n" * 500: "x"}}),
        event(members={"trigger": "🧾" * 100_000}),
    ],
)
def test_a_sentence_is_short_and_printable_whatever_was_sent(value):
    detail = judge(value).detail
    assert len(detail) < 300
    assert detail.isprintable()
