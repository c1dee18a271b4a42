"""The dumb model held to sections 1 to 3 of the contract by hand: each case is a sentence of them."""

from datetime import UTC, datetime

import pytest

from tests.model.cases import ARRIVAL_MS, ASKED, NONE, line, model, outcome, row, voiding

# 1. A usage event.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "unreadable"),
        (b"{", "unreadable"),
        (b"\xef\xbb\xbf" + line(), "unreadable"),
        (line().replace(b"acme", b"ac\xffme"), "unreadable"),
        (line()[:-1] + b',"x":NaN}', "unreadable"),
        (line()[:-1] + b',"x":"\\ud800"}', "unreadable"),
        (line()[:-1] + b',"x":1,"x":["\\ud800"],"x":1}', "unreadable"),
        (line()[:-1] + b',"x":"\\ud83e\\uddfe"}', "accepted"),
        (line()[:-1] + b',"x":' + b"[" * 256 + b"]" * 256 + b"}", "unreadable"),
        (line()[:-1] + b',"x":' + b"[" * 255 + b"]" * 255 + b"}", "accepted"),
        (line()[:-1] + b',"x":"' + b"[" * 999 + b'"}', "accepted"),
        (b"[" + line() + b"]", "not_an_object"),
        (b"null", "not_an_object"),
        (b" \t" + line() + b"\r", "accepted"),
        (line()[:-1] + b',"id":null}', "missing_attribute"),
        (line()[:-1] + b',"id":""}', "invalid_attribute"),
        (b'{"id":"",' + line()[1:], "accepted"),
    ],
)
def test_json_is_rfc_8259_in_utf_8_and_of_duplicates_the_last_counts(text, expected):
    assert outcome(text) == expected


NO_TIMES = (
    "", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01T00:00:60Z", "2026-01-01T24:00:00Z",
    "2026-02-29T00:00:00Z", "1999-12-31T23:59:59.999Z", "2000-01-01T00:00:00+00:01", 5,
    "2026-01-01 00:00:00Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+24:00",
)  # fmt: skip


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type", "tenant", "data"])
@pytest.mark.parametrize("value", [NONE, None])
def test_an_attribute_that_is_required_and_absent_or_null_is_missing(name, value):
    assert outcome(line(**{name: value})) == "missing_attribute"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("specversion", ["1.0"], ["0.3", "1", 1.0, ""]),
        ("id", ["i", "i" * 256, "🧾" * 256], ["", "i" * 257, 5]),
        ("source", ["s" * 255, "//host:1/a?b#c"], ["", "s" * 256, "a b", "a\n", "a\u2003b", []]),
        ("tenant", ["t" * 128], ["", "t" * 129, True]),
        ("subject", ["", None, "s" * 1024], ["s" * 1025, 1]),
        ("idempotencykey", ["k" * 512, None], ["", "k" * 513, {}]),
        ("type", [], [5, True, []]),
        (
            "time",
            ["2000-01-01T00:00:00Z", "2024-02-29t23:59:59.1z", "2026-01-01T00:00:00.123456789+05:45"],
            NO_TIMES,
        ),
    ],
)
def test_attributes_have_their_form(name, good, bad):
    assert {outcome(line(**{name: value})) for value in good} <= {"accepted"}
    assert {outcome(line(**{name: value})) for value in bad} == {"invalid_attribute"}


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("traffic", [{}, {"method": "GET", "endpoint": "/", "status": 200}, {"units": "text of no one"}],
         [{"method": 1}, {"endpoint": "e" * 1025}, {"status": "200"}, {"status": 1.5}, {"request_bytes": -1},
          {"response_bytes": 0.5}, {"request_bytes": "1"}]),
        ("compute",
         [{"operation": "x"}, {"operation": "x", "units": 0.000001}, {"operation": "x", "units": None}],
         [{}, {"operation": ""}, {"operation": None}, {"operation": "x", "units": -1},
          {"operation": "x", "units": 0.0000001}, {"operation": "x", "units": True}]),
        ("storage", [{"delta_bytes": -5, "object": "o"}, {"delta_bytes": 0}],
         [{}, {"delta_bytes": None}, {"delta_bytes": 0.1}, {"delta_bytes": 1, "object": 5}]),
        ("webhook", [{}, {"provider": "p", "verified": False, "event": [1]}],
         [{"provider": 1}, {"verified": "true"}]),
        ("correction", [], [{}, {"voids": ""}, {"voids": "v" * 513}, {"voids": "k", "reason": 1}]),
        ("traffic",
         [{"action": "a", "operation": "o" * 1024}, {"context": {}},
          {"context": {"type": "admin", "name": "n", "display": "d"}},
          {"trigger": "scheduled"}, {"usage": {"s": 1, "t": None}}],
         [{"action": 1}, {"operation": "o" * 1025}, {"context": "project"}, {"context": {"type": "team"}},
          {"context": {"name": 1}}, {"trigger": "sometimes"}, {"usage": []}, {"usage": {"s": "1"}},
          {"usage": {"s": -1}}, {"usage": {"": 1}}]),
        ("webhook", [], [[], "text", 1, True]),
    ],
)  # fmt: skip
def test_data_has_the_form_of_its_type(kind, good, bad):
    assert {outcome(line(kind, data)) for data in good} <= {"accepted"}
    assert {outcome(line(kind, data)) for data in bad} == {"invalid_data"}


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("1e3", "accepted"),
        ("1.0", "accepted"),
        ("-0", "accepted"),
        ("0.0000000", "accepted"),
        ("1000000000000000", "accepted"),
        ("999999999999999.999999", "accepted"),
        ("0e-999999999999999999999", "accepted"),
        ("0.0000001", "invalid_data"),
        ("1e-7", "invalid_data"),
        ("-1", "invalid_data"),
        ("-1e300", "invalid_data"),
        ("1000000000000000.0000001", "invalid_data"),
        ("1000000000000001", "quantity_out_of_range"),
        ("1000000000000000.000001", "quantity_out_of_range"),
        ("1e300", "quantity_out_of_range"),
        ("1e999999999999999999999", "quantity_out_of_range"),
        ("9" * 5000, "quantity_out_of_range"),
    ],
)
def test_quantities_are_taken_by_their_exact_value_form_and_sign_before_magnitude(number, expected):
    text = line(data={"operation": "gift", "units": 7}).replace(b"7", number.encode())
    assert outcome(text) == expected


def test_what_is_not_said_has_its_default():
    found = row({"method": "GET", "endpoint": "/a", "request_bytes": None}, kind="traffic")
    assert (found.operation, found.principal, found.action) == ("GET /a", "@unattributed", "")
    assert (found.at_ms, found.billing_period, found.key) == (ARRIVAL_MS, "2026-11", "/svc 1")
    assert row({"method": "GET"}, kind="traffic").operation == "GET"
    assert row({"operation": "x"}).base_units == 1
    assert row({"operation": "x"}, subject="").principal == "@unattributed"


def test_time_is_kept_in_utc_and_cut_to_milliseconds():
    found = row({"operation": "x"}, time="2026-11-01T00:30:00.0019999+01:00")
    moment = datetime(2026, 10, 31, 23, 30, 0, 1000, tzinfo=UTC)
    assert (found.at_ms, found.billing_period) == (moment.timestamp() * 1000, "2026-10")


def test_an_event_without_tenant_goes_to_the_account_that_is_set_and_never_to_stripe():
    judge = model(unattributed_tenant="@unattributed", refuse_unknown_tenants=True)
    assert judge.feed(line(tenant=NONE, kind="traffic", data={"request_bytes": 10})).kind == "accepted"
    assert judge.sums("tenant") == {("@unattributed",): 900}
    assert judge.stripe() == {}


# 2. Once, exactly.

SAME = {"operation": "x", "units": 2, "usage": {"a": 1}}
FIRST = line(data={**SAME, "note": 1}, id="1", idempotencykey="k")


@pytest.mark.parametrize(
    "second",
    [
        {"id": "2", "source": "/other", "time": "2026-11-01T00:00:00Z"},
        {"data": {"usage": {"b": 0, "a": 1.0}, "units": 2.0, "operation": "x"}},
        {"data": {**SAME, "context": {"name": "c"}, "trigger": "scheduled"}},
        {"data": {**SAME, "action": None, "delta_bytes": 9}},
        {"subject": "@unattributed"},
    ],
)  # fmt: skip
def test_the_same_billable_content_is_a_duplicate(second):
    attributes = {"data": SAME, **second}
    assert outcome(FIRST, line(idempotencykey="k", **attributes)) == "duplicate"


@pytest.mark.parametrize(
    ("kind", "data", "subject"),
    [
        ("compute", {"operation": "y", "units": 2, "usage": {"a": 1}}, ""),
        ("compute", {"operation": "x", "usage": {"a": 1}}, ""),
        ("compute", {"operation": "x", "units": 2, "usage": {"a": 1.000001}}, ""),
        ("compute", {"operation": "x", "units": 2, "usage": {"b": 1}}, ""),
        ("compute", {"operation": "x", "units": 2, "usage": {"a": 1}, "action": "z"}, ""),
        ("compute", {"operation": "x", "units": 2, "usage": {"a": 1}}, "someone"),
        ("webhook", {"operation": "x", "units": 2, "usage": {"a": 1}}, ""),
    ],
)
def test_other_billable_content_is_a_conflict_and_the_first_stands(kind, data, subject):
    second = line(kind, data, idempotencykey="k", subject=subject)
    assert outcome(FIRST, second) == "idempotency_conflict"
    assert outcome(FIRST, second, FIRST) == "duplicate"


def test_each_quantity_of_its_type_is_billable():
    traffic = line("traffic", {"request_bytes": 1, "response_bytes": 2}, idempotencykey="k")
    for other in ({"request_bytes": 3, "response_bytes": 2}, {"request_bytes": 1, "response_bytes": 3}):
        assert outcome(traffic, line("traffic", other, idempotencykey="k")) == "idempotency_conflict"
    storage = [line("storage", {"delta_bytes": size}, idempotencykey="k") for size in (1, -1)]
    assert outcome(*storage) == "idempotency_conflict"


def test_an_effective_value_is_the_same_as_one_that_is_said():
    said = line("traffic", {"operation": "GET /a", "request_bytes": 0})
    assert outcome(said, line("traffic", {"method": "GET", "endpoint": "/a"})) == "duplicate"
    assert outcome(line(data={"operation": "x"}), line(data={"operation": "x", "units": 1})) == "duplicate"


def test_keys_belong_to_a_tenant_and_default_keys_share_their_space():
    one = line(tenant="ab", idempotencykey="c")
    assert outcome(one, line(tenant="a", idempotencykey="bc")) == "accepted"
    assert outcome(line(id="7"), line(id="8", idempotencykey="/svc 7")) == "duplicate"


def test_a_rejected_event_claims_no_key():
    wrong = line(data={"operation": "x", "units": -1}, idempotencykey="k")
    assert outcome(wrong, line(idempotencykey="k")) == "accepted"


def test_a_correction_takes_back_the_row_that_it_voids():
    judge = model()
    asked = line(data=ASKED, subject="ann", idempotencykey="k", time="2026-10-05T00:00:00Z")
    for one in (asked, voiding(subject="bob", time="2026-11-01T00:00:00Z")):
        assert judge.feed(one, arrival_ms=ARRIVAL_MS).kind == "accepted"
    first, second = judge.rows
    assert (second.type, second.voids, second.key) == ("correction", "k", "/svc void k")
    for member in ("principal", "operation", "action", "pricing", "settlement", "catalog_version", "at_ms"):
        assert getattr(second, member) == getattr(first, member)
    assert second.billing_period == "2026-10"
    assert (second.base_units, second.weighted_units, second.usage) == (-3, -30, (("openai", -7),))
    assert second.breakdown == (("compute", -50_000_000), ("openai", -14_000_000))
    assert set(judge.sums("tenant", "principal").values()) == {0}


def test_a_negated_amount_is_split_after_it_is_negated():
    judge = model()
    judge.feed(line("traffic", {"request_bytes": 5}, idempotencykey="k"))
    judge.feed(voiding())
    assert [(r.cost_micro_usd, r.residual_pico_usd) for r in judge.rows] == [(0, 450), (-1, 999_550)]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([voiding()], "voids_unknown"),
        ([voiding(), line(idempotencykey="k")], "accepted"),
        ([voiding(), line(idempotencykey="k"), voiding()], "accepted"),
        ([line(idempotencykey="k"), voiding(tenant="other")], "voids_unknown"),
        ([line(idempotencykey="k"), voiding(), voiding(id="again", subject="x", idempotencykey="z")],
         "duplicate"),
        ([line(idempotencykey="k"), voiding(), line(idempotencykey="k")], "duplicate"),
        ([line(idempotencykey="k"), voiding(), line(idempotencykey="k", subject="x")],
         "idempotency_conflict"),
        ([line(idempotencykey="k"), voiding(idempotencykey="v"), voiding("v")], "voids_unknown"),
        ([line(idempotencykey="k"), voiding(idempotencykey="v"), line(idempotencykey="v")], "accepted"),
        ([line(idempotencykey="k"), voiding(idempotencykey="k")], "accepted"),
    ],
)  # fmt: skip
def test_a_correction_is_known_by_what_it_voids(lines, expected):
    assert outcome(*lines) == expected


# 3. Rejects.

FAULTS = {
    "missing_attribute": {"id": NONE},
    "invalid_attribute": {"tenant": ""},
    "unknown_type": {"type": "usage"},
    "invalid_data": {"data": {"operation": "x", "usage": {"s": -1}}},
    "time_in_future": {"time": "2999-01-01T00:00:00Z"},
    "quantity_out_of_range": {"data": {"operation": "x", "usage": {"s": 1e300}}},
    "amount_out_of_range": {"data": {"operation": "ask", "usage": {"openai": 10**15}}},
    "unknown_tenant": {"tenant": "stranger"},
    "voids_unknown": {"type": "correction", "data": {"voids": "nothing"}},
}


@pytest.mark.parametrize("first", FAULTS)
@pytest.mark.parametrize("second", FAULTS)
def test_the_first_reason_in_the_order_of_the_contract_wins(first, second):
    order = list(FAULTS)
    if order.index(first) > order.index(second):
        first, second = second, first
    if (first, second) == ("amount_out_of_range", "voids_unknown"):
        return  # a correction has no amount of its own
    both = {**FAULTS[second], **FAULTS[first]}
    if "data" in both:
        both["data"] = {**FAULTS[second].get("data", {}), **FAULTS[first].get("data", {})}
    accounts = {"tenants": {"acme": {}}}
    assert outcome(line(**both), accounts=accounts, refuse_unknown_tenants=True) == first


def test_a_duplicate_is_found_after_all_faults_of_its_own_and_a_conflict_before_a_lock():
    locked = {"locked_periods": frozenset({"2026-11"}), "refuse_late": True}
    october = {"idempotencykey": "k", "time": "2026-10-31T00:00:00Z"}
    assert outcome(line(**october), line(idempotencykey="k"), **locked) == "duplicate"
    assert outcome(line(**october), line(idempotencykey="k", subject="x"), **locked) == "idempotency_conflict"
    assert outcome(line(**october), line(idempotencykey="new"), **locked) == "billing_period_locked"


def test_more_than_five_minutes_ahead_is_the_future():
    assert outcome(line(time="2026-11-02T06:18:20.000Z")) == "accepted"
    assert outcome(line(time="2026-11-02T06:18:20.001Z")) == "time_in_future"


def test_late_usage_is_billed_in_the_first_open_period_and_keeps_its_time():
    judge = model(locked_periods=frozenset({"2026-10", "2026-11", "2026-12"}))
    judge.feed(line(time="2026-10-05T00:00:00Z", idempotencykey="k"), arrival_ms=ARRIVAL_MS)
    assert (judge.rows[0].billing_period, judge.rows[0].at_ms) == ("2027-01", 1_791_158_400_000)


def test_a_correction_of_a_locked_row_is_of_its_own_time():
    locked = set()
    judge = model(locked_periods=locked)
    judge.feed(line(time="2026-10-05T00:00:00Z", idempotencykey="k"), arrival_ms=ARRIVAL_MS)
    locked.add("2026-10")
    judge.feed(voiding(time="2026-11-01T00:00:00Z"), arrival_ms=ARRIVAL_MS)
    assert (judge.rows[1].billing_period, judge.rows[1].at_ms) == ("2026-11", 1_793_491_200_000)


def test_nothing_that_arrives_disappears_and_blank_lines_are_no_events():
    judge = model()
    judge.feed_lines([line(), b"", b" \t\r", line(), b"{"], "file", ARRIVAL_MS)
    assert judge.counts == {"events": 3, "accepted": 1, "duplicate": 1, "rejected": 1, "conflicts": 0}
    assert judge.rejects == [("unreadable", ("file", 0, 5))]
    assert judge.rows[0].origin == ("file", 0, 1)
