"""Seeded campaigns: processes, broker and ledger die while events flow, and in the end every total is exact."""
