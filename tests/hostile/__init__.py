"""Seeded hostile input: everything that a client, a bad disk or an attacker may put on a line.

The same seed gives the same bytes. What must become of the lines is for the dumb model (`model`) to say;
nothing here knows it, so a generator that errs makes harder input, not a wrong expectation.
"""

from .settings import TENANTS, hostile_accounts, hostile_catalog, hostile_catalogs, hostile_locks
from .stream import hostile_stream

__all__ = [
    "TENANTS", "hostile_accounts", "hostile_catalog", "hostile_catalogs", "hostile_locks", "hostile_stream",
]  # fmt: skip
