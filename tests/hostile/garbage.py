"""Lines that are no JSON, or just about; each of GARBAGE makes one of a good line."""

DEEP = 50_000


def _random_bytes(source, _good):
    return source.randbytes(source.randrange(1, 400))


def _cut(source, good):
    return good[: source.randrange(1, len(good.rstrip()))]


def _flipped(source, good):
    at = source.randrange(len(good))
    return good[:at] + bytes([source.randrange(256)]) + good[at + 1 :]


def _with_payload(payload):
    """A good event but for what stands in a member that nobody reads."""

    def make(_source, good):
        return good.rstrip().removesuffix(b"}") + b',"extra":' + payload + b"}"

    return make


def _always(line):
    return lambda _source, _good: line


def _huge(source, good):
    return _with_payload(b'"' + b"h" * source.randrange(20_000, 80_000) + b'"')(source, good)


_PAYLOADS = (
    *(b"NaN", b"-Infinity", b"01", b"1.", b"+1", b".5", b"0x10", b"'a'", b"1_0", b"tru", b"nulL", b"/**/1"),
    *(b'"\\ud800"', b'"\\udc00\\ud800"', b'{"\\udfff":1}', b'["\\ud83d"]', b'"\\x41"', b"[1,]", b"{,}"),
    *(b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\t"', b'"\x00"'),
    *(b'"\\ud83e\\uddfe"', b'"\xf0\x9f\xa7\xbe"', b'"\xef\xbb\xbf"', b'"\\u00e9"', b"1e-400", b"-0.0e+00"),
    *(b"[" * depth + b"]" * depth for depth in (40, 255, 256, DEEP)),
    b"9" * 5000,
)
_LINES = (
    *(b"", b"", b" \t", b"\r", b"{}", b"[]", b"null", b"true", b'"text"', b"12", b"-", b'"', b"{"),
    *(b"{" * DEEP, b"[" * DEEP, b'{"a":' * DEEP, b"\x00", b"\xff\xfe", b"\x1f\x8b\x08"),
)

GARBAGE = (
    *[_random_bytes, _cut, _flipped] * 2,
    _huge,
    *map(_with_payload, _PAYLOADS),
    *map(_always, _LINES),
    lambda _source, good: b"\xef\xbb\xbf" + good,
    lambda _source, good: good + b"x",
    lambda _source, good: good + good,
    lambda _source, good: good.decode().encode("utf-16"),
    lambda _source, good: b"[" + good + b"]",
)
