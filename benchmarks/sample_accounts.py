"""The accounts of the sample: zones of all kinds, limits near what each tenant spends, so that some cross."""

import numpy as np

_ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe",
    "America/St_Johns", "Asia/Kolkata", "America/Sao_Paulo", "Africa/Cairo", "Pacific/Kiritimati",
    "America/Los_Angeles", "Asia/Tokyo",
)  # fmt: skip
_FIRST = ("Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Ginkgo", "Hazel", "Ívar", "Kōwhai", "Larch")
_SECOND = ("Analytics", "Games", "Health", "Labs", "Logistics", "Media", "Robotics", "Software", "Studio")
_THRESHOLDS = ("[50, 80, 100]", "[80, 100]", "[100]", "[25, 50, 75, 90, 100]")
_LETTERS = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BILLED = (True,) * 19 + (False,)
_LIMITED = (True, True, True, False, False)
_DAILY_PERCENT = (95, 140, 220, 350, 800)
_MONTHLY_PERCENT = (70, 95, 110, 150, 250, 400)
_PICO = 10**12


def accounts_toml(tenants: list[str], spent_pico_usd: list[int], days: int) -> str:
    """Write the accounts file; `spent_pico_usd` is what counts towards each tenant's limits in all `days`."""
    parts = ["# The tenants of the sample, the busiest first.\n"]
    for rank, (tenant, spent) in enumerate(zip(tenants, spent_pico_usd, strict=True)):
        lines = [
            f'[tenants."{tenant}"]',
            f'display_name = "{_FIRST[rank % len(_FIRST)]} {_SECOND[rank * 7 % len(_SECOND)]}"',
            f'time_zone = "{_ZONES[rank % len(_ZONES)]}"',
        ]
        if _BILLED[rank % len(_BILLED)]:
            lines.append(f'stripe_customer = "cus_{_customer(rank)}"')
        if _LIMITED[rank % len(_LIMITED)]:
            lines += _limits(rank, spent, days)
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _limits(rank: int, spent: int, days: int) -> list[str]:
    daily = spent * _DAILY_PERCENT[rank % len(_DAILY_PERCENT)] // 100 // days
    monthly = spent * _MONTHLY_PERCENT[rank % len(_MONTHLY_PERCENT)] // 100 * min(30, days) // days
    return [
        f"thresholds_percent = {_THRESHOLDS[rank % len(_THRESHOLDS)]}",
        f'spendLimit.dailySpendUsd = "{_round_usd(daily)}"',
        f'spendLimit.monthlySpendUsd = "{_round_usd(monthly)}"',
    ]


def _round_usd(pico: int) -> str:
    """Dollars to two digits that count, at least a micro-USD."""
    micro = max(pico * 10**6 // _PICO, 1)
    step = 10 ** max(len(str(micro)) - 2, 0)
    micro = -(-micro // step) * step
    whole, rest = divmod(micro, 10**6)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")


def _customer(rank: int) -> str:
    random = np.random.default_rng([0x6375735F, rank])
    return "".join(_LETTERS[n] for n in random.integers(len(_LETTERS), size=14).tolist())
