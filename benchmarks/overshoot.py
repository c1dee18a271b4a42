"""How long a cap stays open after it is spent, where services only report.

Measured from the 204 of the event that went over the limit to the first 402 of an authorization, beside a steady load
of events of others.

What this says: at R events a second and $X for each, spend goes over a cap by at most R x X x that time. Who must
not overshoot at all reserves.
"""

import threading
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.ingest import PATH, Load, send_all
from benchmarks.service import Asker, Service, quantiles
from pipeline.errors import MillraceError

AUTHORIZE = "/api/billing/authorize"
LIMIT_USD = "0.0005"
"""Of each tenant that is tried: one event, at $0.001, goes over it."""
_REFUSED_S = 60
_POLL_S = 0.002
_TAKEN, _ALLOWED, _OVER = 204, 200, 402


@dataclass(frozen=True, slots=True)
class Trial:
    """A tenant with a limit, and its key."""

    tenant: str
    key: str


def accounts_of(tenants: list[str]) -> str:
    """The accounts file of the tenants that are tried."""
    return "".join(f'[tenants."{name}"]\nspendLimit.dailySpendUsd = "{LIMIT_USD}"\n' for name in tenants)


def measure_overshoot(service: Service, load_key: str, trials: list[Trial], rate: int) -> dict[str, Any]:
    """Try one tenant after the other while others send `rate` events a second; 0: nobody does."""
    done = threading.Event()
    sender = threading.Thread(target=_keep_sending, args=(service, load_key, rate, done), daemon=True)
    if rate:
        sender.start()
    try:
        found = [_try(service, trial) for trial in trials]
    finally:
        done.set()
        if rate:
            sender.join()
    return {"events_a_second": rate, "trials": len(found), "produced_to_refused": quantiles(found)}


def _keep_sending(service: Service, key: str, rate: int, done: threading.Event) -> None:
    """Batches of a hundredth of a second's events, or single ones."""
    first = 50_000_000 + rate
    while not done.is_set():
        send_all(service.port, key, Load(max(rate // 100, 1), 2, 5, rate), first)
        first += 100_000


def _try(service: Service, trial: Trial) -> float:
    asker = Asker(service.connect(), trial.key)
    ask = {"estimatedMicro": "1"}
    status = asker.post(AUTHORIZE, ask)
    if status != _ALLOWED:
        raise MillraceError(f"before anything was spent, an authorization was answered {status}")
    event = {
        "specversion": "1.0", "id": f"over-{trial.tenant}", "source": "overshoot", "type": "compute",
        "data": {"operation": "ask"},
    }  # fmt: skip
    status = asker.post(PATH, event)
    if status != _TAKEN:
        raise MillraceError(f"the event that goes over the limit was answered {status}")
    begun = time.monotonic()
    while (status := asker.post(AUTHORIZE, ask)) == _ALLOWED:
        if time.monotonic() - begun > _REFUSED_S:
            raise MillraceError(f"{_REFUSED_S} s after the limit was spent, spending is still allowed")
        time.sleep(_POLL_S)
    if status != _OVER:
        raise MillraceError(f"an authorization was answered {status}")
    return time.monotonic() - begun
