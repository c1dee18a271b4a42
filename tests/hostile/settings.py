"""The catalog, its versions, and the accounts that hostile streams are run with."""

import json
import random

TENANTS = (
    "ab",
    "abc",
    'O\'Reilly "& Sons"; DROP TABLE ledger; --',
    "顧客・株式会社 العميل 🧾",
    "t" * 127 + "\\",
)
ZONES = ("Asia/Kathmandu", "America/New_York", "Pacific/Auckland", "America/Santiago", "UTC")

_CATALOG = """\
version = "{version}"
{effective}
[kinds.traffic]
components = [{{ source = "egress", basis = "per-mb", micro_usd = "{egress}", quantity = "bytes" }}]

[kinds.compute]
components = [{{ source = "compute", basis = "per-unit", micro_usd = "0.000001", quantity = "base_units" }}]
weight = 3

[kinds.storage]
components = [{{ source = "disk", basis = "per-mb", micro_usd = "0.5", quantity = "stored_bytes" }}]

[operations.plain]
components = [{{ source = "compute", basis = "per-call", micro_usd = "50" }}]

[operations.weighted]
components = [{{ source = "compute", basis = "per-unit", micro_usd = "{weighted}" }}]
weight = {weight}

[operations.heavy]
components = [{{ source = "compute", basis = "per-call", micro_usd = "0.000001", quantity = "units" }}]
weight = 1000000

[operations.dear]
components = [{{ source = "gold", basis = "per-unit", micro_usd = "9223372036854.775807" }}]

[operations."two dear"]
components = [
  {{ source = "gold", basis = "per-unit", micro_usd = "4611686018427.387904", quantity = "base_units" }},
  {{ source = "gold", basis = "per-unit", micro_usd = "4611686018427.387903", quantity = "usage.tokens" }},
]

[operations.half]
components = [
  {{ source = "tokens", basis = "per-1k-tokens", micro_usd = "0.5" }},
  {{ source = "so'urce \\"2\\"", basis = "per-mb", micro_usd = "0.000001", quantity = "usage.tokens" }},
]

[operations.tokens]
components = [
  {{ source = "tokens", basis = "per-token", micro_usd = "0.3" }},
  {{ source = "compute", basis = "per-call", micro_usd = "7.7", quantity = "calls" }},
]
settlement = {{ method = "credit", credits = 3 }}

[operations.seconds]
components = [{{ source = "κόστος", basis = "per-second", micro_usd = "16.666" }}]

[operations."per request"]
components = [{{ source = "tokens", basis = "per-request", micro_usd = "11.000001" }}]

[operations."per unit"]
components = [{{ source = "tokens", basis = "per-unit", micro_usd = "0.999999" }}]

[operations.free]
components = []

[operations."entry only"]
weight = 7

[operations.credit]
components = [{{ source = "compute", basis = "per-call", micro_usd = "1000" }}]
settlement = {{ method = "credit", credits = 1 }}

[operations."rate limited"]
components = [{{ source = "compute", basis = "per-call", micro_usd = "1000" }}]
settlement = {{ method = "rate-limited" }}

[operations."given away"]
components = [{{ source = "compute", basis = "per-call", micro_usd = "1000" }}]
settlement = {{ method = "free" }}

[operations.negative]
components = [{{ source = "disk", basis = "per-unit", micro_usd = "9223.372036", quantity = "stored_bytes" }}]

[operations."GET /free"]
components = []

[operations."hook.keyed"]
components = [{{ source = "hooks", basis = "per-request", micro_usd = "2" }}]
idempotency_key = "hook/{{$event.body#/object/id}}/{{$event.body#/a~1b}}"
{more}"""


def hostile_catalogs() -> list[str]:
    """The versions of the catalog as TOML texts, oldest first: since ever, from June, from November 2026."""
    first = _CATALOG.format(version="0", effective="", egress="90", weighted="0.1", weight=10, more="")
    second = _CATALOG.format(
        version="2026-06'",
        effective="effective_from = 2026-06-01T00:00:00Z",
        egress="90.000001",
        weighted="0.2",
        weight=999_999,
        more='\n[kinds.webhook]\ncomponents = []\nsettlement = { method = "free" }\n',
    )
    third = _CATALOG.format(
        version="2026-11",
        effective="effective_from = 2026-11-01T05:45:00+05:45",
        egress="0.000001",
        weighted="1",
        weight=1,
        more="",
    )
    return [first, second, third]


def hostile_catalog() -> str:
    """The newest catalog that holds at all times, as one TOML text."""
    return hostile_catalogs()[0]


def hostile_accounts() -> str:
    """Accounts of all tenants but one, as TOML: zones of all kinds, limits that are crossed both ways."""
    limits = (("0.0005", "0.005"), ("10", "100"), ("0", "0"), ("1000000", "9223372"))
    parts = []
    for tenant, zone, (day, month) in zip(TENANTS, ZONES, limits, strict=False):
        parts.append(
            f"[tenants.{_quoted(tenant)}]\n"
            f"display_name = {_quoted(tenant)}\n"
            f'time_zone = "{zone}"\n'
            f'stripe_customer = "cus_{len(parts)}"\n'
            "thresholds_percent = [1, 50, 100]\n"
            f'spendLimit = {{ dailySpendUsd = "{day}", monthlySpendUsd = "{month}" }}\n',
        )
    return "\n".join(parts)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def hostile_locks(seed: int) -> tuple[frozenset[str], dict[str, frozenset[str]]]:
    """Locked periods around the months of the streams: for all tenants, and for single ones."""
    dice = random.Random(seed)
    months = ["2026-02", "2026-03", "2026-04", "2026-09", "2026-10", "2026-11"]
    everyone = frozenset(dice.sample(months, dice.randrange(4)))
    some = dice.sample(TENANTS, dice.randrange(1, 4))
    return everyone, {tenant: frozenset(dice.sample(months, dice.randrange(1, 6))) for tenant in some}
