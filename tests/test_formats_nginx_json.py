"""JSON access logs of nginx as events."""

import json

import pytest

from pipeline.event import Reason, Reject
from pipeline.formats import make_format

LINE = {
    "time_iso8601": "2015-05-17T10:05:03+02:00",
    "remote_addr": "83.149.9.216",
    "remote_user": "-",
    "request": "GET /a/b.png?x=1 HTTP/1.1",
    "status": "200",
    "body_bytes_sent": "203023",
    "request_length": "512",
    "http_referer": "-",
    "http_user_agent": "curl/8",
    "upstream_status": "200",
}


def convert(line):
    raw = line if isinstance(line, bytes) else json.dumps(line).encode()
    return make_format("nginx-json", None, "acme").convert(raw, "n.json", 3)


def event(line):
    converted = convert(line)
    assert isinstance(converted, bytes), converted
    return json.loads(converted)


def without(*names, **more):
    return {k: v for k, v in LINE.items() if k not in names} | more


def test_a_line_becomes_a_traffic_event():
    converted = event(LINE)
    assert converted.pop("id") == converted.pop("idempotencykey")
    assert converted == {
        "specversion": "1.0",
        "type": "traffic",
        "tenant": "acme",
        "source": "n.json",
        "subject": "83.149.9.216",
        "time": "2015-05-17T10:05:03+02:00",
        "data": {
            "method": "GET",
            "endpoint": "/a/b.png",
            "query": "x=1",
            "user_agent": "curl/8",
            "status": 200,
            "request_bytes": 512,
            "response_bytes": 203023,
        },
    }


@pytest.mark.parametrize(
    ("members", "time"),
    [
        ({"msec": 1431850703.25}, "2015-05-17T08:18:23.250Z"),
        ({"msec": "1431850703.999"}, "2015-05-17T08:18:23.999Z"),
        ({"time_local": "17/May/2015:10:05:03 +0200"}, "2015-05-17T10:05:03+02:00"),
        ({"time": "17/May/2015:08:05:32 +0000"}, "2015-05-17T08:05:32+00:00"),
        ({"@timestamp": "2015-05-17T10:05:03Z"}, "2015-05-17T10:05:03Z"),
        ({"time_local": "17/May/2015:10:05:03 +0200", "msec": "1.5"}, "1970-01-01T00:00:01.500Z"),
        ({}, None),
    ],
)
def test_the_time_is_read_in_each_of_nginx_forms(members, time):
    assert event(without("time_iso8601", **members)).get("time") == time


@pytest.mark.parametrize(
    "members",
    [
        {"request_method": "GET", "request_uri": "/a/b.png?x=1"},
        {"request_method": "GET", "uri": "/a/b.png", "args": "x=1"},
        {"method": "GET", "uri": "/a/b.png", "query_string": "x=1"},
        {"request": "GET /a/b.png?x=1 HTTP/2.0"},
    ],
)
def test_the_request_is_one_member_or_several(members):
    assert event(without("request", **members))["data"] == event(LINE)["data"]


def test_the_names_of_other_examples_are_known():
    line = {
        "time": "17/May/2015:08:05:32 +0000",
        "remote_ip": "93.180.71.3",
        "remote_user": "-",
        "request": "GET /downloads/product_1 HTTP/1.1",
        "response": 304,
        "bytes": 0,
        "referrer": "-",
        "agent": "Debian APT-HTTP/1.3",
    }
    converted = event(line)
    assert converted["subject"] == "93.180.71.3"
    assert converted["data"] == {
        "method": "GET",
        "endpoint": "/downloads/product_1",
        "user_agent": "Debian APT-HTTP/1.3",
        "status": 304,
        "response_bytes": 0,
    }


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (5, "5"),
        ("5", "5"),
        ("-", "0"),
        ("007", "7"),
        (10**20, "1" + "0" * 20),
        (1.5, "1.5"),
        ("many", '"many"'),
    ],
)
def test_sizes_may_be_strings_and_keep_their_digits(size, expected):
    converted = convert(without(body_bytes_sent=size))
    assert isinstance(converted, bytes)
    assert b'"response_bytes":%b' % expected.encode() in converted


def test_the_bytes_of_the_body_come_before_those_with_headers():
    assert event(without(bytes_sent=9))["data"]["response_bytes"] == 203023
    assert event(without("body_bytes_sent", bytes_sent=9))["data"]["response_bytes"] == 9


@pytest.mark.parametrize("line", [{}, without("body_bytes_sent"), without(body_bytes_sent=None)])
def test_a_line_that_does_not_say_how_much_was_sent_is_invalid(line):
    converted = convert(line)
    assert isinstance(converted, Reject)
    assert converted.reason is Reason.INVALID_DATA
    assert "body_bytes_sent" in converted.detail


def test_a_time_in_no_known_form_is_an_invalid_attribute_even_where_the_bytes_are_missing():
    converted = convert(without("body_bytes_sent", time_iso8601="yesterday"))
    assert isinstance(converted, Reject)
    assert converted.reason is Reason.INVALID_ATTRIBUTE
    assert "'yesterday'" in converted.detail


def test_the_default_escapes_of_nginx_are_undone():
    raw = json.dumps(LINE).encode().replace(b"curl/8", rb"a\x22b\xC3\xA9\x5C\xFF")
    assert event(raw)["data"]["user_agent"] == 'a"bé\\\\xff'


def test_a_backslash_x_that_is_json_is_left_alone():
    assert event(without(http_user_agent="\\x41"))["data"]["user_agent"] == "\\x41"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", Reason.UNREADABLE),
        (b"{", Reason.UNREADABLE),
        (rb'{"a":"\x2"}', Reason.UNREADABLE),
        (b'{"a":"\xff"}', Reason.UNREADABLE),
        (b'{"a":NaN}', Reason.UNREADABLE),
        (b'{"a":"\\ud800"}', Reason.UNREADABLE),
        (b'{"a":' + b"[" * 100_000, Reason.UNREADABLE),
        (b"[1]", Reason.NOT_AN_OBJECT),
        (b"null", Reason.NOT_AN_OBJECT),
    ],
)
def test_what_is_no_json_object_is_a_reject(line, reason):
    converted = convert(line)
    assert isinstance(converted, Reject)
    assert converted.reason is reason
