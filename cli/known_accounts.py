"""Whom a command knows as tenants: those of an accounts file, those of the control store, or both."""

from pathlib import Path

from billing import accounts as stored
from billing.store import open_store
from pipeline.accounts import Account, Accounts, load_accounts
from pipeline.errors import StoreError


def known_accounts(file: Path | None, control: str | None, *, may_be_away: bool = False) -> Accounts:
    """Load the accounts of a control store, of a file, or of both; none named: there are none.

    With both, a tenant that the file names is as the file says, and so are defaults that it has. Raises `StoreError`
    where the control store cannot be used; one that `may_be_away` has then no accounts to give.
    """
    given = Accounts() if file is None else load_accounts(file)
    if control is None:
        return given
    try:
        kept = _stored(control)
    except StoreError:
        if not may_be_away:
            raise
        return given
    return both(given, kept)


def both(given: Accounts, kept: Accounts) -> Accounts:
    """Put the accounts of a file over those of a control store."""
    defaults = kept.defaults if given.defaults == Account("") else given.defaults
    return Accounts({**kept.tenants, **given.tenants}, defaults)


def _stored(control: str) -> Accounts:
    store = open_store(control)
    try:
        return stored.accounts(store)
    finally:
        store.close()
