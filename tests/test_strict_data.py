"""The members of data, type by type."""

from fractions import Fraction

import pytest
from event_lines import ABSENT, NOW_MS, accepted, event, number, refused

from pipeline.event import (
    CONTEXT_NAMES,
    TRIGGER_NAMES,
    TYPE_NAMES,
    ContextType,
    Event,
    EventType,
    Reason,
    Trigger,
)

# Data.


@pytest.mark.parametrize("data", [[], "x", "", 1, True, False])
def test_data_is_an_object(data):
    assert refused(event(data=data)) is Reason.INVALID_DATA


TEXTS = [
    *((kind, name) for kind in TYPE_NAMES for name in ("operation", "action")),
    ("traffic", "method"),
    ("traffic", "endpoint"),
    ("storage", "object"),
    ("webhook", "provider"),
    ("correction", "reason"),
]


@pytest.mark.parametrize(("kind", "name"), TEXTS)
@pytest.mark.parametrize("character", ["x", "🧾"])
def test_texts_have_at_most_1024_characters(kind, name, character):
    assert accepted(event(kind, {name: character * 1024}))
    assert refused(event(kind, {name: character * 1025})) is Reason.INVALID_DATA


@pytest.mark.parametrize(("kind", "name"), TEXTS)
@pytest.mark.parametrize("value", [0, True, [], {}], ids=str)
def test_texts_are_strings(kind, name, value):
    assert refused(event(kind, {name: value})) is Reason.INVALID_DATA


def test_a_traffic_event_has_its_columns():
    data = {"method": "GET", "endpoint": "/x", "status": 404, "request_bytes": 1, "response_bytes": 2}
    found = accepted(event("traffic", data, subject="u"))
    assert found == Event(
        type=EventType.TRAFFIC,
        tenant="acme",
        principal="u",
        event_id="e1",
        source="/svc",
        idempotency_key=None,
        occurred_at_ms=NOW_MS,
        operation="GET /x",
        method="GET",
        endpoint="/x",
        status=404,
        request_bytes=1,
        response_bytes=2,
    )


@pytest.mark.parametrize(
    ("data", "operation"),
    [
        ({}, ""),
        ({"method": "GET"}, "GET"),
        ({"endpoint": "/x"}, "/x"),
        ({"method": "", "endpoint": "/x"}, "/x"),
        ({"method": "get ", "endpoint": " /x"}, "get   /x"),
        ({"method": "GET", "endpoint": "/x", "operation": "read"}, "read"),
        ({"method": "GET", "endpoint": "/x", "operation": ""}, "GET /x"),
        ({"method": "GET", "endpoint": "/x", "operation": None}, "GET /x"),
        ({"method": "m" * 1024, "endpoint": "e" * 1024}, "m" * 1024 + " " + "e" * 1024),
    ],
)
def test_traffic_without_an_operation_has_method_and_endpoint(data, operation):
    assert accepted(event("traffic", data)).operation == operation


@pytest.mark.parametrize("operation", [ABSENT, None, ""])
def test_compute_needs_an_operation(operation):
    data = {} if operation is ABSENT else {"operation": operation}
    assert refused({**event(), "data": data}) is Reason.INVALID_DATA


def test_compute_is_one_unit_unless_it_says_otherwise():
    assert accepted(event()).units_micro == 1_000_000
    assert accepted(event(members={"units": None})).units_micro == 1_000_000
    assert accepted(event(members={"units": 0})).units_micro == 0
    assert accepted(event(members={"units": number("2.50")})).units_micro == 2_500_000


@pytest.mark.parametrize(("kind", "name"), [("storage", "delta_bytes"), ("correction", "voids")])
@pytest.mark.parametrize("value", [ABSENT, None])
def test_what_a_type_requires_must_be_there(kind, name, value):
    data = {} if value is ABSENT else {name: value}
    assert refused({**event(kind), "data": data}) is Reason.INVALID_DATA


def test_a_storage_event_has_its_columns():
    found = accepted(event("storage", {"delta_bytes": -5, "object": "a/b", "operation": "put"}))
    assert (found.delta_bytes, found.object, found.operation) == (-5, "a/b", "put")


@pytest.mark.parametrize("value", [0, 1, "true", [], {}])
def test_verified_is_true_or_false(value):
    assert refused(event("webhook", {"verified": value})) is Reason.INVALID_DATA


def test_a_webhook_event_has_its_columns():
    found = accepted(event("webhook", {"provider": "github", "verified": True, "action": "push"}))
    assert (found.provider, found.verified, found.action) == ("github", True, "push")
    assert accepted(event("webhook", {"verified": None})).verified is False


@pytest.mark.parametrize("voids", ["", "k" * 513, "🧾" * 513, 1, True, [], {}])
def test_voids_is_a_key(voids):
    assert refused(event("correction", {"voids": voids})) is Reason.INVALID_DATA


def test_a_correction_names_what_it_voids_and_keeps_its_reason_as_text():
    found = accepted(event("correction", {"voids": "🧾" * 512, "reason": "typo"}))
    assert found.voids == "🧾" * 512
    assert found.attributes == '{"reason":"typo"}'


@pytest.mark.parametrize(("name", "trigger"), list(zip(TRIGGER_NAMES, Trigger, strict=True)))
def test_triggers(name, trigger):
    assert accepted(event(members={"trigger": name})).trigger is trigger
    assert accepted(event(members={"trigger": None})).trigger is Trigger.SYNCHRONOUS


@pytest.mark.parametrize("value", ["", "Scheduled", "cron", 1, True, [], {}])
def test_other_triggers_are_invalid(value):
    assert refused(event(members={"trigger": value})) is Reason.INVALID_DATA


@pytest.mark.parametrize(("name", "context_type"), list(zip(CONTEXT_NAMES, ContextType, strict=True))[1:])
def test_contexts(name, context_type):
    found = accepted(event(members={"context": {"type": name, "name": "p1", "display": "P 1"}}))
    assert (found.context_type, found.context_name, found.context_display) == (context_type, "p1", "P 1")


@pytest.mark.parametrize("context", [None, {}, {"type": None, "name": None, "display": None}])
def test_a_context_may_be_empty(context):
    assert accepted(event(members={"context": context})) == accepted(event())


@pytest.mark.parametrize(
    "context",
    [
        "project",
        [],
        1,
        {"type": ""},
        {"type": "team"},
        {"type": 1},
        {"name": 1},
        {"name": "n" * 1025},
        {"display": []},
        {"display": "🧾" * 1025},
    ],
)
def test_other_contexts_are_invalid(context):
    assert refused(event(members={"context": context})) is Reason.INVALID_DATA


def test_usage_keeps_its_order_and_its_zeros():
    usage = {"b": number("1.5"), "a": 0, "gone": None, "🧾" * 1024: number("1e-6")}
    assert accepted(event(members={"usage": usage})).usage_micro == (
        ("b", 1_500_000),
        ("a", 0),
        ("🧾" * 1024, 1),
    )


@pytest.mark.parametrize(
    "usage", [[], "x", 1, True, {"": 1}, {"x" * 1025: 1}, {"a": "1"}, {"a": {}}, {"a": True}]
)
def test_other_usage_is_invalid(usage):
    assert refused(event(members={"usage": usage})) is Reason.INVALID_DATA


def test_no_source_is_judged_by_its_name_where_it_reports_nothing():
    assert accepted(event(members={"usage": {"": None, "x" * 1025: None}})).usage_micro == ()


# Quantities.

QUANTITIES = [
    ("compute", "units", 10**6, False),
    ("traffic", "request_bytes", 1, False),
    ("traffic", "response_bytes", 1, False),
    ("storage", "delta_bytes", 1, True),
]
COLUMNS = {"units": "units_micro"}


def _with_quantity(kind, name, text):
    return event(kind, {name: number(text)})


@pytest.mark.parametrize(("kind", "name", "scale", "_signed"), QUANTITIES)
@pytest.mark.parametrize("text", ["0", "-0", "-0.0e5", "1.0", "1e3", "30e-1", "1e15", "999999999999999"])
def test_quantities_are_exact(kind, name, scale, _signed, text):
    found = accepted(_with_quantity(kind, name, text))
    assert getattr(found, COLUMNS.get(name, name)) == Fraction(text) * scale


@pytest.mark.parametrize("text", ["-1", "-1e3", "-1e15", "-999999999999999", "-5.0"])
def test_only_a_delta_may_be_negative(text):
    assert accepted(_with_quantity("storage", "delta_bytes", text)).delta_bytes == Fraction(text)
    assert refused(_with_quantity("compute", "units", text)) is Reason.INVALID_DATA
    assert refused(_with_quantity("traffic", "response_bytes", text)) is Reason.INVALID_DATA


@pytest.mark.parametrize(("kind", "name", "_scale", "signed"), QUANTITIES)
@pytest.mark.parametrize("text", ["1000000000000001", "1e16", "1e300", "1e999999999999999999999", "9" * 5000])
def test_quantities_beyond_ten_to_the_fifteenth_are_out_of_range(kind, name, _scale, signed, text):
    assert refused(_with_quantity(kind, name, text)) is Reason.QUANTITY_OUT_OF_RANGE
    below = Reason.QUANTITY_OUT_OF_RANGE if signed else Reason.INVALID_DATA
    assert refused(_with_quantity(kind, name, f"-{text}")) is below


@pytest.mark.parametrize(("kind", "name", "_scale", "_signed"), QUANTITIES)
@pytest.mark.parametrize("text", ['"1"', '""', "true", "false", "[]", "[1]", "{}", "0.0000001", "1e-300"])
def test_what_is_no_quantity_is_invalid(kind, name, _scale, _signed, text):
    assert refused(_with_quantity(kind, name, text)) is Reason.INVALID_DATA


@pytest.mark.parametrize("text", ["1000000000000000.000001", "1000000000000000.0000010"])
def test_units_and_usage_are_judged_to_their_last_digit(text):
    assert refused(event(members={"units": number(text)})) is Reason.QUANTITY_OUT_OF_RANGE
    assert refused(event(members={"usage": {"a": number(text)}})) is Reason.QUANTITY_OUT_OF_RANGE
    assert refused(event(members={"usage": {"a": number(text + "1")}})) is Reason.INVALID_DATA
    assert refused(event(members={"usage": {"a": number("-" + text)}})) is Reason.INVALID_DATA


@pytest.mark.parametrize("name", ["request_bytes", "response_bytes"])
def test_bytes_are_whole(name):
    assert refused(event("traffic", {name: number("0.5")})) is Reason.INVALID_DATA
    assert refused(event("traffic", {name: number("-1")})) is Reason.INVALID_DATA
    assert accepted(event("traffic", {name: None})) == accepted(event("traffic"))


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("200", 200),
        ("-1", -1),
        ("2e2", 200),
        ("200.0", 200),
        ("null", 0),
        (str(2**63 - 1), 2**63 - 1),
        (str(-(2**63)), -(2**63)),
    ],
)
def test_a_status_is_any_integer_of_64_bits(text, status):
    assert accepted(event("traffic", {"status": number(text)})).status == status


@pytest.mark.parametrize(
    "text", ["200.5", '"200"', "true", "[]", str(2**63), str(-(2**63) - 1), "1e300", "-1e300"]
)
def test_another_status_is_invalid_and_never_out_of_range(text):
    assert refused(event("traffic", {"status": number(text)})) is Reason.INVALID_DATA
