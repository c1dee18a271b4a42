"""What has no column is kept as it was sent."""

import json
from dataclasses import replace

import pytest
from event_lines import accepted, event


def test_unknown_members_are_kept_as_they_were_sent():
    text = (
        b'{"specversion":"1.0","first":1.50,"id":"e1","source":"/svc","type":"compute","tenant":"acme",'
        b'"data":{"z":{ "a" : [1,  null] },"operation":"ask","nothing":null,"\\u0061":"\\u00e9\\/"},'
        b'"last":"\xc3\xa9"}'
    )
    assert accepted(text).attributes == (
        '{"z":{ "a" : [1,  null] },"a":"\\u00e9\\/","first":1.50,"last":"é"}'
    )


def test_names_are_written_in_their_canonical_form():
    name = '"\\\n\x00/é🧾\x7f'
    assert accepted(event(members={name: 1})).attributes == f"{{{json.dumps(name, ensure_ascii=False)}:1}}"


def test_nothing_left_is_no_text():
    assert accepted(event(extra=None, members={"more": None, "context": {"level": None}})).attributes == ""


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("compute", "method"),
        ("compute", "status"),
        ("compute", "voids"),
        ("compute", "reason"),
        ("traffic", "units"),
        ("traffic", "delta_bytes"),
        ("storage", "verified"),
        ("storage", "provider"),
        ("webhook", "object"),
        ("correction", "units"),
    ],
)
@pytest.mark.parametrize("value", ["x" * 2000, -1, {"a": []}], ids=["text", "number", "object"])
def test_members_of_another_type_are_text_that_nobody_judges(kind, name, value):
    found = accepted(event(kind, {name: value}))
    assert json.loads(found.attributes) == {name: value}
    assert found == replace(accepted(event(kind)), attributes=found.attributes)


@pytest.mark.parametrize("payload", ["text", 1, True, [1], {}, {"a": {"b": None}}], ids=str)
def test_the_payload_of_a_webhook_is_any_json(payload):
    assert json.loads(accepted(event("webhook", {"event": payload})).attributes) == {"event": payload}


def test_an_extension_gives_way_to_a_member_of_the_same_name():
    found = accepted(event(note="outer", ce_note="other", members={"note": "inner"}))
    assert json.loads(found.attributes) == {"note": "inner", "ce_note": "outer", "ce_ce_note": "other"}
    found = accepted(event(ce_note="other", note="outer", members={"note": "inner"}))
    assert json.loads(found.attributes) == {"note": "inner", "ce_note": "other", "ce_ce_note": "outer"}


def test_an_extension_cannot_pose_as_the_payload():
    assert json.loads(accepted(event("webhook", event="fake")).attributes) == {"ce_event": "fake"}


def test_unknown_members_of_the_context_are_kept_in_it():
    data = {"x": 1, "context": {"level": 2, "name": "p", "gone": None}, "y": 3}
    found = accepted(event(members=data))
    assert found.attributes == '{"x":1,"context":{"level":2},"y":3}'
    assert found.context_name == "p"


def test_a_context_may_be_all_that_has_something_unknown():
    assert accepted(event(members={"context": {"level": [2]}})).attributes == '{"context":{"level":[2]}}'


def test_an_extension_called_context_stands_beside_the_context():
    found = accepted(event(context="outer", members={"context": {"level": 2}}))
    assert found.attributes == '{"context":{"level":2},"ce_context":"outer"}'
