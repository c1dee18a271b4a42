"""The stream itself: good events, their retries, conflicts and corrections, faults and garbage."""

from .events import OPERATIONS, PRINCIPALS, Events
from .faults import FAULTS
from .garbage import GARBAGE
from .settings import TENANTS
from .text import NULL, Token, json_text, respelled

_ATTRIBUTES = {"type": ("traffic", "compute", "webhook"), "subject": PRINCIPALS, "id": ("other",)}
_TEXTS = ("operation", "action", "method", "endpoint")
_QUANTITIES = ("units", "delta_bytes", "request_bytes", "response_bytes")


def hostile_stream(seed: int, n: int, arrival_ms: int | None = None) -> list[bytes]:
    """`n` lines without their LF; with `arrival_ms` also events without a time and times around it."""
    return _Stream(seed, arrival_ms).lines(n)


class _Stream(Events):
    def __init__(self, seed, arrival_ms):
        super().__init__(seed, arrival_ms)
        self._sent = []
        self._promised = []

    def lines(self, n):
        makers = (
            (self._good, 34),
            (self._duplicate, 14),
            (self._conflict, 8),
            (self._correction, 12),
            (self._promise, 4),
            (self._faulty, 18),
            (self._garbage, 10),
        )
        chosen = self._random.choices([m for m, _ in makers], [weight for _, weight in makers], k=n)
        return [make().replace(b"\n", b" ") for make in chosen]

    def _good(self):
        is_due = self._promised and self._chance(0.3)
        event = self._promised.pop() if is_due else self._event()
        self._sent.append(event)
        return self._render(event)

    # Events that stand in a relation to one that was sent.

    def _duplicate(self):
        """The same event as a client sends it again: other id, time, place, spelling, order of members."""
        if not self._sent:
            return self._good()
        event = dict(self._pick(self._sent[-400:]))
        data = dict(event["data"])
        if event.get("idempotencykey", NULL) is not NULL:
            event["id"] = f"again-{self._random.randrange(10**9)}"
            event["source"] = self._pick((event["source"], "/svc/elsewhere"))
        if self._chance(0.7):
            event["time"] = self._time()
        for name in ("note", "context", "trigger"):
            if self._chance(0.3):
                data.pop(name, None)
        for name, value in data.items():
            if isinstance(value, Token):
                data[name] = respelled(value)
        if isinstance(data.get("usage"), dict):
            data["usage"] = dict(reversed({**data["usage"], "absent": Token("0.0")}.items()))
        if self._chance(0.3):
            data["reason"] = NULL
        event["data"] = self._shuffled(data)
        return self._render(self._shuffled(event))

    def _shuffled(self, members):
        names = list(members)
        self._random.shuffle(names)
        return {name: members[name] for name in names}

    def _conflict(self):
        """An event with a key that was sent, and one member changed: billable, or (as a control) not."""
        if not self._sent:
            return self._good()
        event = dict(self._pick(self._sent[-400:]))
        name = self._pick((*_ATTRIBUTES, *_TEXTS, *_QUANTITIES, "usage", "context", "verified"))
        if name in _ATTRIBUTES:
            event[name] = self._pick(_ATTRIBUTES[name])
        else:
            event["data"] = {**event["data"], name: self._other(name)}
        return self._render(event)

    def _other(self, name):
        if name in _TEXTS:
            return self._pick((*OPERATIONS, "GET", ""))
        if name in _QUANTITIES:
            return self._bytes()
        return {"usage": self._usage(), "context": self._context(), "verified": True}[name]

    def _correction(self):
        """A correction of something sent lately (also of corrections, also again), or of nothing at all."""
        self._number += 1
        target = self._pick(self._sent[-200:]) if self._sent and self._chance(0.9) else self._event()
        return self._void(target)

    def _void(self, target):
        voids = target.get("idempotencykey", NULL)
        if voids is NULL:
            voids = f"{target['source']} {target['id']}"
        event = {
            "specversion": "1.0",
            "id": f"void-{self._number}",
            "source": "/svc/billing",
            "type": "correction",
            "tenant": target["tenant"] if self._chance(0.9) else self._pick(TENANTS),
            "subject": self._pick(PRINCIPALS),
            "time": self._time(),
            "idempotencykey": self._pick((f"void-key-{self._number}", voids, self._key())),
            "data": {"voids": voids, "reason": self._pick(("", "mistake", "'; --"))},
        }
        if self._chance(0.2):
            self._sent.append(event)
        if self._chance(0.1):
            event["data"]["operation"] = self._pick(OPERATIONS)
            event["data"]["usage"] = self._usage()
        return self._render(event)

    def _promise(self):
        """A correction that comes before the event that it voids."""
        event = self._event()
        self._promised.append(event)
        return self._void(event)

    # Events with one to three faults; the first reason in the contract's order must win.

    def _faulty(self):
        event = self._event()
        if event.get("idempotencykey") is NULL or self._chance(0.5):
            event.pop("idempotencykey", None)
        for fault in self._random.sample(FAULTS, self._random.choices((1, 2, 3), (6, 3, 1))[0]):
            event["data"] = (
                dict(event["data"]) if isinstance(event.get("data"), dict) else event.get("data", NULL)
            )
            fault(self._random, event)
        return self._render(event)

    def _garbage(self):
        good = self._render(self._event())
        make = self._pick(GARBAGE)
        return make(self._random, good)

    def _render(self, event):
        text = json_text(event, self._random)
        if self._chance(0.05):
            text = (
                '{"tenant":"somebody else","data":5,"id":"",' + text.lstrip()[1:]
            )  # of duplicates the last counts
        if self._chance(0.03):
            text = "\t " + text + " \r"
        return text.encode("utf-8")
