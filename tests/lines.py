"""Lines that look like events, in all the forms that JSON allows and in many that it does not.

The same seed gives the same bytes. Nothing here knows what must become of a line: it makes input for tests
that hold one way of reading against another.
"""

import random
from collections.abc import Callable

Members = list[tuple[bytes, bytes]]
Space = Callable[[], bytes]
NOW_MS = 1_793_600_600_000
"""An arrival shortly after the times of the lines."""

SPACES = (b" ", b"\t", b"\r", b"  ", b" \t ", b"\n")
_SIZED = {b"x": (128, 255, 256), b"k": (512, 1024), b"\xc3\xa9": (128, 512), b"\xe2\x82\xac": (1023,)}
TEXTS = (
    *b"""
    "" "a" "12345678" "caf\xc3\xa9" "\xe6\x97\xa5" "\xf0\x9f\xa7\xbe" "\\u00e9" "\\ud83e\\uddfe" "\\ud83e"
    "\\n" "a\\"b" "a\\\\" "\\/" "\\x" "\x7f" "\x01" "\xff" "\xc0\x80" "\xed\xa0\x80" "\xf4\x90\x80\x80" "a 'a'
    "\\u12"
    """.split(),
    b'"two words"',
    b'"\t"',
    *(b'"' + c * (size + more) + b'"' for c, sizes in _SIZED.items() for size in sizes for more in (0, 1)),
)
NUMBERS = (
    *b"""
    0 1 7 42 -1 -0 0.0 -0.0 00 01 1.0 1.50 1.5 0.000001 0.0000001 0.1234567 1.0000000 1e3 1E3 1e+3 10e-1 1e-7
    1. .5 +1 - 1e 123456789012 1234567890123 123456789012.123456 999999999999.999999 99999999999999
    999999999999999 1000000000000000 1000000000000000.0 1000000000000001 1000000000000000.000001
    -999999999999999 -1000000000000000 -1000000000000001 9007199254740993 9223372036854775807
    9223372036854775808 -9223372036854775808 18446744073709551617 1e15 1e300 -1e300 1e-300 1e999999999999
    NaN Infinity 0x10 1_000 \xd9\xa1
    """.split(),
    b"12 ",
    b"1 2",
    b"1" * 40,
    b"0." + b"0" * 40,
)
OTHERS = (
    *b"""
    null nul nulll true false tru True [] {} [1,2] {"a":1} [1,] {"a":1,} {"a"} {,} [} {] [[[[]]]] - [-] [01]
    [{"a":[{"b":null}]}] {"a":{"a":"\\ud800"}} ["\\ude00"] "\\\\ud800" [-0.0e0] [1e5] [0.5]
    {"\\u0061":1,"a":2}
    """.split(),
    b'["\x02"]',
    b'[ 1 , "b" , { } ]',
    b"",
    *(b"[" * depth + b"]" * depth for depth in (59, 61, 255, 257)),
)
_MOMENT = b"2026-11-02T06:13:20"
_BEHIND_MOMENT = b"""
    .000Z Z .1Z .12Z .123456789Z .9999Z +00:00 -00:00 +23:59 -23:59 +24:00 +05:60 +0545 +05 .Z ZZ \\u005a ,5Z
    +00:00Z /00:00 .+00:00 .5-05:00 .5 z .999z
"""
_DAYS = b"""
    2024-02-29 2000-02-29 2026-02-29 2100-02-29 2026-04-31 2026-00-10 2026-13-10 2026-01-00 2000-01-01
    0000-01-01 0001-01-01 9999-12-31 2026-1:-02 2026-11-2 +026-11-02 /026-11-02 2026/11/02 20261102
"""
TIMES = (
    *(_MOMENT + rest for rest in _BEHIND_MOMENT.split()),
    *(day + b"T00:00:00Z" for day in _DAYS.split()),
    *(
        b"2026-11-02T" + rest
        for rest in b"06:13:60Z 24:00:00Z 06:60:00Z 06:13:/0Z 0x:13:20Z 6:13:20Z".split()
    ),
    *b"""
    1999-12-31T23:59:59.999Z 2000-01-01T00:00:00+00:01 1999-12-31T23:59:00-00:01 1999-12-31T23:58:59.999-00:01
    2026-11-02T06:28:20.000Z 2026-11-02T06:28:20.001Z 2026-11-02T06:28:19.999999Z 2026-11-02T06:28:20.000999Z
    2026-11-02t06:13:20z 2026-11-02T11:58:20+05:45 2026-11-02T06:13:2\xc2\xb2Z now
    """.split(),
    b"",
    _MOMENT,
    _MOMENT + b"Z ",
    b" " + _MOMENT + b"Z",
    b"2026-11-02 06:13:20Z",
    _MOMENT + b"." + b"9" * 60 + b"Z",
)
ATTRIBUTES = tuple(b"specversion id source type tenant data subject time idempotencykey".split())
DATA = (
    *b"""
    operation action context trigger usage method endpoint status request_bytes response_bytes units
    delta_bytes object provider verified event voids reason
    """.split(),
)
UNKNOWN = (
    *b"""
    event ce_event x note traceparent 12345678 123456789 operatioN unit unitss request_byteS idempotencykeY
    tenant_id Type a\\u0062 ty\\u0070e sourc\\u0065 voids reason caf\xc3\xa9 \xf0\x9f\xa7\xbe \xff \x7f
    dat\x00
    """.split(),
    b"",
    b'a\\"b',
    b"a b",
)
KINDS = (b"traffic", b"compute", b"storage", b"webhook")
_CONTEXT_TYPES = b'"project" "workspace" "admin" "other" "workspacE" "Other" "none" "" null 3'.split()
_CONTEXTS = b"""
    {"x":1} {"x":null} {"name":"a","name":"b"} {"type":"project","name":"n","display":"d"} {"nam\\u0065":"a"}
    {"type":null,"x":{"a":1},"name":null}
"""
_USAGES = (
    b"openai",
    b"gpu",
    b"a",
    b"caf\xc3\xa9",
    b"12345678",
    b"123456789",
    b"n" * 1024,
    b"n" * 1025,
    b"",
    b"\\u0061",
)
_TRIGGERS = b"""
    "synchronous" "scheduled" "webhook-received" "queue-consumed" "callback-completed" "synchronouS"
    "Scheduled" "scheduleD" "synchr0nous" "" "webhook-receiveD" "wEbhook-received" "queue-consumeD"
    "Queue-consumed" "callback-completeD" "callback-c0mpleted" "Callback-completed" "callback_completed"
"""
USUAL: dict[bytes, tuple[bytes, ...]] = {
    b"specversion": (*b'"1.0" "1.0" "1.1" 1.0 "1.00" "1.0\\u0000" "1\\u002e0"'.split(),),
    b"source": (
        *b'"/svc/a" "\xc2\xa0" "/\xe2\x80\x83x" "/svc/\x7f" "/sv\xc3\xa9"'.split(),
        b'"/a b"',
        b'" "',
    ),
    b"type": (
        *b'"traffic" "compute" "storage" "webhook" "correction" "Traffic" "traffics" "\\u0074raffic"'.split(),
    ),
    b"time": tuple(b'"' + time + b'"' for time in TIMES),
    b"trigger": (*_TRIGGERS.split(),),
    b"verified": (b"true", b"false", b"null", b"1", b"truE", b"falsee"),
    **dict.fromkeys((b"status", b"request_bytes", b"response_bytes", b"units", b"delta_bytes"), NUMBERS),
    b"usage": (
        *(b'{"openai":' + number + b"}" for number in NUMBERS),
        *(b'{"%b":1}' % name for name in _USAGES),
    ),
    b"context": (
        *_CONTEXTS.split(),
        *(b'{"type":%b}' % value for value in _CONTEXT_TYPES),
        *(b'{"name":%b}' % value for value in TEXTS),
        *(b'{"display":%b,"name":"n"}' % value for value in TEXTS),
    ),
}
"""Values that are of the right sort for a member, and some that are nearly so."""
VALUES = (*TEXTS, *NUMBERS, *OTHERS)
"""Values of any sort."""
SMALLEST: dict[bytes, Members] = {
    b"traffic": [(b"method", b'"GET"'), (b"endpoint", b'"/v1/items"')],
    b"compute": [(b"operation", b'"ask"')],
    b"storage": [(b"delta_bytes", b"-5")],
    b"webhook": [(b"event", b'{"ref":"main"}')],
    b"correction": [(b"voids", b'"key-1"')],
}


def event_of(kind: bytes) -> Members:
    """A small valid event; `data` is its last member."""
    attributes = [
        (b"specversion", b'"1.0"'),
        (b"id", b'"1"'),
        (b"source", b'"/svc"'),
        (b"type", b'"' + kind + b'"'),
    ]
    more = [(b"tenant", b'"acme"'), (b"time", b'"' + TIMES[0] + b'"')]
    return [*attributes, *more, (b"data", written(SMALLEST[kind]))]


def written(members: Members, space: Space = bytes) -> bytes:
    """A JSON object of members; `space` is asked for every place where white space may stand."""
    parts = [
        space() + b'"' + name + b'"' + space() + b":" + space() + value + space() for name, value in members
    ]
    return b"{" + (b",".join(parts) if parts else space()) + b"}"


class LineMaker:
    """Makes lines; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._pick = self.random.choice
        self._number = 0
        self._last = b"{}"

    def any_line(self) -> bytes:
        """A canonical, an awkward or a broken one."""
        return self.random.choices((self.canonical, self.awkward, self.broken), (2, 11, 7))[0]()

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability

    # Canonical events.

    def canonical(self) -> bytes:
        """An event as a well-behaved client writes it: the scanner should need no help with it."""
        attributes, data = self._parts()
        return written([*attributes, (b"data", written(data))])

    def _parts(self) -> tuple[Members, Members]:
        self._number += 1
        n, r = self._number, self.random
        kind = self._pick((b"traffic", b"traffic", *KINDS))
        attributes = [
            (b"specversion", b'"1.0"'),
            (b"id", b'"evt_%010d"' % n),
            (b"source", b'"/svc/%b/%d"' % (kind, r.randrange(16))),
            (b"type", b'"%b"' % kind),
            (b"tenant", b'"acct_%d"' % r.randrange(5)),
            (b"subject", b'"user_%d"' % r.randrange(9)),
            (b"time", b'"2026-11-02T06:%02d:20.%03dZ"' % (r.randrange(20), r.randrange(1000))),
            (b"idempotencykey", b'"key-%d"' % r.randrange(1 + n // 2)),
        ]
        left_out = {b"subject": 0.1, b"idempotencykey": 0.3}
        return [m for m in attributes if not self._chance(left_out.get(m[0], 0))], self._data(kind)

    def _data(self, kind: bytes) -> Members:
        r = self.random
        payload = b'{"kind":"push","ref":"refs/%d","n":%d,"tags":[1,"a",null]}' % (
            r.randrange(9),
            r.randrange(99),
        )
        data: dict[bytes, Members] = {
            b"traffic": [
                (b"method", self._pick((b'"GET"', b'"POST"'))),
                (b"endpoint", b'"/v1/items/%d"' % r.randrange(5)),
                (b"status", self._pick((b"200", b"204", b"404", b"500"))),
                (b"request_bytes", b"%d" % r.randrange(4000)),
                (b"response_bytes", b"%d" % r.randrange(10**7)),
            ],
            b"compute": [
                (b"operation", self._pick((b'"ask"', b'"embed"', b'"render"'))),
                (b"units", b"%d" % r.randrange(50)),
            ],
            b"storage": [
                (b"operation", b'"object.put"'),
                (b"delta_bytes", b"%d" % r.randint(-(10**7), 10**7)),
                (b"object", b'"bucket/%016x.bin"' % r.getrandbits(64)),
            ],
            b"webhook": [
                (b"operation", self._pick((b'"webhook.in"', b'"by.payload"'))),
                (b"provider", b'"github"'),
                (b"verified", b"true"),
                (b"event", payload),
            ],
        }
        usage = b'{"openai":%d,"gpu":%d.%d}' % (r.randrange(9000), r.randrange(9), r.randrange(10**6))
        context = b'{"type":"project","name":"p%d"}' % r.randrange(9)
        some = [(b"usage", usage), (b"context", context), (b"action", b'"export"'), (b"note", b'"as sent"')]
        return data[kind] + [member for member in some if self._chance(0.2)]

    # Events whose members are anything.

    def awkward(self) -> bytes:
        """An event with members of other forms, order, number or spacing; a good part is still valid."""
        attributes, data = self._parts()
        for _ in range(self._pick((0, 0, 1, 1, 1, 2, 3))):
            self._twist(attributes, ATTRIBUTES)
        for _ in range(self._pick((0, 1, 1, 1, 2, 3))):
            self._twist(data, DATA)
        if self._chance(0.05):
            name = self._pick(UNKNOWN)
            attributes.append((name, self._value(b"x")))
            data.append((name, self._value(b"x")))
        members = [*attributes, (b"data", written(data, self._spacing()))]
        if self._chance(0.3):
            self.random.shuffle(members)
        space = self._spacing()
        return space() + written(members, space) + space()

    def _spacing(self) -> Space:
        rate = self._pick((0, 0, 0, 0.1, 0.9))
        return lambda: self._pick(SPACES) if rate and self._chance(rate) else b""

    def _twist(self, members: Members, known: tuple[bytes, ...]) -> None:
        """Change one thing about the members: leave out, move, double, add or alter one."""
        way = self.random.randrange(9)
        at = self.random.randrange(len(members) + 1)
        if way == 0:
            del members[at : at + 1]
        elif way == 1:
            self.random.shuffle(members)
        elif way < 5:
            name = self._pick(
                (self._pick(UNKNOWN), self._pick(known), self._pick([(b"x", b""), *members])[0])
            )
            members.insert(at, (name, self._value(name)))
        elif at < len(members):
            members[at] = (members[at][0], self._value(members[at][0]))

    def _value(self, name: bytes) -> bytes:
        if self._chance(0.1):
            return b"null"
        if self._chance(0.1) or name in UNKNOWN:
            return self._pick(VALUES)
        if name == b"usage" and self._chance(0.7):
            return self._usage()
        if name == b"data":
            return written(self._data(self._pick(KINDS)))
        return self._pick(USUAL.get(name, TEXTS))

    def _usage(self) -> bytes:
        names = self.random.choices(_USAGES, (9, 9, 9, 3, 3, 3, 1, 0.3, 0.3, 0.3), k=self.random.randrange(5))
        numbers = NUMBERS if self._chance(0.5) else (b"0", b"1.5", b"12", b"999999999999.999999", b"0.000001")
        return written([(name, self._pick(numbers)) for name in names], self._spacing())

    # Lines that are broken.

    def broken(self) -> bytes:
        """A line with some of its bytes changed, or two lines cut and joined."""
        line = self.canonical() if self._chance(0.6) else self.awkward()
        for _ in range(self._pick((1, 1, 1, 2, 5))):
            line = self._break(line)
        self._last = line
        return line

    def _break(self, line: bytes) -> bytes:
        r = self.random
        at, length = r.randrange(len(line) + 1), r.randrange(20)
        head, tail = line[:at], line[at:]
        return self._pick(
            (
                head,
                head + bytes([r.randrange(256)]) + tail[1:],
                head + bytes([r.randrange(256)]) + tail,
                head + tail[1:],
                head + bytes(c ^ (1 << r.randrange(8)) for c in tail[:1]) + tail[1:],
                head + self._last[r.randrange(len(self._last) + 1) :],
                head + self._pick(VALUES) + tail,
                head
                + self._pick((b",", b":", b'"', b"{", b"}", b"[", b"]", b"\\", b" ", b"\n", b"0"))
                + tail,
                head + tail[:length] * 2 + tail[length:],
                head + tail[length:],
            )
        )
