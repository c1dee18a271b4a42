"""Where results go: the ledger in ClickHouse, decisions, rejects, Stripe."""
