"""Which lines are JSON, and what they say."""

import json

import msgspec
import pytest
from event_lines import accepted, event, judge, line, number, refused

from pipeline.event import Event, Reason
from pipeline.json_text import DEPTH_MAX


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"nul",
        b"{}{}",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":1.}',
        b'{"a":.5}',
        b'{"a":0x1}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":"\t"}',
        b'{"a":"\x00"}',
        b'{"a":"\\x41"}',
        b'{"a":"\\u12g4"}',
        b'{"a":1}\x0c',
        b'\xc2\xa0{"a":1}',
        b'{"a":"\xff"}',
        b'{"a":"\xc0\x80"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"\xed\xb0\x80":1}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
    ],
)
def test_what_is_no_json_in_utf8_is_unreadable(text):
    assert refused(text) is Reason.UNREADABLE


@pytest.mark.parametrize(
    "value",
    [
        r'"\ud800"',
        r'"\uDFFF"',
        r'"\udc00\ud800"',
        r'"\ud800\u0041"',
        r'"\ud83d\ud83d\ude00"',
        r'"\\\ud83d"',
        r'["x",["\ud83d"]]',
        r'{"\udfff":1}',
        r'{"a":"\ud800","a":1}',
    ],
)
def test_half_a_surrogate_pair_anywhere_is_unreadable(value):
    assert refused(line(event(extra=number(value)))) is Reason.UNREADABLE


@pytest.mark.parametrize(
    "value", [r'"\ud83d\ude00"', r'"\\ud800"', r'"\\\\udc00"', r'"\uD83D\uDE00\ud83d\ude00"']
)
def test_whole_pairs_and_escaped_backslashes_are_fine(value):
    assert accepted(event(extra=number(value))).attributes == f'{{"extra":{value}}}'


def test_escaped_and_plain_characters_are_the_same():
    assert accepted(event(tenant="x")).tenant == "x"
    escaped = line(event(tenant=number(r'"\u0061\ud83e\uddfe\/"')))
    assert accepted(escaped).tenant == "a🧾/"


def _nested(depth, opening=b"[", closing=b"]"):
    """An event whose deepest array lies `depth` deep, the event itself counted."""
    value = opening * (depth - 2) + b"[]" + closing * (depth - 2)
    return line(event(extra=msgspec.Raw(value)))


def test_nesting_has_a_fixed_limit():
    assert accepted(_nested(DEPTH_MAX))
    assert refused(_nested(DEPTH_MAX + 1)) is Reason.UNREADABLE
    assert refused(_nested(DEPTH_MAX + 1, b'{"a":', b"}")) is Reason.UNREADABLE


def test_the_limit_of_nesting_does_not_hang_on_the_stack_of_the_caller():
    def deeper(frames):
        return deeper(frames - 1) if frames else judge(_nested(DEPTH_MAX))

    assert isinstance(deeper(300), Event)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000, b'"' + b'\\"' * 100_000 + b"[" * 300])
def test_bottomless_nesting_is_unreadable(text):
    assert refused(text) is Reason.UNREADABLE


def test_brackets_in_strings_and_side_by_side_are_no_nesting():
    assert accepted(event(extra="[{" * 500, more='"[' * 500, wide=[[]] * 500))


@pytest.mark.parametrize("text", [b"[]", b"null", b"true", b'"{}"', b"12", b"-0.5e7", b"[{}]", b" 1 "])
def test_json_that_is_no_object_is_not_an_object(text):
    assert refused(text) is Reason.NOT_AN_OBJECT


def test_white_space_around_and_between_is_fine():
    spaced = json.dumps(event(), indent="\t").replace("\n", "\r\n").encode()
    assert accepted(b" \r\n\t" + spaced + b"\n\r ") == accepted(event())
