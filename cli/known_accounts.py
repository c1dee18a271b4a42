"""Whom a command knows as tenants: those of an accounts file, or those of the control store."""

from pathlib import Path

from billing import accounts as stored
from billing.store import open_store
from pipeline.accounts import Accounts, load_accounts
from pipeline.errors import UsageError


def known_accounts(file: Path | None, control: str | None) -> Accounts:
    """Load the accounts of a file or of a control store; none named: there are none.

    Raises `UsageError` where both are named: one of them would be ignored.
    """
    if file is not None and control is not None:
        msg = "accounts come from a file or from the control store: give --accounts or --control, not both"
        raise UsageError(msg)
    if control is None:
        return Accounts() if file is None else load_accounts(file)
    store = open_store(control)
    try:
        return stored.accounts(store)
    finally:
        store.close()
