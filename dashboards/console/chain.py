"""The chain of one event: event, row, price, rollup, report, correction."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from billing.periods import hour_start
from dashboards.console.desk import Desk, Ledger
from dashboards.console.markup import Child, Markup, link, tag, together
from dashboards.console.parts import Column, card, empty, facts, mark, money, table
from dashboards.console.prices import price_of
from dashboards.console.reports import kind_of, report_facts
from dashboards.console.services import Told, Viewer
from dashboards.console.spend import DAY_S, seconds_of
from dashboards.console.text import Zone, aware, context_word, grouped, iso
from pipeline.catalog import Catalog
from pipeline.event import EventType
from queries.console_keys import key_hashes

REJECTS_DAYS = 31
REJECTS_LOOKED_AT = 20


@dataclass(frozen=True, slots=True)
class EventChain:
    """What is known of a key; without rows it is not in the ledger, and rejects that name it may say why."""

    tenant: str
    key: str
    rows: Sequence[Mapping[str, Any]] = ()
    """The event, then the correction that voids it."""
    rollups: Sequence[Sequence[Mapping[str, Any]]] = ()
    """For each row, the lines of the rollup that hold it."""
    told: Sequence[Told] | None = None
    rejects: Sequence[Mapping[str, Any]] = ()
    catalog: Catalog | None = None


async def read_chain(desk: Desk, viewer: Viewer, tenant: str, key: str) -> EventChain:
    """Read all that is known of a tenant's key."""

    def read(ledger: Ledger) -> EventChain:
        hashes = key_hashes(ledger.client, tenant, key)
        given = {"key_hash": hashes.key, "void_hash": hashes.void} if hashes else {}
        rows = ledger.rows("console_key", tenant=tenant, key=key, **given) if hashes else []
        rejects = _rejects(ledger, viewer, tenant, key, desk.now_s)
        lines = [
            ledger.rows(
                "console_rollup",
                tenant=tenant,
                at=iso(row["occurred_at"]),
                operation=row["operation"],
                settlement=row["settlement"],
            )
            for row in rows
        ]
        return EventChain(tenant, key, rows, lines, None, rejects)

    found = await desk.ask(read)
    reader = desk.services.stripe
    hours = sorted(
        {hour_start(seconds_of(row["occurred_at"])) for row in found.rows if row["settlement"] == "metered"}
    )
    told = await desk.work(lambda: reader.told(tenant, hours)) if reader and hours else () if reader else None
    return EventChain(tenant, key, found.rows, found.rollups, told, found.rejects, await desk.catalog())


def _rejects(ledger: Ledger, viewer: Viewer, tenant: str, key: str, now_s: int) -> list[dict[str, Any]]:
    """Find rejects whose bytes hold the key and that are of this tenant; a tenant never sees another's bytes."""
    between = {"from_": iso(now_s - REJECTS_DAYS * DAY_S), "to": iso(now_s + DAY_S)}
    text = json.dumps(key, ensure_ascii=False)[1:-1]
    rows = ledger.rows("console_rejects", **between, search=text, limit=REJECTS_LOOKED_AT)
    return [
        row
        for row in rows
        if tenant_of(row["shown"]) == tenant or (viewer.is_operator and tenant_of(row["shown"]) is None)
    ]


def tenant_of(raw: str) -> str | None:
    """Say whose the bytes of a reject are, read as the contract reads them; None where they do not say."""
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    found = value.get("tenant") if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


def show_missing(chain: EventChain, zone: Zone) -> Markup:
    """Say why a key is not in the ledger, where that is known."""
    if not chain.rejects:
        advice = together(
            f"Neither the ledger nor the rejects of {REJECTS_DAYS} days have it. Look whether the input was read: ",
            link("/", "health and lag"),
            ", and whether the tenant is the right one.",
        )
        return card(f"{chain.key}: not found", empty("There is no such event.", advice))
    return card(f"{chain.key}: it was refused", _refusals(chain, zone))


def _refusals(chain: EventChain, zone: Zone) -> Markup:
    shown = [
        tag(
            "li",
            tag("h3", "Refused ", mark(row["reason"], "bad")),
            tag("p", row["detail"]),
            facts(
                [
                    ("When", zone.stamp(row["rejected_at"])),
                    ("Where", f"{row['topic']}, partition {row['partition']}, place {row['offset']}"),
                ]
            ),
            tag("pre", row["shown"][:4000], class_="raw", tabindex="0"),
        )
        for row in chain.rejects
    ]
    return tag("ol", shown, class_="chain")


def show_chain(chain: EventChain, zone: Zone, catalog: Catalog | None) -> Markup:
    """Show the chain from the event to the report."""
    event = next((row for row in chain.rows if not row["voids"]), None)
    corrections = [(row, lines) for row, lines in zip(chain.rows, chain.rollups, strict=True) if row["voids"]]
    steps: list[Markup] = []
    if event is not None:
        steps += [
            _event(chain, event, zone),
            _row(event, zone),
            _price(event, catalog),
            _rollup(chain, chain.rollups[0], zone),
        ]
        steps.append(_reports(chain, event, zone))
    steps += [_correction(chain, row, lines, zone) for row, lines in corrections]
    if event is not None and not corrections:
        steps.append(
            tag(
                "li",
                tag("h3", "Correction"),
                tag("p", "None: the amount stands.", class_="note"),
                class_="none",
            )
        )
    if chain.rejects:
        steps.append(tag("li", tag("h3", "Refused under the same key"), _refusals(chain, zone)))
    return tag("ol", steps, class_="chain")


def _event(chain: EventChain, row: Mapping[str, Any], zone: Zone) -> Markup:
    who = link("/events", row["principal"], tenant=chain.tenant, principal=row["principal"], range="month")
    pairs: list[tuple[str, Child]] = [
        ("Tenant", link("/tenant", chain.tenant, tenant=chain.tenant)),
        ("Principal", who),
        ("Occurred", zone.stamp(row["occurred_at"])),
        ("Type", row["type"]),
        (
            "Operation",
            link("/events", row["operation"], tenant=chain.tenant, operation=row["operation"], range="month")
            if row["operation"]
            else None,
        ),
        ("Action", row["action"]),
        ("Context", context_word(row)),
        ("Set off by", row["trigger"]),
        ("Source", row["source"]),
        ("Id there", tag("code", row["event_id"])),
    ]
    return tag("li", tag("h3", "Event"), facts(pairs))


def _row(row: Mapping[str, Any], zone: Zone) -> Markup:
    used = [(f"Used: {name}", str(value)) for name, value in sorted(row["usage"].items())]
    counts = [
        (name, grouped(row[column]) if row[column] else None)
        for name, column in (
            ("Request bytes", "request_bytes"),
            ("Response bytes", "response_bytes"),
            ("Stored bytes", "delta_bytes"),
        )
    ]
    units = f"{row['base_units']:f}".rstrip("0").rstrip(".") if row["base_units"] else None
    pairs: list[tuple[str, Child]] = [
        ("Cost", money(row["pico_usd"])),
        ("Settlement", row["settlement"]),
        ("Billing period", row["billing_period"]),
        ("Durable", zone.stamp(row["ingested_at"])),
        ("Read from", f"{row['topic']}, partition {row['partition']}, place {grouped(row['offset'])}"),
        ("Units", units),
        *counts,
        *used,
    ]
    return tag("li", tag("h3", "Row of the ledger"), facts(pairs))


def _price(row: Mapping[str, Any], catalog: Catalog | None) -> Markup:
    version = row["catalog_version"]
    kind = "warn" if row["pricing"] == "unpriced" else ""
    head = tag("h3", "Price ", mark(row["pricing"], kind))
    parts = list(zip(row["breakdown_sources"], row["breakdown_pico_usd"], strict=True))
    said: Child = tag(
        "p", "Catalog version ", link("/catalog", version, version=version) if version else "none"
    )
    if not parts:
        return tag("li", head, said)
    rules = _rules(row, catalog)
    lines = [
        [source, rules.get(source, "as the catalog of that time said"), money(pico)] for source, pico in parts
    ]
    return tag(
        "li",
        head,
        said,
        table(
            "What each component costs",
            [Column("Cost source"), Column("Price"), Column("Cost", "num")],
            lines,
        ),
    )


def _rules(row: Mapping[str, Any], catalog: Catalog | None) -> dict[str, str]:
    """Say in words how the version that rated a row prices it, where the catalog at hand has that version."""
    numbers = {one.version: number for number, one in enumerate(catalog.versions)} if catalog else {}
    if catalog is None or row["catalog_version"] not in numbers or row["type"] == "correction":
        return {}
    entry = catalog.entry(numbers[row["catalog_version"]], EventType[row["type"].upper()], row["operation"])

    return {one.source: price_of(one) for one in entry.components}


def _rollup(chain: EventChain, lines: Sequence[Mapping[str, Any]], zone: Zone) -> Markup:
    if not lines:
        return tag(
            "li",
            tag("h3", "Rollup"),
            tag("p", "The quarter hour is not there: ask millrace query conservation."),
            class_="none",
        )
    shown = [
        [
            zone.stamp(r["quarter"], seconds=False),
            r["operation"] or "(none)",
            r["settlement"],
            grouped(r["events"]),
            money(r["pico_usd"]),
        ]
        for r in lines
    ]
    columns = [
        Column("Quarter hour from", "when"),
        Column("Operation"),
        Column("Settlement"),
        Column("Events", "num"),
        Column("Spend", "num"),
    ]
    more = link("/tenant", "In the tenant's day and month", tenant=chain.tenant)
    return tag("li", tag("h3", "Rollup"), table("The quarter hour that holds it", columns, shown), more)


def _reports(chain: EventChain, row: Mapping[str, Any], zone: Zone) -> Markup:
    if row["settlement"] != "metered":
        why = f"Nothing: usage that is settled as {row['settlement']} is not for Stripe."
        return tag("li", tag("h3", "Stripe"), tag("p", why, class_="note"), class_="none")
    if chain.told is None:
        return tag(
            "li", tag("h3", "Stripe"), tag("p", "This server has no outbox.", class_="note"), class_="none"
        )
    if not chain.told:
        why = "Nothing was planned for its hour yet, or less than a unit, which is carried."
        return tag("li", tag("h3", "Stripe"), tag("p", why, class_="note"), class_="none")
    shown = [
        together(tag("p", mark(one.state, kind_of(one.state))), facts(report_facts(one, zone)))
        for one in chain.told
    ]
    return tag("li", tag("h3", "Reported to Stripe, with all of its hour"), shown)


def _correction(
    chain: EventChain, row: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], zone: Zone
) -> Markup:
    pairs: list[tuple[str, Child]] = [
        ("Takes back", money(row["pico_usd"])),
        ("Voids", link("/explain", tag("code", row["voids"]), tenant=chain.tenant, key=row["voids"])),
        ("Counted at", zone.stamp(row["occurred_at"])),
        ("Durable", zone.stamp(row["ingested_at"])),
        ("Why", _reason(row["attributes"])),
        ("Its own key", tag("code", row["idempotency_key"])),
        ("Billing period", row["billing_period"]),
        (
            "In the quarter hour from",
            zone.stamp(aware(lines[0]["quarter"]), seconds=False) if lines else None,
        ),
    ]
    return tag("li", tag("h3", "Correction ", mark("voids the event", "warn")), facts(pairs))


def _reason(attributes: str) -> str:
    try:
        return str(json.loads(attributes).get("reason", ""))
    except ValueError:
        return ""
