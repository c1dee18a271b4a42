"""A body becomes lines exactly: cut at the level of bytes, judged like the pipeline, the tenant of the sender added."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.catalog import default_catalog
from pipeline.decode import Decoder
from pipeline.errors import ConfigError
from pipeline.event import Event
from pipeline.formats.typed import load_types
from pipeline.intake import EVENTS_MAX, Intake, Judge, MalformedBodyError, Sender, Taken, TooManyEventsError
from pipeline.rating import Rater
from pipeline.strict import Rules, decode_event

NOW = 1_790_000_000_000
RULES = Rules()


judge = Judge(Decoder(RULES), Rater(default_catalog()))
INTAKE = Intake(judge)
OWN = Sender("acme")
SERVICE = Sender()
FROM_SUBJECT = Sender("acme", from_subject=True)


def event(**more: object) -> dict[str, object]:
    plain = {
        "specversion": "1.0", "id": "1", "source": "s", "type": "compute", "time": "2026-09-01T00:00:00Z",
        "data": {"operation": "ask"},
    }  # fmt: skip
    return {name: value for name, value in {**plain, **more}.items() if value is not ...}


def take(body: object, sender: Sender = OWN) -> Taken:
    return INTAKE.take(body if isinstance(body, bytes) else json.dumps(body).encode(), sender, NOW)


def tenant_of(line: bytes) -> str:
    found = decode_event(line, NOW, RULES)
    assert isinstance(found, Event), found
    return found.tenant


def test_one_event_and_an_array_of_them_become_lines_of_the_very_bytes() -> None:
    raw = b'{"specversion":"1.0","id":"1","source":"s","type":"compute","tenant":"acme","data":{"operation":"ask"} }'
    assert take(raw).lines == [raw]
    assert take(b" [ " + raw + b" ,\n" + raw + b"\t] ").lines == [raw, raw]
    assert take(b"[]").lines == []


@pytest.mark.parametrize("tenant", [..., None])
def test_an_event_that_names_no_tenant_takes_that_of_its_key(tenant: object) -> None:
    taken = take([event(tenant=tenant), event(tenant="acme")])
    assert [tenant_of(line) for line in taken.lines] == ["acme", "acme"]
    assert taken.tenants == ["acme", "acme"]
    assert not taken.refused


@pytest.mark.parametrize("name", ['a"b', "a\\", "ä", "\u2028", "x" * 128])
def test_any_tenant_is_added_as_it_is(name: str) -> None:
    assert tenant_of(take(event(), Sender(name)).lines[0]) == name


def test_a_tenant_whose_name_is_written_with_escapes_is_seen() -> None:
    named = json.dumps(event(tenant="acme")).replace('"tenant"', '"t\\u0065nant"').encode()
    assert take(named).lines == [named]
    other = named.replace(b"acme", b"evil")
    assert [refused.reason for refused in take(other).refused] == ["tenant_not_yours"]
    absent = named.replace(b'"acme"', b"null")
    assert tenant_of(take(absent).lines[0]) == "acme"


def test_of_two_tenants_in_an_event_the_last_counts_here_as_there() -> None:
    body = json.dumps(event()).encode()[:-1]
    assert tenant_of(take(body + b',"tenant":"evil","tenant":null}').lines[0]) == "acme"
    refused = take(body + b',"tenant":"acme","tenant":"evil"}').refused
    assert [r.reason for r in refused] == ["tenant_not_yours"]
    tricky = take(body + b',"tenant":"evil","t\\u0065nant":null}')
    assert [tenant_of(line) for line in tricky.lines] == ["acme"]


def test_a_tenant_below_the_top_is_none() -> None:
    inner = event(data={"operation": "ask", "tenant": "evil", "subject": "bob"}, subject="amy")
    assert tenant_of(take(inner).lines[0]) == "acme"
    assert tenant_of(take(inner, FROM_SUBJECT).lines[0]) == "amy"


def test_an_event_of_another_tenant_is_refused_and_takes_no_neighbour_along() -> None:
    taken = take([event(), event(tenant="evil", id="7"), event(id="3")])
    assert [json.loads(line)["id"] for line in taken.lines] == ["1", "3"]
    assert [(r.index, r.event_id, r.reason) for r in taken.refused] == [(1, "7", "tenant_not_yours")]
    assert "evil" in taken.refused[0].detail


def test_a_service_names_the_tenant_itself() -> None:
    taken = take([event(tenant="a"), event(), event(tenant="b")], SERVICE)
    assert taken.tenants == ["a", "b"]
    assert [r.reason for r in taken.refused] == ["missing_attribute"]


@pytest.mark.parametrize("subject", ["amy", 'a"\\b', "ünï", "a\u0000b"])
def test_the_subject_may_stand_in_for_the_tenant(subject: str) -> None:
    taken = take([event(subject=subject), event(subject=subject, tenant="named"), event()], FROM_SUBJECT)
    assert taken.tenants == [subject, "named"]
    assert [tenant_of(line) for line in taken.lines] == taken.tenants
    assert [(r.index, r.reason) for r in taken.refused] == [(2, "missing_attribute")]


def test_a_subject_whose_name_is_escaped_stands_in_too() -> None:
    body = json.dumps(event(subject="amy")).replace('"subject"', '"s\\u0075bject"').encode()
    assert tenant_of(take(body, FROM_SUBJECT).lines[0]) == "amy"


def test_each_invalid_event_is_named_with_its_place_its_reason_and_sentence() -> None:
    bad = [
        5, [], "x", event(id=...), event(type="other"), event(data={"operation": ""}),
        event(time="2099-01-01T00:00:00Z"), event(data={"operation": "ask", "units": 10**16}), {},
    ]  # fmt: skip
    reasons = [
        "not_an_object", "not_an_object", "not_an_object", "missing_attribute", "unknown_type", "invalid_data",
        "time_in_future", "quantity_out_of_range", "missing_attribute",
    ]  # fmt: skip
    body = [item for one in bad for item in (event(), one)]
    taken = take(body)
    assert [r.index for r in taken.refused] == list(range(1, 2 * len(bad), 2))
    assert [r.reason for r in taken.refused] == reasons
    assert all(r.detail for r in taken.refused)
    assert len(taken.lines) == len(bad)


def test_an_event_that_is_no_json_is_refused_alone() -> None:
    good = json.dumps(event()).encode()
    for broken in (
        b'{"a":}',
        b'{"a":[1}]',
        b"{'a':1}",
        b"nope",
        b'{"a":"\xff"}',
        b'{"a" 1}',
        b"\x01",
        b'{"a":"\n"}',
    ):
        taken = take(b"[" + good + b"," + broken + b"," + good + b"]")
        assert [r.index for r in taken.refused] == [1], broken
        assert len(taken.lines) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"[", b"{", b"]", b'{"a":1', b"[{}", b"[{},]", b"[,{}]", b"[{} {}]", b"[{}]x", b"{}{}", b'"a',
        b'[{"a":"b}]', b"\xef\xbb\xbf{}", b"[{}]]", b"{}}", b"[1 2]", b":", b",",
    ],
)  # fmt: skip
def test_a_body_in_which_no_event_can_be_told_is_refused_whole(body: bytes) -> None:
    with pytest.raises(MalformedBodyError, match=r"at byte \d+"):
        take(body)


def test_a_body_has_a_bounded_number_of_events() -> None:
    assert len(take(b"[" + b",".join([b"1"] * EVENTS_MAX) + b"]").refused) == EVENTS_MAX
    with pytest.raises(TooManyEventsError):
        take(b"[" + b",".join([b"1"] * (EVENTS_MAX + 1)) + b"]")


def test_an_event_that_no_log_would_take_is_refused() -> None:
    taken = take([event(data={"operation": "ask", "note": "x" * 900_000}), event()])
    assert [(r.index, r.reason) for r in taken.refused] == [(0, "event_too_large")]
    assert len(taken.lines) == 1


def test_line_breaks_between_tokens_become_blanks_and_none_in_a_string_is_let_through() -> None:
    pretty = json.dumps([event(tenant="acme"), event()], indent=2).encode()
    taken = take(pretty)
    assert len(taken.lines) == 2
    assert all(b"\n" not in line for line in taken.lines)
    assert [json.loads(line)["tenant"] for line in taken.lines] == ["acme", "acme"]
    assert take(json.dumps(event()).encode().replace(b'"ask"', b'"a\nk"')).refused[0].reason == "unreadable"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
members = st.dictionaries(
    st.sampled_from(["tenant", "subject", "id", "data", "type", "x"]) | st.text(max_size=8),
    json_values,
    max_size=5,
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(members.map(lambda extra: event(**extra)) | json_values, max_size=6),
    st.sampled_from([OWN, SERVICE, FROM_SUBJECT]), st.booleans(), st.sampled_from([None, 1]),
)  # fmt: skip
def test_any_array_is_judged_as_its_elements_are_by_the_definition(
    elements: list[object], sender: Sender, is_ascii: bool, indent: int | None
) -> None:
    """The definition: parse, add the tenant where there is none, judge strictly."""
    try:
        body = json.dumps(elements, ensure_ascii=is_ascii, indent=indent).encode()
    except UnicodeEncodeError:
        return
    taken = INTAKE.take(body, sender, NOW)
    lines, refused = [], []
    for index, came in enumerate(elements):
        element = came
        if isinstance(element, dict) and element.get("tenant") is None:
            subject = element.get("subject")
            given_tenant = subject if sender.from_subject and isinstance(subject, str) else None
            given_tenant = given_tenant if sender.from_subject else sender.tenant
            element = element if given_tenant is None else {**element, "tenant": given_tenant}
        text = json.dumps(element, ensure_ascii=is_ascii).encode()
        outcome = decode_event(text, NOW, RULES)
        if not isinstance(outcome, Event):
            refused.append((index, outcome.reason.code))
        elif sender is OWN and outcome.tenant != "acme":
            refused.append((index, "tenant_not_yours"))
        else:
            lines.append(element)
    assert [(r.index, r.reason) for r in taken.refused] == refused
    assert [json.loads(line) for line in taken.lines] == lines
    assert len(taken.tenants) == len(lines)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='[]{}",:\\ \nabt1', max_size=40).map(str.encode))
def test_whatever_the_bytes_every_element_has_an_outcome_or_the_body_none(body: bytes) -> None:
    try:
        taken = INTAKE.take(body, OWN, NOW)
    except MalformedBodyError:
        taken = None
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return
    assert taken is not None
    assert len(taken.refused) == (len(value) if isinstance(value, list) else 1)


TYPES = """
[types."api.request"]
type = "traffic"
[types."api.request".data]
method = { column = "data.method" }
response_bytes = { column = "data.size" }

[types.tokens]
type = "compute"
[types.tokens.data]
operation = { template = "llm {data.model}" }
[types.tokens.usage]
tokens = { column = "data.total", required = true }
"""


def test_events_of_free_types_become_ours_and_others_stay_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "types.toml"
    path.write_text(TYPES)
    intake = Intake(judge, load_types(path))
    bodies = [
        event(type="api.request", subject="amy", data={"method": "GET", "size": "17", "x": 1}),
        event(type="tokens", id="2", data={"model": "m1", "total": 1.5}),
        event(id="3"),
        event(type="tokens", id="4", data={"model": "m1"}),
        event(type="free", id="5"),
        7,
    ]
    taken = intake.take(json.dumps(bodies).encode(), OWN, NOW)
    found = [decode_event(line, NOW, RULES) for line in taken.lines]
    assert all(isinstance(one, Event) for one in found)
    assert [(e.event_id, e.source, e.tenant, e.principal, e.operation) for e in found] == [
        ("1", "s", "acme", "amy", "GET"), ("2", "s", "acme", "@unattributed", "llm m1"),
        ("3", "s", "acme", "@unattributed", "ask"),
    ]  # fmt: skip
    assert found[0].response_bytes == 17
    assert found[1].usage_micro == (("tokens", 1_500_000),)
    assert [(r.index, r.event_id, r.reason) for r in taken.refused] == [
        (3, "4", "invalid_data"), (4, "5", "unknown_type"), (5, "", "not_an_object"),
    ]  # fmt: skip


def test_a_mistake_in_the_file_of_types_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "types.toml"
    path.write_text('[types."a.b"]\ntype = "no"\n')
    with pytest.raises(ConfigError, match=r"types.toml:2: unknown type"):
        load_types(path)
    path.write_text("")
    with pytest.raises(ConfigError, match="names no type"):
        load_types(path)
