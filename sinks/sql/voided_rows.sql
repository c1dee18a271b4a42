-- The rows that corrections void, by the hash of their key; a correction itself cannot be voided. Of a key that
-- stands twice it is the first row: the other one is taken back by `millrace reconcile`.
SELECT
    key_hash, principal, operation, action, context_type, context_name, context_display, occurred_at,
    request_bytes, response_bytes, delta_bytes, base_units, weighted_units, usage, cost_micro_usd,
    residual_pico_usd, breakdown_sources, breakdown_pico_usd, pricing, settlement, reconciled, catalog_version,
    billing_period
FROM ledger
WHERE key_hash IN {hashes:Array(UInt128)} AND voids = ''
ORDER BY key_hash, run, ingested_at, topic, partition, offset
LIMIT 1 BY key_hash
