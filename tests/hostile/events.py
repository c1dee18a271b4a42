"""Good events, with every text, time and quantity at the edge of what the contract allows."""

import datetime as dt
import random

from .settings import TENANTS
from .text import NULL, Token

PRINCIPALS = (
    "alice",
    "Ålice",
    "A\u030alice",
    "",
    "@unattributed",
    "svc:{x}",
    "%s\t'\"\\\n",
    "用户",
    "c",
    "p" * 1024,
)
ACTIONS = ("", "export", "share'--", "повторить")
SOURCES = ("/svc/a", "/svc/a#b?c=%20", "urn:uuid:6e8bc430", "s" * 255, "//host:1/é")
TRIGGERS = ("synchronous", "webhook-received", "scheduled", "queue-consumed", "callback-completed")
OPERATIONS = (
    "plain",
    "weighted",
    "heavy",
    "dear",
    "two dear",
    "half",
    "tokens",
    "seconds",
    "per request",
    "per unit",
    "free",
    "entry only",
    "credit",
    "rate limited",
    "given away",
    "negative",
    "nobody priced this; '--",
    "κλήση",
)

_RECENT = (
    "2026-02-28T23:59:59.999",
    "2026-03-01T00:00:00.000",
    "2026-03-08T06:59:59.999",  # daylight saving begins in New York
    "2026-03-08T07:00:00.000",
    "2026-03-31T18:14:59.999",  # midnight and a month's end in Kathmandu
    "2026-03-31T18:15:00.000",
    "2026-04-04T13:59:59.999",  # daylight saving ends in Auckland
    "2026-04-04T14:00:00.000",
    "2026-04-05T03:00:00.000",  # and in Santiago, at midnight
    "2026-09-06T03:59:59.999",
    "2026-09-06T04:00:00.000",  # Santiago has no midnight on this day
    "2026-10-31T23:59:59.999",
    "2026-11-01T00:00:00.000",
    "2026-11-01T05:59:59.999",  # daylight saving ends in New York
    "2026-11-01T06:00:00.000",
    "2026-11-01T04:00:00.000",
)


class Events:
    """Makes events as members of JSON objects; with `arrival_ms` also near it, and without a time."""

    def __init__(self, seed, arrival_ms):
        self._random = random.Random(seed)
        self._arrival_ms = arrival_ms
        self._number = 0

    def _pick(self, options):
        return self._random.choice(options)

    def _chance(self, probability):
        return self._random.random() < probability

    def _event(self):
        self._number += 1
        kind = self._pick(("traffic", "compute", "compute", "compute", "storage", "webhook"))
        event = {
            "specversion": "1.0",
            "id": f"evt-{self._number}",
            "source": self._pick(SOURCES),
            "type": kind,
            "tenant": self._pick(TENANTS),
            "subject": self._pick(PRINCIPALS),
            "time": self._time(),
            "idempotencykey": self._key(),
            "data": self._data(kind),
        }
        for name in ("subject", "idempotencykey"):
            if self._chance(0.15):
                event[name] = self._pick((NULL, None))
        if self._arrival_ms is not None and self._chance(0.05):
            event["time"] = None
        if self._chance(0.1):
            event["datacontenttype"] = "application/json"
        return {name: value for name, value in event.items() if value is not None}

    def _key(self):
        """Keys that meet where tenant and key are joined carelessly: ("ab", "c1") and ("abc", "1")."""
        style = self._random.random()
        if style < 0.4:
            return self._pick(("", "c", "bc")) + str(self._random.randrange(self._number * 2))
        if style < 0.45:
            return f"{self._pick(SOURCES)} evt-{self._random.randrange(self._number * 2)}"
        if style < 0.5:
            return f"{self._number}".rjust(512, "k")
        return f"key '{self._number}' \u0000 ключ"

    def _time(self):
        if self._chance(0.05):
            year, month = self._random.randrange(2000, 2026), self._random.randrange(1, 13)
            return f"{year}-{month:02}-01T00:00:00Z"
        if self._arrival_ms is not None and self._chance(0.1):
            return self._around_arrival(self._arrival_ms)
        text = self._pick(_RECENT)
        style = self._random.randrange(6)
        if style == 0:
            return text.replace("T", "t") + "z"
        if style == 1:
            return text + "".join(self._random.choices("0123456789", k=self._random.randrange(1, 12))) + "Z"
        if style == 2:
            return text[:-4] + self._pick(("+00:00", "-00:00", "+05:45", "-23:59", "+14:00"))
        return text + "Z"

    def _around_arrival(self, arrival_ms):
        milliseconds = arrival_ms + self._pick((0, -1, 299_999, 300_000, 300_001, 10**9))
        moment = dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=milliseconds)
        return f"{moment.isoformat(timespec='milliseconds')}Z"

    def _data(self, kind):
        data = {
            "traffic": self._traffic,
            "compute": self._compute,
            "storage": self._storage,
            "webhook": self._webhook,
        }[kind]()
        if self._chance(0.3):
            data["action"] = self._pick(ACTIONS)
        if self._chance(0.2):
            data["trigger"] = self._pick(TRIGGERS)
        if self._chance(0.2):
            data["context"] = self._context()
        if self._chance(0.5):
            data["usage"] = self._usage()
        if self._chance(0.2):
            data[self._pick(("note", "x'y", "delta_bytes " * 20))] = self._pick(
                ("text", [NULL, 1], {"a": NULL})
            )
        return data

    def _context(self):
        context = {
            "type": self._pick(("project", "workspace", "admin", "other")),
            "name": self._pick(PRINCIPALS),
        }
        return {**context, "display": self._pick(("", "Vürst", NULL))}

    def _usage(self):
        names = self._random.sample(("tokens", "κόστος", "compute", 'so\'urce "2"', "never priced"), 2)
        return {name: self._pick((self._quantity(), self._quantity(), Token("0"), NULL)) for name in names}

    def _quantity(self):
        small = ("1", "1.0", "1e0", "10E-1", "0", "-0", "0.0", "0.000001", "0.001", "0.003", "0.005", "2.5")
        middle = (
            "1e3",
            "999999.999999",
            "123456789.123456",
            "12345678901",
            "1000.000001",
            "4503599627.370497",
        )
        large = (
            "1e15",
            "1000000000000000",
            "999999999999999.999999",
            "1.000000000000000e+15",
            "9007199254740993e-2",
        )
        return Token(self._pick(self._random.choices((small, middle, large), (7, 3, 1))[0]))

    def _bytes(self):
        return Token(
            self._pick(("0", "1", "450", "1e3", "5000.0", "-0", "1500000", "1e15", "999999999999999"))
        )

    def _traffic(self):
        data = {
            "method": self._pick(("GET", "POST", "", "get")),
            "endpoint": self._pick(("/free", "/v1/{id}", "/ü?q='", "", "/" + "e" * 1000)),
            "status": Token(self._pick(("200", "-1", "404"))),
            "request_bytes": self._bytes(),
            "response_bytes": self._bytes(),
        }
        if self._chance(0.3):
            data[self._pick(tuple(data))] = NULL
        if self._chance(0.1):
            data["operation"] = self._pick(OPERATIONS)
        if self._chance(0.1):
            data["units"] = Token("-1")  # a member of another type: text that nobody reads
        return data

    def _compute(self):
        data = {"operation": self._pick(OPERATIONS)}
        if data["operation"] == "dear":
            data["units"] = Token(self._pick(("1", "1", "0.999999", "1.000001")))
        elif data["operation"] == "heavy":
            data["units"] = Token(self._pick(("1e9", "1000000000.000001", "0.000001")))
        elif self._chance(0.8):
            data["units"] = self._quantity()
        return data

    def _storage(self):
        sizes = ("0", "1", "-1", "-3", "5", "1000000", "-2.5e6", "1e15", "-1e15", "-999999999999999")
        data = {"delta_bytes": Token(self._pick(sizes)), "object": self._pick(("", "bucket/a b", "é" * 1024))}
        if self._chance(0.5):
            data["operation"] = self._pick(("negative", "object.put", "free"))
        if data.get("operation") == "negative":
            data["delta_bytes"] = Token(self._pick(("1000000000", "-1000000000", "-1000000001", "-7", "1e9")))
        return data

    def _webhook(self):
        identity = self._random.randrange(self._number * 2)
        body = {
            "object": {"id": f"wh_{identity}"},
            "a/b": self._pick(("x", "y", NULL)),
            "amount": Token("1.50"),
        }
        data = {
            "operation": self._pick(("hook.keyed", "hook")),
            "provider": self._pick(("stripe", "", "gît")),
        }
        data["event"] = self._pick((body, body, body, {}, "text", [body], NULL))
        if self._chance(0.5):
            data["verified"] = self._pick((True, False))
        return data
