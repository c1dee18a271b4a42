"""Whatever the bytes of a line, a format gives an event or a reject, and an event is a valid CloudEvent."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.event import Reason, Reject
from pipeline.formats import load_mapping, make_format

EXAMPLES = Path(__file__).parents[1] / "examples"


def mapped(name, mapping, header=b""):
    made = make_format(name, load_mapping(EXAMPLES / f"{mapping}.toml"), None)
    return made.with_header(header)


FORMATS = {
    "access-log": make_format("access-log", None, 'a "tenant"'),
    "nginx-json": make_format("nginx-json", None, "日本"),
    "functions": mapped("csv", "functions", b"app,func,end_timestamp,duration"),
    "llm-tokens": mapped("csv", "llm-tokens", b"TIMESTAMP,ContextTokens,GeneratedTokens"),
    "wiki-edits": mapped("json", "wiki-edits"),
    "file-changes": mapped("json", "file-changes"),
    "stripe-webhooks": mapped("json", "stripe-webhooks"),
}
LINES = {
    "access-log": b'1.2.3.4 - u [17/May/2015:10:05:03 +0000] "GET /\\"?x HTTP/1.1" 200 5 "r" "\\xff" "m"',
    "nginx-json": b'{"remote_addr":"1.2.3.4","msec":"1.5","request":"GET /\\x22","status":200,"bytes":"5"}',
    "functions": b'app,"fu""nc",1.5,0.078',
    "llm-tokens": b"2023-11-16 18:17:03.9799600,4808,10",
    "wiki-edits": '{"time":"2015-09-12T00:46:58.7Z","channel":"#é","page":"\\u00e9","delta":-3.0}'.encode(),
    "file-changes": b'{"event_id":"e","principal":5,"bucket":"b","key":"k","op":"put","delta_bytes":1e3}',
    "stripe-webhooks": b'{"id":"e","type":"t","created":1e9,"data":{"object":[1,{"a":null}]}}',
}
ALLOWED = {
    Reason.UNREADABLE,
    Reason.NOT_AN_OBJECT,
    Reason.MISSING_ATTRIBUTE,
    Reason.INVALID_ATTRIBUTE,
    Reason.INVALID_DATA,
}
NAMES = st.one_of(
    st.just("a.log"), st.text(max_size=300), st.text(alphabet=["\udc80", " ", '"', "é"], min_size=200)
)


def strictly(constant):
    pytest.fail(f"{constant} is no JSON")


def check(name, line, source_name, number):
    converted = FORMATS[name].convert(line, source_name, number)
    if isinstance(converted, Reject):
        assert converted.reason in ALLOWED
        assert converted.detail
        assert "\n" not in converted.detail
        return
    event = json.loads(converted.decode("utf-8"), parse_constant=strictly, parse_float=str, parse_int=str)
    json.dumps(event, ensure_ascii=False).encode("utf-8")
    assert event["specversion"] == "1.0"
    assert event["type"] in {"traffic", "compute", "storage", "webhook"}
    assert 1 <= len(event["source"]) <= 255
    assert not any(character.isspace() for character in event["source"])
    assert event["tenant"]
    assert isinstance(event["data"], dict)
    if event.get("idempotencykey") == event["id"]:
        assert 1 <= len(event["id"]) <= 256
        assert f":{number}:" in event["id"]
    assert b"\n" not in converted


@pytest.mark.parametrize("name", FORMATS)
@given(
    line=st.binary().map(lambda raw: raw.replace(b"\n", b"")),
    source_name=NAMES,
    number=st.integers(1, 10**12),
)
@example(line=b"", source_name="", number=1)
@example(line=b"\r", source_name="\x00", number=1)
def test_any_bytes_are_an_event_or_a_reject(name, line, source_name, number):
    check(name, line, source_name, number)


@pytest.mark.parametrize("name", FORMATS)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 5), st.binary(max_size=4)), min_size=1, max_size=4
    )
)
def test_a_good_line_with_edits_is_an_event_or_a_reject(name, edits):
    line = LINES[name]
    for at, length, replacement in edits:
        line = line[:at] + replacement + line[at + length :]
    check(name, line.replace(b"\n", b""), "a.log", 1)


@pytest.mark.parametrize("name", FORMATS)
def test_the_lines_that_are_edited_are_good_ones(name):
    assert isinstance(FORMATS[name].convert(LINES[name], "a.log", 1), bytes)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize("name", ["nginx-json", "wiki-edits", "file-changes", "stripe-webhooks"])
@given(data=st.data())
def test_any_value_in_any_member_is_an_event_or_a_reject(name, data):
    line = json.loads(LINES[name].replace(rb"\x22", b""))
    chosen = data.draw(st.sampled_from(sorted(line)))
    line[chosen] = data.draw(JSON)
    check(name, json.dumps(line, ensure_ascii=data.draw(st.booleans())).encode(errors="replace"), "a.log", 1)
