"""Access logs, common and combined, as events."""

import json
from hashlib import blake2b

import pytest

from pipeline.event import Reason, Reject
from pipeline.formats import make_format

COMBINED = (
    b'83.149.9.216 - - [17/May/2015:10:05:03 +0200] "GET /a/b.png?x=1&y=2 HTTP/1.1" 200 203023 '
    b'"http://ref.example/" "Mozilla/5.0 (X11)"'
)
COMMON = COMBINED[: COMBINED.index(b' "http')]


def event(line, source_name="access.log", number=7, tenant="acme"):
    converted = make_format("access-log", None, tenant).convert(line, source_name, number)
    assert isinstance(converted, bytes), converted
    return json.loads(converted)


def line_with(user=b"- -", request=b"GET / HTTP/1.1", size=b"5", behind=b' "-" "-"'):
    return b'1.2.3.4 %b [17/May/2015:10:05:03 +0000] "%b" 200 %b%b' % (user, request, size, behind)


def test_a_combined_line_becomes_a_traffic_event():
    digest = blake2b(COMBINED, digest_size=16).hexdigest()[:16]
    assert event(COMBINED) == {
        "specversion": "1.0",
        "type": "traffic",
        "tenant": "acme",
        "source": "access.log",
        "id": f"access.log:7:{digest}",
        "idempotencykey": f"access.log:7:{digest}",
        "subject": "83.149.9.216",
        "time": "2015-05-17T10:05:03+02:00",
        "data": {
            "method": "GET",
            "endpoint": "/a/b.png",
            "status": 200,
            "response_bytes": 203023,
            "query": "x=1&y=2",
            "referer": "http://ref.example/",
            "user_agent": "Mozilla/5.0 (X11)",
        },
    }


def test_a_common_line_has_neither_referer_nor_user_agent():
    assert event(COMMON)["data"] == {
        "method": "GET",
        "endpoint": "/a/b.png",
        "status": 200,
        "response_bytes": 203023,
        "query": "x=1&y=2",
    }


def test_dashes_are_absent_members_and_no_bytes():
    assert event(line_with(size=b"-"))["data"] == {
        "method": "GET",
        "endpoint": "/",
        "status": 200,
        "response_bytes": 0,
    }


def test_a_dash_for_bytes_counts_nothing_on_the_long_way_too():
    assert event(line_with(user=b"- an n", size=b"-"))["data"]["response_bytes"] == 0


def test_without_a_tenant_the_event_names_none():
    assert "tenant" not in event(COMBINED, tenant=None)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (b"- frank", {"remote_user": "frank"}),
        (b"- John Q. Doe", {"remote_user": "John Q. Doe"}),
        (b"- we [are] here", {"remote_user": "we [are] here"}),
        (b"ident7 -", {"ident": "ident7"}),
        (rb"- a\"b", {"remote_user": 'a"b'}),
        (rb"- x [1/Jan/2015:00:00:00 +0000] \"GET / HTTP/1.1\" 200 9", {
            "remote_user": 'x [1/Jan/2015:00:00:00 +0000] "GET / HTTP/1.1" 200 9'
        }),
    ],
)  # fmt: skip
def test_user_names_keep_their_spaces_and_cannot_forge_a_request(user, expected):
    converted = event(line_with(user=user))
    assert {k: v for k, v in converted["data"].items() if k in {"remote_user", "ident"}} == expected
    assert converted["data"]["response_bytes"] == 5
    assert converted["time"] == "2015-05-17T10:05:03+00:00"


@pytest.mark.parametrize(
    ("request_line", "method", "endpoint", "query"),
    [
        (b"POST /x?y HTTP/2.0", "POST", "/x", "y"),
        (b"GET /x? HTTP/1.1", "GET", "/x", None),
        (b"GET /x?a?b HTTP/1.1", "GET", "/x", "a?b"),
        (b"get /lower HTTP/1.1", "get", "/lower", None),
        (b"M-SEARCH * HTTP/1.1", "M-SEARCH", "*", None),
        (b"GET /with a space HTTP/1.1", "GET", "/with a space", None),
        (b"GET http://other.example/x HTTP/1.1", "GET", "http://other.example/x", None),
        (rb"GET /q\"uote HTTP/1.1", "GET", '/q"uote', None),
        (rb"GET /back\\slash HTTP/1.1", "GET", "/back\\slash", None),
        (rb"GET /tab\t HTTP/1.1", "GET", "/tab\t", None),
        (rb"GET /\xc3\xa9 HTTP/1.1", "GET", "/é", None),
        (rb"GET /\xC3\xA9?\x22 HTTP/1.1", "GET", "/é", '"'),
        ("GET /é HTTP/1.1".encode(), "GET", "/é", None),
        (b"GET /\xff HTTP/1.1", "GET", "/\\xff", None),
        (rb"GET /\q HTTP/1.1", "GET", "/\\q", None),
        (b"-", None, "-", None),
        (b"", None, None, None),
        (b"GET /no-protocol", None, "GET /no-protocol", None),
        (rb"\x16\x03\x01", None, "\x16\x03\x01", None),
        (rb"\x16\x03\x01\x02\xa3?", None, "\x16\x03\x01\x02\\xa3?", None),
    ],
)
def test_requests_are_split_and_odd_ones_are_kept_as_they_are(request_line, method, endpoint, query):
    data = event(line_with(request=request_line))["data"]
    assert (data.get("method"), data.get("endpoint"), data.get("query")) == (method, endpoint, query)
    assert data["response_bytes"] == 5


@pytest.mark.parametrize(
    "address", [b"::1", b"2001:db8::8a2e:370:7334", b"host-7.example.org", b"fe80::1%eth0"]
)
def test_the_client_is_the_subject_whatever_its_address(address):
    assert event(line_with().replace(b"1.2.3.4", address))["subject"] == address.decode()


def test_a_virtual_host_in_front_is_not_taken_for_the_client():
    converted = event(b"www.example.org:443 " + line_with())
    assert converted["subject"] == "1.2.3.4"
    assert converted["data"]["host"] == "www.example.org:443"


@pytest.mark.parametrize("user", [b"- -", b"- ann", b"- ann smith"])
def test_an_unknown_client_is_no_subject(user):
    assert "subject" not in event(line_with(user=user).replace(b"1.2.3.4", b"-"))


def test_numbers_with_leading_zeros_become_json_numbers():
    data = event(line_with(size=b"007").replace(b" 200 ", b" 000 "))["data"]
    assert (data["status"], data["response_bytes"]) == (0, 7)


def test_a_size_beyond_any_integer_type_is_passed_on_digit_by_digit():
    digits = b"9" * 5000
    converted = make_format("access-log", None, "t").convert(line_with(size=digits), "a", 1)
    assert isinstance(converted, bytes)
    assert b'"response_bytes":%b' % digits in converted


def test_complete_fields_behind_the_user_agent_are_kept():
    assert event(line_with(behind=b' "-" "curl" "10.0.0.1" 0.003'))["data"]["extra"] == '"10.0.0.1" 0.003'


def test_long_texts_are_cut_so_that_the_bytes_still_count():
    data = event(line_with(request=b"GET /%b HTTP/1.1" % (b"p" * 5000), behind=b' "-" "%b"' % (b"u" * 5000)))[
        "data"
    ]
    assert data["response_bytes"] == 5
    assert len(f"{data['method']} {data['endpoint']}") == 1024
    assert len(data["user_agent"]) == 1024


def test_a_crlf_line_is_the_same_line():
    assert event(COMBINED + b"\r") == event(COMBINED)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"hello",
        line_with(behind=b' "-" "cut off'),
        line_with(behind=b' "-"'),
        line_with(behind=b' "-" "-" "cut'),
        line_with(behind=b' "-" "-" '),
        line_with(behind=rb' "-" "cut\"'),
        line_with().replace(b" 200 ", b" 20 "),
        line_with(size=b"five"),
        line_with(size=b"-5"),
        line_with(size=b"5.5"),
        COMBINED.replace(b"May", b"Mai"),
        COMBINED.replace(b" +0200", b""),
        b"\xff" * 20,
        COMBINED + b"\n" + COMBINED,
        COMBINED[:-9] + COMBINED,
    ],
)
def test_a_line_that_does_not_parse_is_unreadable(line):
    converted = make_format("access-log", None, "t").convert(line, "access.log", 1)
    assert isinstance(converted, Reject)
    assert converted.reason is Reason.UNREADABLE
    assert "expected" in converted.detail


def test_no_beginning_of_a_combined_line_passes_for_it_except_a_whole_common_line():
    taken = [
        COMBINED[:length]
        for length in range(len(COMBINED))
        if isinstance(make_format("access-log", None, "t").convert(COMBINED[:length], "a", 1), bytes)
    ]
    assert taken == [COMMON[:length] for length in range(len(COMMON) - 5, len(COMMON) + 1)]


def test_the_short_way_and_the_long_way_agree():
    """An escape anywhere sends a line the long way; apart from it the events are the same."""
    plain, escaped = event(COMBINED), event(COMBINED.replace(b"Mozilla", rb"\x4dozilla"))
    assert plain["data"] == escaped["data"]
    assert {k: v for k, v in plain.items() if k not in {"id", "idempotencykey"}} == {
        k: v for k, v in escaped.items() if k not in {"id", "idempotencykey"}
    }


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("my access.log", "my%20access.log"),
        ("日誌", "%E6%97%A5%E8%AA%8C"),
        ("https://h.example/a?b=c", "https://h.example/a?b=c"),
        ("100%.log", "100%25.log"),
        ("a%20b", "a%20b"),
        ("tab\there", "tab%09here"),
        ("", "-"),
        ("x\udcff", "x%5Cudcff"),
    ],
)
def test_the_source_is_a_uri_reference(name, source):
    assert event(COMBINED, source_name=name)["source"] == source


@pytest.mark.parametrize("name", ["n" * 300, "é" * 255, "\udcff" * 255, " " * 255, '"' * 255])
def test_names_of_any_length_fit_the_contract_and_stay_apart(name):
    one, other = event(COMBINED, source_name=name), event(COMBINED, source_name=name + "x")
    for converted in (one, other):
        assert 1 <= len(converted["id"]) <= 256
        assert 1 <= len(converted["source"]) <= 255
        assert not any(character.isspace() for character in converted["source"])
    assert one["id"] != other["id"]
    assert one["source"] != other["source"]


def test_the_key_tells_names_numbers_and_contents_apart():
    keys = {
        event(line, name, number)["idempotencykey"]
        for line in (COMBINED, COMMON)
        for name in ("a", "b")
        for number in (1, 2)
    }
    assert len(keys) == 8
