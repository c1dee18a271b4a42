"""Mapping files: what they may say, and what is answered to a mistake."""

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.formats import load_mapping
from pipeline.formats.mapping import Column, Const, Kind, Template, Whole

EXAMPLES = Path(__file__).parents[1] / "examples"
SHIPPED = ("llm-tokens", "functions", "wiki-edits", "file-changes", "stripe-webhooks")


def load(tmp_path, text):
    path = tmp_path / "m.toml"
    path.write_text(text)
    return load_mapping(path)


def test_each_form_of_a_value_is_read(tmp_path):
    mapping = load(
        tmp_path,
        """
type = "storage"
delimiter = ";"
attributes.subject = { column = "user" }
[data]
delta_bytes = { column = "delta", required = true }
object = { template = "{a}/{b c}{{x}}" }
verified = { const = true }
status = { const = 200 }
units = { const = "0.5" }
event = { whole = true }
context.type = { const = "admin" }
[usage]
"my source" = { column = "n" }
[time]
column = "at"
format = "unix_ms"
""",
    )
    assert mapping.delimiter == ";"
    assert mapping.type.value == Const(b'"storage"')
    assert [(m.name, m.kind, m.value, m.required, m.line) for m in mapping.members[1:]] == [
        ("subject", Kind.TEXT, Column("user"), False, 4),
        ("time", Kind.TEXT, Column("at"), False, 15),
        ("delta_bytes", Kind.NUMBER, Column("delta"), True, 6),
        ("object", Kind.TEXT, Template((Column("a"), "/", Column("b c"), "{", "x", "}")), False, 7),
        ("verified", Kind.FLAG, Const(b"true"), False, 8),
        ("status", Kind.NUMBER, Const(b"200"), False, 9),
        ("units", Kind.NUMBER, Const(b'"0.5"'), False, 10),
        ("event", Kind.ANY, Whole(), False, 11),
        ("type", Kind.TEXT, Const(b'"admin"'), False, 12),
        ("my source", Kind.NUMBER, Column("n"), False, 14),
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "names no type"),
        ('type = "compte"', 1, "did you mean 'compute'"),
        ("type = 5", 1, "must be a string"),
        ('type = "compute', 1, "not TOML"),
        ('type = "webhook"\nfoo = 1', 2, "unknown key 'foo'"),
        ('type = "webhook"\n[attribute]', 2, "did you mean 'attributes'"),
        ('type = "webhook"\n\n[attributes]\nkey = { column = "x" }', 4, "unknown key 'key'"),
        ('type = "webhook"\n[attributes]\ntime = { column = "x" }', 3, r"\[time\]"),
        ('type = "webhook"\n[attributes]\nsubject = "app"', 3, "must be a table such as"),
        ('type = "webhook"\n[attributes]\nsubject = {}', 3, "exactly one of"),
        ('type = "webhook"\n[attributes]\nsubject = { column = "a", const = "b" }', 3, "column and const"),
        ('type = "webhook"\n[attributes]\nsubject = { colum = "a" }', 3, "did you mean 'column'"),
        ('type = "webhook"\n[attributes]\nsubject = { column = "" }', 3, "empty"),
        ('type = "webhook"\n[attributes]\nsubject = { const = "" }', 3, "empty"),
        ('type = "webhook"\n[attributes]\nsubject = { whole = true }', 3, "not a whole line"),
        ('type = "webhook"\n[attributes]\nsubject = { column = "a", required = 1 }', 3, "true or false"),
        ('type = "webhook"\n[data]\nevent = { whole = false }', 3, "must be true"),
        ('type = "webhook"\n[data]\nstatus = { const = 0.1 }', 3, "write it as a string"),
        ('type = "webhook"\n[data]\nx = { const = [1] }', 3, "write it as a string"),
        ('type = "webhook"\n[data]\nx = { template = "{a" }', 3, "lone '{'"),
        ('type = "webhook"\n[data]\nx = { template = "a}" }', 3, "lone '}'"),
        ('type = "webhook"\n[data]\nx = { template = "{}" }', 3, "lone '{'"),
        ('type = "webhook"\n[data.usage]\nx = { column = "a" }', 2, r"\[usage\]"),
        ('type = "webhook"\n[data.context]\nkind = { column = "a" }', 3, "unknown key 'kind'"),
        ('type = "webhook"\n[usage]\nx = 5', 3, "must be a table"),
        ('type = "webhook"\n[time]\nformat = "iso"', 2, "exactly one of"),
        ('type = "webhook"\n[time]\ncolumn = "a"\nformat = "unix_s"', 4, "strptime"),
        ('type = "webhook"\n[time]\ncolumn = "a"\nformat = "%Q"', 4, "strptime"),
        ('type = "webhook"\n[time]\ncolumn = "a"\nzone = "Mars"', 4, "Europe/Berlin"),
        ('type = "webhook"\n[time]\ncolumn = "a"\ndate = "2026-01-01"', 4, "seconds_of_day"),
        ('type = "webhook"\n[time]\ncolumn = "a"\nformat = "seconds_of_day"', 2, "YYYY-MM-DD"),
        (
            'type = "webhook"\n[time]\ncolumn = "a"\nformat = "seconds_of_day"\ndate = "1/2/26"',
            5,
            "YYYY-MM-DD",
        ),
        ('type = "webhook"\ndelimiter = "ab"', 2, "one ASCII character"),
        ('type = "webhook"\ndelimiter = "\\""', 2, "one ASCII character"),
        ('type = "compute"', 1, "data.operation"),
        ('type = "storage"\n[data]\nobject = { column = "a" }', 2, "data.delta_bytes"),
        ('type = "correction"\n[data]\nreason = { column = "a" }', 2, "data.voids"),
    ],
)
def test_a_mistake_is_answered_with_its_line_and_what_is_expected(tmp_path, text, line, words):
    with pytest.raises(ConfigError, match=words) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'm.toml'}:{line}: ")
    assert "\n" not in str(caught.value)


def test_a_date_may_be_written_as_toml_writes_dates(tmp_path):
    text = 'type = "webhook"\n[time]\ncolumn = "a"\nformat = "seconds_of_day"\ndate = {}'
    assert load(tmp_path, text.format("2026-11-01")) == load(tmp_path, text.format('"2026-11-01"'))


def test_a_mapping_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        load_mapping(tmp_path / "none.toml")


def test_a_name_for_the_type_may_come_from_a_column(tmp_path):
    assert load(tmp_path, 'type = { column = "kind" }').type.value == Column("kind")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_mappings_that_are_shipped_are_right(name):
    path = EXAMPLES / f"{name}.toml"
    assert load_mapping(path).path == str(path)
