"""What can be wrong with an event that is JSON; each fault changes the members of one."""

from .text import NULL, Token


def _attribute(name, *values):
    def fault(source, event):
        event[name] = source.choice(values)

    return fault


def _member(name, *values, kind=None):
    def fault(source, event):
        if kind is not None:
            event["type"] = kind
        data = event.get("data")
        if isinstance(data, dict):
            data[name] = source.choice(values)

    return fault


def _missing(source, event):
    name = source.choice(("specversion", "id", "source", "type", "tenant", "data"))
    if source.random() < 0.5:
        event[name] = NULL
    else:
        event.pop(name, None)


_NOT_A_QUANTITY = ("1", "", True, False, [], {}, *map(Token, ("0.0000001", "-1", "-0.000001", "1e-7")))
_NOT_BYTES = (*_NOT_A_QUANTITY, *map(Token, ("0.5", "1e-1", "1000000000000000.1")))
_NO_TEXT = (Token("5"), True, [], {}, "x" * 1025)
_TOO_MUCH = tuple(
    map(Token, ("1000000000000001", "1e300", "1e999999999999999999999", "1000000000000000.000001"))
)
_TOO_MANY_BYTES = tuple(map(Token, ("1000000000000001", "1e16", "9223372036854775808")))
_NO_TIME = (
    "", "now", "2026-11-01", "2026-11-01T00:00:00", "2026-11-01 00:00:00Z", "2026-11-01T00:00:60Z",
    "2026-11-01T24:00:00Z", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-01T00:00:00.Z",
    "2026-11-01T00:00:00+0100", "2026-11-01T00:00:00+24:00", "2026-11-01T00:00Z", "1999-12-31T23:59:59.999Z",
    "2000-01-01T00:59:59+01:00", "0000-01-01T00:00:00Z", "\uff12\uff10\uff12\uff16-11-01T00:00:00Z", True, [],
    Token("1793600000000"),
)  # fmt: skip
_LATER = ("2100-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "2999-02-28T00:00:00+05:45")
_NO_STRING = (Token("1"), Token("1.0"), False, [], {})

FAULTS = (
    _missing,
    _attribute("specversion", "0.3", "1", Token("1.0"), ""),
    _attribute("id", "", "i" * 257, "🧾" * 257, *_NO_STRING),
    _attribute("source", "", "s" * 256, "a b", "a\tb", "a\u00a0b", *_NO_STRING),
    _attribute("tenant", "", "t" * 129, *_NO_STRING),
    _attribute("subject", "x" * 1025, *_NO_STRING),
    _attribute("idempotencykey", "", "k" * 513, *_NO_STRING),
    _attribute("type", *_NO_STRING),
    _attribute("time", *_NO_TIME),
    _attribute("type", "Traffic", "traffic ", "usage", "корекція"),
    _attribute("data", [], "text", Token("1"), True),
    _attribute("time", *_LATER),
    _member("operation", *_NO_TEXT),
    _member("operation", "", NULL, kind="compute"),
    _member("action", *_NO_TEXT),
    _member("trigger", "", "Scheduled", Token("1"), []),
    _member("context", "project", [], {"type": "team"}, {"type": ""}, {"name": Token("5")}),
    _member("context", {"display": "x" * 1025}),
    _member("usage", [], "tokens", Token("1"), {"u" * 1025: Token("1")}),
    _member("usage", *({"tokens": wrong} for wrong in _NOT_A_QUANTITY)),
    _member("usage", *({"tokens": much} for much in _TOO_MUCH)),
    _member("units", *_NOT_A_QUANTITY, kind="compute"),
    _member("units", *_TOO_MUCH, kind="compute"),
    _member("request_bytes", *_NOT_BYTES, kind="traffic"),
    _member("response_bytes", *_NOT_BYTES, kind="traffic"),
    _member("response_bytes", *_TOO_MANY_BYTES, kind="traffic"),
    _member("status", "200", True, Token("200.5"), Token("1e300"), kind="traffic"),
    _member("method", *_NO_TEXT, kind="traffic"),
    _member("endpoint", *_NO_TEXT, kind="traffic"),
    _member("delta_bytes", NULL, "1", True, Token("0.5"), Token("-0.000001"), kind="storage"),
    _member("delta_bytes", *_TOO_MANY_BYTES, Token("-1000000000000001"), Token("-1e300"), kind="storage"),
    _member("object", *_NO_TEXT, kind="storage"),
    _member("provider", *_NO_TEXT, kind="webhook"),
    _member("verified", "true", Token("1"), [], kind="webhook"),
    _member("voids", NULL, "", "v" * 513, Token("1"), kind="correction"),
    _member("reason", *_NO_TEXT, kind="correction"),
    _member("voids", "nothing of this name", kind="correction"),
)
