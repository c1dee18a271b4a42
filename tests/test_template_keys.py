"""The keys of a whole batch by its templates: the same as those that each template makes by itself."""

import json
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.catalog import Entry
from pipeline.chunk import Origin, laid_out
from pipeline.columns import Columns, EventWriter
from pipeline.kernels.layout import ATTRIBUTES, EVENT_ID, KEY
from pipeline.key_template import Template, parse_template
from pipeline.template_keys import TemplateKeys

TEMPLATES = [
    "{$event.id}",
    "hook:{$event.body#/a}",
    "{$event.body#/a/b}:{$event.id}:{$event.body#/é}",
    "k{$event.body#/a/0}",
    "{$event.body#}",
]
ENTRIES = [Entry(), *(Entry(idempotency_key=parse_template(text)) for text in TEMPLATES)]
NAMES = st.sampled_from(["a", "b", "é", "0", 'q"', "aa", ""])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["x" * 31, "y" * 32, "z" * 300, "ä" * 300]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)
TEXTS = st.builds(
    lambda value, is_ascii, indent: json.dumps(value, ensure_ascii=is_ascii, indent=indent),
    st.fixed_dictionaries({"event": VALUES}, optional={"other": VALUES}),
    st.booleans(),
    st.sampled_from([None, 1]),
)
ROWS = st.tuples(st.integers(-1, len(TEMPLATES)), st.text(min_size=1, max_size=40), TEXTS | st.just(""))


def batch_of(rows: list[tuple[int, str, str]]) -> tuple[Columns, np.ndarray]:
    n = len(rows)
    payload, zeros = b"{}\n" * n, np.zeros(n, np.int64)
    columns = Columns.empty(laid_out(Origin("t", 0), 0, payload, np.full(n, 3), zeros, zeros, n, 0))
    columns.verdicts[:] = 0
    writer = EventWriter(columns, columns.chunk.used)
    for row, (_, event_id, attributes) in enumerate(rows):
        writer.set_text(row, EVENT_ID, event_id)
        writer.set_text(row, ATTRIBUTES, attributes)
    columns.chunk.used = writer.finish()
    return columns, np.array([entry for entry, _, _ in rows], np.int32)


def keys_of(columns: Columns) -> list[str | None]:
    return [columns.text(row, KEY) or None for row in range(len(columns))]


def expected(rows: list[tuple[int, str, str]]) -> list[str | None]:
    templates = [ENTRIES[entry].idempotency_key if entry >= 0 else None for entry, _, _ in rows]
    return [t and t.render(event, text) for t, (_, event, text) in zip(templates, rows, strict=True)]


@settings(deadline=None, max_examples=300)
@given(st.lists(ROWS, min_size=1, max_size=8))
def test_each_key_is_that_of_its_template(rows: list[tuple[int, str, str]]) -> None:
    columns, numbers = batch_of(rows)

    TemplateKeys().apply(columns, numbers, ENTRIES)

    assert keys_of(columns) == expected(rows)


@pytest.mark.parametrize(
    ("attributes", "key"),
    [
        ('{"event":{"a":"x"}}', "hook:x"),
        ('{"event":{"a":"x","b":"\\u00e9"},"z":[1,{"a":2}]}', None),
        ('{ "x" : {"event":1} , "event" : { "b" : [ 1 ] , "a" : -12.50 } }', "hook:-12.50"),
        ('{"event":{"a":1,"a":true}}', "hook:true"),
        ('{"event":{"a":1},"event":{"a":2}}', "hook:2"),
        ('{"event":{"a":"' + "x" * 507 + '"}}', "hook:" + "x" * 507),
    ],
)
def test_plain_payloads_are_read_without_an_object_for_each(attributes: str, key: str | None) -> None:
    columns, numbers = batch_of([(2, "e", attributes)])

    if key is None:  # an escape: the strict way is asked
        with patch.object(Template, "render", return_value="asked"):
            TemplateKeys().apply(columns, numbers, ENTRIES)
        assert keys_of(columns) == ["asked"]
    else:
        with patch.object(Template, "render", side_effect=AssertionError):
            TemplateKeys().apply(columns, numbers, ENTRIES)
        assert keys_of(columns) == [key]


def test_rows_with_a_key_and_refused_rows_keep_what_they_have() -> None:
    columns, numbers = batch_of([(1, "a", ""), (1, "b", ""), (1, "c", "")])
    columns.verdicts[0] = 5
    columns.at[1, KEY], columns.length[1, KEY] = columns.at[2, EVENT_ID], columns.length[2, EVENT_ID]

    TemplateKeys().apply(columns, numbers, ENTRIES)

    assert keys_of(columns) == [None, "c", "c"]


def test_entries_that_are_met_later_bring_their_templates() -> None:
    keys = TemplateKeys()
    first, numbers = batch_of([(0, "a", "")])
    keys.apply(first, numbers, ENTRIES[:1])
    second, numbers = batch_of([(1, "b", "")])
    keys.apply(second, numbers, ENTRIES)

    assert (keys_of(first), keys_of(second)) == ([None], ["b"])


def test_a_batch_whose_keys_outgrow_its_buffer_has_them_all() -> None:
    rows = [(2, "e", json.dumps({"event": {"a": f"{n:0300}"}})) for n in range(200)]
    columns, numbers = batch_of(rows)

    TemplateKeys().apply(columns, numbers, ENTRIES)

    assert keys_of(columns) == expected(rows)
