"""Templates of idempotency keys: the event's id, and what a pointer finds in the payload."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.key_template import Body, parse_template

PAYLOAD = r"""{"other": 1, "event": {
  "id": "evt_1", "text": "a\u00e9\n\"b", "empty": "", "": "no name",
  "yes": true, "no": false, "nothing": null, "n": -12.50, "e": 1E+3, "big": 123456789012345678901, "zero": -0,
  "object": {"a": 1}, "array": ["x", [10, {"y": "deep"}]],
  "a/b": "slash", "m~n": "tilde", "~1": "escaped", "id2": 1, "id2": 2, "0": "digit", "%41": "percent"
} , "last": {"id": "wrong"}}"""


def render(template: str, attributes: str = PAYLOAD, event_id: str = "e-1") -> str | None:
    return parse_template(template).render(event_id, attributes)


@pytest.mark.parametrize(
    ("pointer", "key"),
    [
        ("/id", "evt_1"),
        ("/text", 'aé\n"b'),
        ("/", "no name"),
        ("/n", "-12.50"),
        ("/e", "1E+3"),
        ("/big", "123456789012345678901"),
        ("/zero", "-0"),
        ("/yes", "true"),
        ("/no", "false"),
        ("/array/0", "x"),
        ("/array/1/1/y", "deep"),
        ("/a~1b", "slash"),
        ("/m~0n", "tilde"),
        ("/~01", "escaped"),
        ("/id2", "2"),
        ("/0", "digit"),
        ("/%41", "percent"),
    ],
)
def test_a_pointer_renders_the_scalar_that_it_finds(pointer, key):
    assert render(f"{{$event.body#{pointer}}}") == key


@pytest.mark.parametrize(
    "pointer",
    [
        "/missing",
        "/id/deeper",
        "/n/0",
        "/nothing",
        "/nothing/x",
        "/object",
        "/array",
        "",
        "/array/2",
        "/array/-",
        "/array/-1",
        "/array/01",
        "/array/00",
        "/array/x",
        "/array/99999999999999999999",
        "/array/\u0660",
        "/other",
        "/A",
    ],
)
def test_a_pointer_that_finds_no_scalar_leaves_the_default_key(pointer):
    assert render(f"stripe:{{$event.body#{pointer}}}") is None


def test_text_id_and_payload_are_put_together():
    assert render("a:{$event.id}/{$event.body#/id}:z") == "a:e-1/evt_1:z"


def test_the_id_needs_no_payload():
    template = parse_template("x{$event.id}")

    assert template.render("é 1", "") == "xé 1"
    assert not template.needs_payload
    assert parse_template("{$event.body#/id}").needs_payload


def test_one_missing_value_leaves_the_default_key_whatever_else_is_there():
    assert render("{$event.id}{$event.body#/id}{$event.body#/missing}") is None


@pytest.mark.parametrize(
    "attributes", ["", "{}", '{"event":null}', '{"event":[]}', '{"event":{}}', '{"x":{"id":1}}', "{"]
)
def test_attributes_without_such_a_payload_leave_the_default_key(attributes):
    assert render("{$event.body#/id}", attributes) is None


def test_an_empty_pointer_takes_a_payload_that_is_itself_a_scalar():
    assert render("{$event.body#}", '{"event": "whole"}') == "whole"


def test_a_payload_nested_beyond_sense_leaves_the_default_key():
    deep = '{"event":{"a":' + "[" * 100_000 + "]" * 100_000 + ',"id":1}}'

    assert render("{$event.body#/id}", deep) is None


def test_an_empty_or_overlong_key_leaves_the_default_key():
    assert render("{$event.body#/empty}") is None
    assert render("k{$event.body#/empty}") == "k"
    assert render("{$event.id}", "", "x" * 512) == "x" * 512
    assert render("{$event.id}", "", "x" * 513) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("constant", "names nothing of the event, so all would share one key"),
        ("", "names nothing of the event"),
        ("{$event.body}", "{$event.body} is not known: write {$event.id} or {$event.body#/json/pointer}"),
        ("{$event.source}", "{$event.source} is not known"),
        ("{}", "{} is not known"),
        ("{$event.id", "the brace at character 1 of '{$event.id' has no partner"),
        ("{$event.id}}", "the brace at character 12 of"),
        ("a{{$event.id}}", "the brace at character 2 of"),
        ("{$event.body#id}", "the JSON pointer 'id' must begin with a slash"),
        ("{$event.body#/a~2}", "the JSON pointer '/a~2' has a ~ that is neither"),
        ("{$event.body#/a~}", "the JSON pointer '/a~' has a ~ that is neither"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(text, sentence):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        parse_template(text)

    assert sentence in str(caught.value)


NAMES = st.text(st.characters(blacklist_characters="{}", blacklist_categories=["Cs"]), max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


def scalars(value, steps=()):
    """Every scalar below a value, with the steps that lead to it."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for step, inner in items:
            yield from scalars(inner, (*steps, str(step)))
    elif value is not None:
        yield steps, value


@given(VALUES)
def test_every_scalar_of_any_payload_is_found_by_its_pointer(payload):
    attributes = json.dumps({"event": payload})

    for steps, value in scalars(payload):
        pointer = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
        template = parse_template(f"k{{$event.body#{pointer}}}")
        text = value if isinstance(value, str) else json.dumps(value)
        assert template.parts[1] == Body(steps)
        assert template.render("id", attributes) == "k" + text


@given(st.text(st.sampled_from("{}$event.idbody#/~01ax"), max_size=20), st.text(max_size=30))
def test_any_text_is_a_template_or_a_sentence_and_any_attributes_a_key_or_none(text, attributes):
    try:
        key = parse_template(text).render("id", attributes)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert key is None or 1 <= len(key) <= 512
