"""What the strict decoder says to converted lines: the formats pass on what only it may judge."""

import pytest

from pipeline.event import UNATTRIBUTED, Event, Reason, Reject
from pipeline.formats import load_mapping, make_format
from pipeline.strict import Rules, decode_event

NOW_MS = 1_790_000_000_000
STORAGE = 'type = "storage"\n[data]\ndelta_bytes = { column = "delta" }\n[time]\ncolumn = "at"\n'


def decoded(made, line, name="f.log", rules=Rules()):
    converted = made.convert(line, name, 1)
    assert isinstance(converted, bytes), converted
    return decode_event(converted, NOW_MS, rules)


@pytest.fixture
def storage(tmp_path):
    (tmp_path / "m.toml").write_text(STORAGE)
    return make_format("json", load_mapping(tmp_path / "m.toml"), "acme")


def test_a_size_that_is_null_is_invalid_though_the_mapping_does_not_require_it(storage):
    outcome = decoded(storage, b'{"delta":null}')
    assert isinstance(outcome, Reject)
    assert outcome.reason is Reason.INVALID_DATA


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"delta":"five"}', Reason.INVALID_DATA),
        (b'{"delta":1.5}', Reason.INVALID_DATA),
        (b'{"delta":true}', Reason.INVALID_DATA),
        (b'{"delta":1e300}', Reason.QUANTITY_OUT_OF_RANGE),
        (b'{"delta":1,"at":"1999-12-31 23:59:59"}', Reason.INVALID_ATTRIBUTE),
        (b'{"delta":1,"at":"2026-02-30 00:00:00"}', Reason.INVALID_ATTRIBUTE),
        (b'{"delta":1,"at":"2099-01-01 00:00:00"}', Reason.TIME_IN_FUTURE),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_for_what_it_is(storage, line, reason):
    outcome = decoded(storage, line)
    assert isinstance(outcome, Reject)
    assert outcome.reason is reason


def test_a_log_without_a_tenant_is_refused_or_unattributed():
    made = make_format("access-log", None, None)
    line = b'- - - [17/May/2015:10:05:03 +0545] "-" 408 -'
    refused = decoded(made, line)
    assert isinstance(refused, Reject)
    assert refused.reason is Reason.MISSING_ATTRIBUTE
    event = decoded(made, line, rules=Rules(unattributed_tenant="@unattributed"))
    assert isinstance(event, Event)
    assert (event.tenant, event.principal, event.operation) == ("@unattributed", UNATTRIBUTED, "-")


@pytest.mark.parametrize(
    "name", ["a.log", "two words.log", "日誌" * 100, "\udcff" * 100, "", "\x1f\x85\xa0\u2028"]
)
@pytest.mark.parametrize(
    "request_line", [b"GET /a?b HTTP/1.1", b"", b"-", b"x" * 3000, b"GET /%b HTTP/1.1" % (b"y" * 3000)]
)
def test_requests_of_any_shape_from_files_of_any_name_are_accepted(name, request_line):
    line = b'::1 - - [17/May/2015:10:05:03 +0000] "%b" 200 77 "%b" "%b"' % (
        request_line,
        b"r" * 3000,
        b"\xff" * 3000,
    )
    event = decoded(make_format("access-log", None, "acme"), line, name)
    assert isinstance(event, Event)
    assert (event.response_bytes, event.principal) == (77, "::1")


def test_the_default_key_of_webhooks_is_left_to_the_decoder(tmp_path):
    (tmp_path / "m.toml").write_text('type = "webhook"\n[attributes]\nid = { column = "id" }\n')
    event = decoded(make_format("json", load_mapping(tmp_path / "m.toml"), "acme"), b'{"id":"evt_1"}')
    assert isinstance(event, Event)
    assert (event.event_id, event.idempotency_key) == ("evt_1", None)
