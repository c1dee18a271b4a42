"""CSV files and JSON lines through a mapping."""

import json

import pytest

from pipeline.errors import ConfigError
from pipeline.event import Reason, Reject
from pipeline.formats import load_mapping, make_format

MAPPING = """
type = "compute"
[attributes]
subject = { column = "app" }
[data]
operation = { column = "func" }
units = { column = "units" }
note = { column = "note" }
[usage]
tokens = { column = "tokens", required = true }
[time]
column = "at"
"""
HEADER = b"app,func,units,note,tokens,at"
ROW = b"a,f,2.50,hi,7,2026-01-02 03:04:05.1234567"


def mapping_of(tmp_path, text=MAPPING):
    path = tmp_path / "m.toml"
    path.write_text(text)
    return load_mapping(path)


def csv_format(tmp_path, header=HEADER, text=MAPPING, tenant="acme"):
    return make_format("csv", mapping_of(tmp_path, text), tenant).with_header(header)


def json_format(tmp_path, text=MAPPING, tenant="acme"):
    return make_format("json", mapping_of(tmp_path, text), tenant)


def event(made, line, number=2):
    converted = made.convert(line, "f", number)
    assert isinstance(converted, bytes), converted
    return json.loads(converted)


def reject(made, line):
    converted = made.convert(line, "f", 2)
    assert isinstance(converted, Reject), converted
    return converted


def simple(**members):
    """A mapping of a webhook with these members of data."""
    lines = [f"{name} = {value}" for name, value in members.items()]
    return "\n".join(['type = "webhook"', "[data]", *lines])


def test_a_csv_row_becomes_an_event(tmp_path):
    converted = event(csv_format(tmp_path), ROW)
    assert converted.pop("id") == converted.pop("idempotencykey")
    assert converted == {
        "specversion": "1.0",
        "source": "f",
        "type": "compute",
        "subject": "a",
        "tenant": "acme",
        "time": "2026-01-02T03:04:05.1234567Z",
        "data": {"operation": "f", "units": 2.5, "note": "hi", "usage": {"tokens": 7}},
    }


def test_a_json_line_becomes_the_same_event(tmp_path):
    line = b'{"app":"a","func":"f","units":2.50,"note":"hi","tokens":"7","at":"2026-01-02 03:04:05.1234567"}'
    from_json, from_csv = event(json_format(tmp_path), line), event(csv_format(tmp_path), ROW)
    for converted in (from_json, from_csv):
        del converted["id"], converted["idempotencykey"]
    assert from_json == from_csv


@pytest.mark.parametrize(
    "number", ["1", "-0", "1.10", "1e3", "0.0000001", "123456789012.123456", "1e300", "1" * 5000, "-5"]
)
def test_numbers_keep_their_exact_text(tmp_path, number):
    text = number.encode()
    for made, line in (
        (csv_format(tmp_path), ROW.replace(b"2.50", text)),
        (csv_format(tmp_path), ROW.replace(b"2.50", b'" %b "' % text)),
        (json_format(tmp_path), b'{"tokens":1,"units":%b}' % text),
        (json_format(tmp_path), b'{"tokens":1,"units":"%b"}' % text),
    ):
        converted = made.convert(line, "f", 1)
        assert isinstance(converted, bytes)
        assert b'"units":%b,' % text in converted


@pytest.mark.parametrize(
    "text", ["+1", ".5", "5.", "01", "1_000", "NaN", "Infinity", "0x1", "true", "٣", "1 2"]
)
def test_what_is_no_number_stays_text_for_the_decoder_to_refuse(tmp_path, text):
    assert event(csv_format(tmp_path), ROW.replace(b"2.50", text.encode()))["data"]["units"] == text


def test_a_csv_cell_of_text_stays_text_however_it_looks(tmp_path):
    converted = event(csv_format(tmp_path), b"1,007,1,42,7,")
    assert (converted["subject"], converted["data"]["operation"], converted["data"]["note"]) == (
        "1",
        "007",
        "42",
    )


def test_a_json_number_becomes_text_where_text_is_meant(tmp_path):
    converted = event(json_format(tmp_path), b'{"app":1.50,"func":true,"note":42,"tokens":1}')
    assert (converted["subject"], converted["data"]["operation"]) == ("1.50", "true")
    assert converted["data"]["note"] == 42


@pytest.mark.parametrize("cell", [b"", b'""'])
def test_an_empty_cell_is_an_absent_member(tmp_path, cell):
    converted = event(csv_format(tmp_path), b"%b,f,%b,%b,7,%b" % (cell, cell, cell, cell))
    assert "subject" not in converted
    assert "time" not in converted
    assert converted["data"] == {"operation": "f", "usage": {"tokens": 7}}


@pytest.mark.parametrize(
    "line", [b'{"tokens":1}', b'{"tokens":1,"app":null,"units":"","note":null,"at":null}']
)
def test_a_missing_null_or_empty_member_is_absent(tmp_path, line):
    converted = event(json_format(tmp_path), line)
    assert "subject" not in converted
    assert converted["data"] == {"usage": {"tokens": 1}}


def test_a_required_quantity_that_is_missing_is_invalid_data(tmp_path):
    for made, line in (
        (csv_format(tmp_path), ROW.replace(b",7,", b",,")),
        (json_format(tmp_path), b'{"tokens":null}'),
    ):
        wrong = reject(made, line)
        assert wrong.reason is Reason.INVALID_DATA
        assert "'tokens'" in wrong.detail


def test_required_attributes_are_checked_before_data(tmp_path):
    text = MAPPING.replace('{ column = "app" }', '{ column = "app", required = true }')
    wrong = reject(json_format(tmp_path, text), b"{}")
    assert wrong.reason is Reason.MISSING_ATTRIBUTE
    assert wrong.detail.startswith("subject")


def test_a_required_time_that_is_missing_is_a_missing_attribute(tmp_path):
    text = MAPPING.replace('column = "at"', 'column = "at"\nrequired = true')
    assert reject(json_format(tmp_path, text), b'{"tokens":1}').reason is Reason.MISSING_ATTRIBUTE


def test_a_time_of_another_format_is_an_invalid_attribute(tmp_path):
    wrong = reject(csv_format(tmp_path), ROW.replace(b"2026-01-02 03", b"02.01.2026 03"))
    assert wrong.reason is Reason.INVALID_ATTRIBUTE
    assert "02.01.2026" in wrong.detail


@pytest.mark.parametrize(
    ("row", "note"),
    [
        (b'a,f,1,"x, y",7,', "x, y"),
        (b'a,f,1,"say ""hi""",7,', 'say "hi"'),
        ('"a",f,1,"é",7,'.encode(), "é"),
        (b"a,f,1,tab\there,7,", "tab\there"),
        (b"a,f,1,back\\slash,7,", "back\\slash"),
        (b"a,f,1,nul\x00,7,", "nul\x00"),
        (b"a,f,1, space ,7,", " space "),
        (b"a,f,1,x,7,\r", "x"),
    ],
)
def test_quotes_and_line_breaks_are_as_in_rfc_4180(tmp_path, row, note):
    assert event(csv_format(tmp_path), row)["data"]["note"] == note


@pytest.mark.parametrize(
    "row",
    [
        b"",
        b"a,f,1,hi,7",
        ROW + b",more",
        b'a,f,1,"open,7,',
        b'a,f,1,"x"y,7,',
        b"a,f,1,\xff,7,",
        b'a,f,1,"\xff",7,',
        b'a,f,1,"x"\ry,7,',
    ],
)
def test_a_row_of_another_shape_is_unreadable(tmp_path, row):
    assert reject(csv_format(tmp_path), row).reason is Reason.UNREADABLE


def test_a_cell_longer_than_csv_takes_is_unreadable_and_no_error(tmp_path):
    assert reject(csv_format(tmp_path), b'a,f,1,"%b",7,' % (b"x" * 200_000)).reason is Reason.UNREADABLE


def test_columns_are_found_by_their_names_in_any_order(tmp_path):
    made = csv_format(tmp_path, b'\xef\xbb\xbf"tokens", at ,func,units,note,"app"\r')
    assert event(made, b"7,,f,1,x,a")["subject"] == "a"


def test_another_delimiter(tmp_path):
    made = csv_format(tmp_path, HEADER.replace(b",", b";"), 'delimiter = ";"\n' + MAPPING)
    assert event(made, b'"a;b";f;1;x,y;7;')["subject"] == "a;b"


def test_a_column_that_the_header_does_not_name_is_answered_with_those_it_names(tmp_path):
    with pytest.raises(ConfigError, match="'tokens' is not in the header") as caught:
        csv_format(tmp_path, HEADER.replace(b"tokens", b"token"))
    assert "m.toml:10: " in str(caught.value)
    assert "'app', 'func', 'units', 'note', 'token', 'at'" in str(caught.value)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (HEADER + b",app", "'app' stands more than once"),
        (b"", "blank"),
        (b"\xff,a", "cannot be read"),
        (b'"open', "cannot be read"),
    ],
)
def test_a_header_that_cannot_be_used_is_a_mistake(tmp_path, header, words):
    with pytest.raises(ConfigError, match=words):
        csv_format(tmp_path, header)


def test_a_csv_line_before_its_header_is_unreadable(tmp_path):
    made = make_format("csv", mapping_of(tmp_path), None)
    assert reject(made, ROW).reason is Reason.UNREADABLE


def test_a_bound_format_keeps_its_header(tmp_path):
    made = csv_format(tmp_path)
    assert event(made.with_header(b"other"), ROW) == event(made, ROW)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("user.id", "u1"),
        ("/user/id", "u1"),
        ("/items/1/n", 5),
        ("items.0.n", 4),
        ("a.b", "dotted"),
        ("/a.b", "dotted"),
        ("/sl~1ash/ti~0lde", "both"),
        ("/user", {"id": "u1"}),
        ("user.none", None),
        ("user.id.deeper", None),
        ("/items/9/n", None),
        ("/items/x", None),
        ("/items/-1", None),
        ("/nothing", None),
        ("gone.deeper", None),
        ("gone", None),
    ],
)
def test_nested_members_are_found_by_path_and_by_pointer(tmp_path, column, expected):
    line = {
        "user": {"id": "u1"},
        "items": [{"n": 4}, {"n": 5}],
        "a.b": "dotted",
        "a": {"b": "nested"},
        "sl/ash": {"ti~lde": "both"},
        "gone": None,
    }
    made = json_format(tmp_path, simple(x=f'{{ column = "{column}" }}'))
    assert event(made, json.dumps(line).encode())["data"].get("x") == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"a":"x","b":5}', "x-5{}"),
        (b'{"a":"x\\"\\u00e9","b":1.50}', 'x"é-1.50{}'),
        (b'{"a":"x","b":""}', None),
        (b'{"a":"x"}', None),
    ],
)
def test_a_template_with_an_absent_column_is_absent(tmp_path, line, expected):
    made = json_format(tmp_path, simple(x='{ template = "{a}-{b}{{}}" }'))
    assert event(made, line)["data"].get("x") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", True), ('"TRUE"', True), ("1", True), ('"0"', False), ("false", False), ('"maybe"', "maybe")],
)
def test_flags_are_read_from_the_usual_words(tmp_path, value, expected):
    made = json_format(tmp_path, simple(verified='{ column = "v" }'))
    assert event(made, b'{"v":%b}' % value.encode())["data"]["verified"] is expected or expected == "maybe"


def test_the_whole_line_is_an_object_in_both_formats(tmp_path):
    text = simple(event="{ whole = true }")
    line = b' {"a": {"n": 1.50}, "b":null} '
    converted = json_format(tmp_path, text).convert(line, "f", 1)
    assert isinstance(converted, bytes)
    assert b'"event":%b}' % line.strip() in converted
    assert event(csv_format(tmp_path, b"a,b", text), b'"x""",')["data"]["event"] == {"a": 'x"', "b": ""}


def test_constants_have_the_form_that_their_member_wants(tmp_path):
    text = simple(
        status='{ const = "200" }', operation="{ const = 5 }", verified="{ const = true }", x="{ const = 7 }"
    )
    assert event(json_format(tmp_path, text), b"{}")["data"] == {
        "status": 200,
        "operation": "5",
        "verified": True,
        "x": 7,
    }


def test_a_context_is_there_when_a_member_of_it_is(tmp_path):
    text = simple() + '\n[data.context]\ntype = { column = "t" }\nname = { column = "n" }\n'
    made = json_format(tmp_path, text)
    assert event(made, b'{"n":"x"}')["data"] == {"context": {"name": "x"}}
    assert event(made, b"{}")["data"] == {}


KEYS = 'type = "webhook"\n[attributes]\n'


def test_without_a_mapped_key_the_line_is_its_own_key(tmp_path):
    first, second = (event(json_format(tmp_path, KEYS), b"{}", number) for number in (1, 2))
    assert first["id"] == first["idempotencykey"]
    assert first["idempotencykey"] != second["idempotencykey"]


def test_a_mapped_id_alone_leaves_the_key_to_the_catalog(tmp_path):
    converted = event(json_format(tmp_path, KEYS + 'id = { column = "i" }'), b'{"i":"e1"}')
    assert converted["id"] == "e1"
    assert "idempotencykey" not in converted


def test_a_mapped_key_stands_beside_the_id_of_the_line(tmp_path):
    converted = event(
        json_format(tmp_path, KEYS + 'idempotencykey = { template = "{a}:{b}" }'), b'{"a":1,"b":2}'
    )
    assert converted["idempotencykey"] == "1:2"
    assert converted["id"].startswith("f:2:")


def test_a_mapped_source_replaces_the_name_of_the_file(tmp_path):
    assert event(json_format(tmp_path, KEYS + 'source = { const = "stripe" }'), b"{}")["source"] == "stripe"


@pytest.mark.parametrize(
    ("mapped", "given", "line", "expected"),
    [
        ("", "flag", b"{}", "flag"),
        ("", None, b"{}", None),
        ('tenant = { const = "constant" }', None, b"{}", "constant"),
        ('tenant = { const = "constant" }', "flag", b"{}", "flag"),
        ('tenant = { column = "t" }', "flag", b'{"t":"own"}', "own"),
        ('tenant = { column = "t" }', "flag", b'{"t":""}', "flag"),
        ('tenant = { column = "t" }', None, b'{"t":""}', None),
        ('tenant = { template = "{t}-{u}" }', "flag", b'{"t":"a","u":"b"}', "a-b"),
    ],
)
def test_the_line_says_who_pays_then_the_flag_then_the_mapping(tmp_path, mapped, given, line, expected):
    assert event(json_format(tmp_path, KEYS + mapped, given), line).get("tenant") == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", Reason.UNREADABLE),
        (b"{'a':1}", Reason.UNREADABLE),
        (b'{"tokens":01}', Reason.UNREADABLE),
        (b'{"tokens":1,"other":"\xff"}', Reason.UNREADABLE),
        (b'{"tokens":1,"other":"\\ud800"}', Reason.UNREADABLE),
        (b'\xef\xbb\xbf{"tokens":1}', Reason.UNREADABLE),
        (b'{"tokens":1}{"tokens":1}', Reason.UNREADABLE),
        (b'{"tokens":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", Reason.UNREADABLE),
        (b"[]", Reason.NOT_AN_OBJECT),
        (b'"text"', Reason.NOT_AN_OBJECT),
        (b"5", Reason.NOT_AN_OBJECT),
    ],
)
def test_a_line_that_is_no_json_object_is_a_reject(tmp_path, line, reason):
    assert reject(json_format(tmp_path), line).reason is reason


def test_of_two_members_with_one_name_the_last_counts(tmp_path):
    assert event(json_format(tmp_path), b'{"tokens":1,"tokens":2}')["data"]["usage"]["tokens"] == 2


@pytest.mark.parametrize("row", [b"a,f,1,hi,,never", b"a,f,,hi,7,never"])
def test_of_a_wrong_time_and_a_missing_quantity_the_time_comes_first(tmp_path, row):
    text = MAPPING.replace('{ column = "units" }', '{ column = "units", required = true }')
    assert reject(csv_format(tmp_path, text=text), row).reason is Reason.INVALID_ATTRIBUTE
