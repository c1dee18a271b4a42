"""Mistakes in TOML files are found at the line where they stand."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.toml_file import fixed_point, parse_toml, read_toml, suggestion
from pipeline.toml_lines import lines_of

ALL_FORMS = r'''
top = 1
dotted.a."b c".'d' = 2
text = """
fake = 1
[fake.table]
\""" still """
raw = \'\'\'
[[fake]] ""\'\'\'
quotes = """"x"""""
nested = [ # a comment, with ] and "
  [1, 2],
  [
    { x = 1, "y.z" = { deep = [3] } },
  ],
]
empty = []
nothing = {}
moment = 1979-05-27 07:32:00Z

[ table . "with \u0041 \"quote\"" ]
key = 'val#ue'
[[list]]
a = 1
[list.inner]
b = 2
[[list.many]]
c = 3
[[list.many]]
c = 4
[[list]]
a = 5
'''.replace(r"\'", "'")


def places(value, place=()):
    """Every place in a parsed document, and what stands there."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*place, key), inner
        yield from places(inner, (*place, key))


def test_every_place_of_a_document_has_a_line():
    found = lines_of(ALL_FORMS)

    assert set(found) == {place for place, _ in places(tomllib.loads(ALL_FORMS))}


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("top",), 2),
        (("dotted", "a", "b c", "d"), 3),
        (("text",), 4),
        (("raw",), 8),
        (("quotes",), 10),
        (("nested", 0, 1), 12),
        (("nested", 1, 0, "y.z", "deep", 0), 14),
        (("moment",), 19),
        (("table", 'with A "quote"'), 21),
        (("table", 'with A "quote"', "key"), 22),
        (("list", 0, "inner", "b"), 26),
        (("list", 0, "many", 1, "c"), 30),
        (("list", 1, "a"), 32),
    ],
)
def test_a_place_has_the_line_where_it_stands(place, line):
    assert lines_of(ALL_FORMS)[place] == line


def test_windows_line_ends_count_once():
    assert lines_of("a = 1\r\n\r\nb = [\r\n2]\r\n") == {("a",): 1, ("b",): 3, ("b", 0): 4}


KEYS = st.sampled_from(["a", "b-1", '"c.d"', "'e f'", '"# g ="', '"h\\"]"', '""'])
DECOYS = ['"[x] # = {"', "'''\n[fake]\nz = 1\n'''", '"""\nq = \\"""\n[[w]]"""', "1.5", "true", "2026-01-01"]


@st.composite
def documents(draw):
    """A valid document in many forms in which each integer stands once, so that its line is plain to see."""
    count = iter(range(1_000_000, 9_999_999))
    comments = st.sampled_from(["", " # c = ["])
    gap = st.sampled_from(["", " ", "\n", " # ]},=[a]\n", "\n\n  "])

    def scalar():
        return str(next(count)) if draw(st.booleans()) else draw(st.sampled_from(DECOYS))

    def value(depth):
        shape = draw(st.sampled_from(["scalar", "array", "inline"])) if depth else "scalar"
        if shape == "array":
            elements = [draw(gap) + value(depth - 1) + draw(gap) for _ in range(draw(st.integers(0, 3)))]
            return "[" + ",".join(elements) + draw(gap) + "]"
        if shape == "inline":
            names = draw(st.lists(KEYS, unique=True, max_size=3))
            # an inline table stands on one line, unless an array or a text inside it does not
            return "{ " + ", ".join(f"{name} = {value(depth - 1)}" for name in names) + " }"
        return scalar()

    def pairs():
        names = draw(st.lists(KEYS, unique=True, max_size=4))
        tails = st.sampled_from(["", ".x", ' . "y z"'])
        return [f"{name}{draw(tails)} = {value(2)}{draw(comments)}" for name in names]

    lines = pairs()
    for number in range(draw(st.integers(0, 4))):
        header = draw(st.sampled_from([f"[t{number}]", f'[ t{number} . "u.v" ]', "[[many]]", "[[many.sub]]"]))
        if header == "[[many.sub]]" and "[[many]]" not in lines:
            header = "[[many]]"
        lines += [header, *pairs(), draw(st.sampled_from(["", "# [c]"]))]
    return draw(st.sampled_from(["\n", "\n\n"])).join(lines)


@given(documents())
def test_every_integer_is_found_on_the_line_where_it_stands(text):
    found = lines_of(text)
    lines = text.split("\n")

    for place, value in places(tomllib.loads(text)):
        assert place in found
        if type(value) is int:
            assert str(value) in lines[found[place] - 1]


def line_of_error(text):
    with pytest.raises(ConfigError) as caught:
        parse_toml(text, "f.toml", "the file").only("known")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\nb = \n", "f.toml:2: the file is not TOML here: invalid value"),
        ("a = 1\na = 2", "f.toml:2: the file is not TOML here: cannot overwrite a value"),
        ("known = [1,\n2\n", "f.toml:2: the file is not TOML here: unclosed array"),
        ("known = " + "[" * 100_000, "f.toml:1: the file nests too deeply: write it flat"),
        ("known = " + "1" * 5_000, "f.toml:1: the file is not TOML here: exceeds the limit"),
        ("known = 1\n\nknwon = 1", "f.toml:3: unknown key 'knwon': did you mean 'known'?"),
        ("xyz = 1", "f.toml:1: unknown key 'xyz': expected known"),
    ],
)
def test_a_mistake_is_one_sentence_with_file_and_line(text, message):
    error = line_of_error(text)

    assert error.startswith(message)
    assert "\n" not in error


def test_bytes_that_are_not_utf8_are_a_mistake_on_their_line(tmp_path: Path):
    path = tmp_path / "c.toml"
    path.write_bytes(b"a = 1\nb = '\xff'\n")

    with pytest.raises(ConfigError, match=r"c\.toml:2: the file is not UTF-8 here: save it as UTF-8 text$"):
        read_toml(path, "the file")


def test_a_file_that_is_not_there_says_so(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"^the file .*none\.toml does not exist: give the path"):
        read_toml(tmp_path / "none.toml", "the file")


def test_a_folder_in_place_of_a_file_says_so(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        read_toml(tmp_path, "the file")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_a_config_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(data)
    try:
        assert read_toml(path, "the file").values is not None
    except ConfigError as error:
        assert "any.toml" in str(error)


@pytest.mark.parametrize(
    ("text", "scaled"),
    [
        ("0", 0),
        ("16.666", 16_666_000),
        ("0.000001", 1),
        ("007", 7_000_000),
        ("9" * 38, int("9" * 38) * 10**6),
    ],
)
def test_a_decimal_string_is_scaled_exactly(text, scaled):
    assert fixed_point(text) == scaled


@pytest.mark.parametrize(
    "text",
    ["", ".5", "5.", "-1", "+1", "1e3", "0.0000001", "1.0000000", " 1", "1\n", "1_000", "٣", "NaN", "9" * 39],
)
def test_all_else_is_no_decimal_string(text):
    assert fixed_point(text) is None


def test_a_wrong_word_is_met_with_the_one_that_was_meant():
    assert suggestion("compoments", ["components", "weight"]) == "did you mean 'components'?"
    assert suggestion("zzz", ["components", "weight"]) == "expected components, weight"
