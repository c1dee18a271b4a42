"""What `auto` makes of a file's first lines, and which formats there are."""

import pytest

from pipeline.errors import UsageError
from pipeline.formats import FORMAT_NAMES, detect_format, load_mapping, make_format

EVENT = b'{"specversion":"1.0","id":"1","source":"a","type":"traffic","tenant":"t","data":{}}\n'
NGINX = b'{"remote_addr":"1.2.3.4","request":"GET / HTTP/1.1","status":200,"body_bytes_sent":5}\n'
COMMON = b'1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5\n'
COMBINED = COMMON[:-1] + b' "-" "curl"\n'
OTHER = b'{"user":"u","delta":5}\n'
CSV = b"app,func\nx,y\n"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (EVENT, "cloudevents"),
        (b"\n  \r\n" + EVENT, "cloudevents"),
        (b"\xef\xbb\xbf" + EVENT, "cloudevents"),
        (b"not json\n{\n" + EVENT, "cloudevents"),
        (b'{"data":{"a":' + b"[" * 5000 + b'1,"specversion":"1.0', "cloudevents"),
        (b'{"specversion":"1.0","id":"cut off in the mid', "cloudevents"),
        (b' {"id":"\xff","specversion" : "1.0"}', "cloudevents"),
        (NGINX, "nginx-json"),
        (NGINX[:40], "nginx-json"),
        (COMMON, "access-log"),
        (COMBINED, "access-log"),
        (b"torn line\n" + COMBINED, "access-log"),
        (COMBINED.replace(b"\n", b"\r\n"), "access-log"),
        (b"", "cloudevents"),
        (b"\n\n \n", "cloudevents"),
        (OTHER, None),
        (CSV, None),
        (b"\x00\xff" * 50, None),
        (b"[1]\n", None),
    ],
)
def test_the_first_line_that_shows_a_format_decides(head, expected):
    if expected is None:
        with pytest.raises(UsageError, match="--format"):
            detect_format("f", head)
    else:
        assert detect_format("f", head) == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (EVENT, "cloudevents"),
        (NGINX, "json"),
        (OTHER, "json"),
        (CSV, "csv"),
        (COMBINED, "csv"),
        (b"", "cloudevents"),
    ],
)
def test_a_mapping_makes_other_lines_csv_or_json(head, expected):
    assert detect_format("f", head, mapped=True) == expected


@pytest.mark.parametrize(
    ("name", "head", "advice"),
    [("a.csv", CSV, "--format csv"), ("a.ndjson", OTHER, "--format json"), ("a.txt", b"hello", "access-log")],
)
def test_a_file_of_no_known_format_is_answered_with_what_to_give(name, head, advice):
    with pytest.raises(UsageError, match=advice) as caught:
        detect_format(name, head)
    assert name in str(caught.value)


def test_every_format_has_a_name_and_passes_or_rejects_bytes(tmp_path):
    path = tmp_path / "m.toml"
    path.write_text('type = "webhook"\n')
    for name in FORMAT_NAMES:
        mapping = load_mapping(path) if name in {"csv", "json"} else None
        made = make_format(name, mapping, "t")
        assert made.header_lines == (1 if name == "csv" else 0)
        assert made.with_header(b"a,b").header_lines == made.header_lines


def test_cloudevents_pass_as_they_are():
    made = make_format("cloudevents", None, "t")
    assert made.with_header(b"") is made
    assert made.convert(b"\xff whatever", "f", 1) == b"\xff whatever"


def test_wrong_use_is_told(tmp_path):
    path = tmp_path / "m.toml"
    path.write_text('type = "webhook"\n')
    with pytest.raises(UsageError, match="unknown format 'xml': expected auto, cloudevents, access-log"):
        make_format("xml", None, None)
    with pytest.raises(UsageError, match="--format csv needs --mapping"):
        make_format("csv", None, None)
    with pytest.raises(UsageError, match="takes no mapping"):
        make_format("access-log", load_mapping(path), None)
