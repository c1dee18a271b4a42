"""Small cases for the model: lines of one event, and what becomes of them."""

import json
import tomllib

from .ledger import Model, Settings

ARRIVAL_MS = 1_793_600_000_000  # 2026-11-02T06:13:20Z
CATALOG = """
version = "v1"
[kinds.traffic]
components = [{ source = "egress", basis = "per-mb", micro_usd = "90", quantity = "bytes" }]
[kinds.compute]
components = [{ source = "cpu", basis = "per-unit", micro_usd = "1" }]
weight = 5
settlement = { method = "credit" }
[operations.ask]
components = [
  { source = "compute", basis = "per-call", micro_usd = "50" },
  { source = "openai", basis = "per-1k-tokens", micro_usd = "2000" },
]
weight = 10
settlement = { method = "credit", credits = 10 }
[operations.heavy]
components = []
weight = 1000000
[operations.light]
weight = 2
[operations.gift]
components = []
"""
NONE, PLAIN = object(), object()
ASKED = {"operation": "ask", "units": 3, "usage": {"openai": 7}, "action": "chat"}


def line(kind="compute", data=PLAIN, **attributes):
    """A good event of a kind with some attributes changed; NONE leaves one out."""
    plain = {"compute": {"operation": "ask"}, "storage": {"delta_bytes": 1}, "correction": {"voids": "k"}}
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "/svc",
        "type": kind,
        "tenant": "acme",
        "data": plain.get(kind, {}) if data is PLAIN else data,
        **attributes,
    }
    return json.dumps({name: value for name, value in event.items() if value is not NONE}).encode()


def component(basis="per-call", micro_usd="1", **more):
    return {"source": "s", "basis": basis, "micro_usd": micro_usd, **more}


def model(catalog=CATALOG, accounts=None, **settings):
    if isinstance(catalog, str):
        catalog = tomllib.loads(catalog)
    return Model(catalog, accounts, Settings(**settings))


def outcome(*lines, **settings):
    """What becomes of the last of some lines."""
    judge = model(**settings)
    found = [judge.feed(one, "t", 0, number, ARRIVAL_MS) for number, one in enumerate(lines)][-1]
    return found.reason or found.kind


def row(data, *, kind="compute", catalog=CATALOG, **attributes):
    judge = model(catalog)
    found = judge.feed(line(kind, data, **attributes), arrival_ms=ARRIVAL_MS)
    assert found.kind == "accepted", found.reason
    return judge.rows[0]


def voiding(key="k", **attributes):
    return line("correction", {"voids": key}, **{"id": f"void {key}", **attributes})
