"""Totals of a billing period, from the ledger and from the sheets of an export, held to one another."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pipeline.errors import LedgerError
from queries.named import Client, named_queries, run
from queries.sheets import SETTLEMENTS, Sheet

COUNTS = ("events", "corrections", "unpriced", "request_bytes", "response_bytes", "delta_bytes")
UNITS = ("base_units", "weighted_units")
MICRO, PICO = 10**6, 10**12


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums by name as integers; a sheet has those that it has columns for."""

    pico: Mapping[str, int]
    """Pico-USD: `cost`, and the part of each settlement by its name."""
    counts: Mapping[str, int]
    units: Mapping[str, int]
    """Millionths."""

    def shown(self) -> dict[str, Any]:
        """Give the totals for a manifest: money as the pair and as text, units as text, all exact."""
        return {
            **{name: money(pico) for name, pico in self.pico.items()},
            **self.counts,
            **{name: exact(value, MICRO) for name, value in self.units.items()},
        }


def of_ledger(client: Client, period: str, tenant: str) -> Totals:
    """Sum the ledger's rows of a billing period, of one tenant where one is given."""
    settled = run(
        client, named_queries()["month_by_settlement"], {"period": period, "tenant": tenant}
    ).dicts()
    pico = dict.fromkeys(SETTLEMENTS, 0) | {line["settlement"]: _pico(line) for line in settled}
    return Totals(
        {"cost": sum(pico.values())} | pico,
        {name: sum(line[name] for line in settled) for name in COUNTS},
        {name: int(sum(Fraction(line[name]) for line in settled) * MICRO) for name in UNITS},
    )


def of_sheet(sheet: Sheet, sums: Mapping[str, int]) -> Totals:
    """Take the sums of what a sheet's files hold; its USD column must say what its pair of columns says."""
    prefixes = {settlement: settlement.replace("-", "_") + "_" for settlement in SETTLEMENTS}
    pico = {
        part: _pico(sums, prefix)
        for part, prefix in {"cost": "", **prefixes}.items()
        if f"{prefix}cost_micro_usd" in sums
    }
    if sums["cost_usd"] != pico["cost"]:
        raise _difference(sheet.name, "cost_usd", sums["cost_usd"], pico["cost"])
    if not sheet.counts_rows_once:
        return Totals(pico, {}, {})
    return Totals(pico, {name: sums[name] for name in COUNTS}, {name: sums[name] for name in UNITS})


def hold(sheet: str, found: Totals, wanted: Totals) -> None:
    """Hold a sheet to the ledger in all that it has; raises `LedgerError` that names the first difference."""
    for ours, theirs, unit in (
        (found.pico, wanted.pico, "pico-USD"),
        (found.counts, wanted.counts, ""),
        (found.units, wanted.units, "millionths"),
    ):
        for name, value in ours.items():
            if value != theirs[name]:
                raise _difference(sheet, name, value, theirs[name], unit)


def money(pico: int) -> dict[str, Any]:
    """Give an amount as the pair of integers and as text."""
    micro, residual = divmod(pico, MICRO)
    return {"cost_micro_usd": micro, "residual_pico_usd": residual, "cost_usd": exact(pico, PICO)}


def exact(value: int, scale: int) -> str:
    """Write value / scale as a decimal number, scale a power of ten; no digit is lost."""
    whole, rest = divmod(abs(value), scale)
    digits = f"{rest:0{len(str(scale)) - 1}}".rstrip("0")
    return f"{'-' if value < 0 else ''}{whole}{'.' if digits else ''}{digits}"


def _pico(sums: Mapping[str, Any], prefix: str = "") -> int:
    return int(sums[f"{prefix}cost_micro_usd"]) * MICRO + int(sums[f"{prefix}residual_pico_usd"])


def _difference(sheet: str, name: str, found: int, wanted: int, unit: str = "") -> LedgerError:
    return LedgerError(
        f"the sheet {sheet} does not add up: {name} is {found} {unit}".rstrip() + f", but the ledger's rows"
        f" say {wanted}; nothing was written: run the export again once nothing else writes to the ledger,"
        " and if it stays so, ask `millrace query conservation`"
    )
