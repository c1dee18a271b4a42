"""Named SQL over the ledger, and the finance exports."""
