"""Errors that a user can mend.

MillraceError            the run cannot go on: one sentence, exit code 1
├── UsageError           wrong use of the program: exit code 2
│   └── ConfigError      a catalog, accounts, mapping or settings file is wrong (names file and line)
├── LedgerError          the ledger said no
│   ├── LedgerBusyError  another process holds the embedded ledger
│   ├── LedgerFencedError  a newer run has taken over: this one may write no more
│   └── LedgerAwayError  the ledger does not answer; a retry may help
├── SourceAwayError      the broker does not answer
├── LogAwayError         the event log cannot take events now: they must be sent again later
├── StoreError           the control store (SQLite, PostgreSQL) cannot be used
├── ProviderError        the billing provider refuses to talk: a key, an account, a setting
└── RejectBudgetError    more rejects than the budget allows

A message says what went wrong, where, what was expected, what was got and what to do, in one sentence.
"""


class MillraceError(Exception):
    """The run cannot go on; the message is one sentence for the user."""


class UsageError(MillraceError):
    """The program was used wrongly."""


class ConfigError(UsageError):
    """A file of settings, prices, accounts or a mapping is wrong."""


class LedgerError(MillraceError):
    """The ledger refused or failed."""


class LedgerBusyError(LedgerError):
    """Another process holds the embedded ledger."""


class LedgerFencedError(LedgerError):
    """A newer run has taken over."""


class LedgerAwayError(LedgerError):
    """The ledger does not answer; trying again may help."""


class RejectBudgetError(MillraceError):
    """More rejects than the budget allows."""


class SourceAwayError(MillraceError):
    """The broker does not answer; trying again may help."""


class LogAwayError(MillraceError):
    """The event log cannot take events now; nothing was promised, the sender tries again."""

    def __init__(self, sentence: str, retry_after_s: int = 1) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class StoreError(MillraceError):
    """The control store cannot be used."""


class ProviderError(MillraceError):
    """The billing provider refuses to talk to us as we are set up."""
