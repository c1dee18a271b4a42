-- All rows with these hashes: the columns of doubled_rows.
SELECT
    key_hash, principal, operation, action, context_type, context_name, context_display, occurred_at,
    request_bytes, response_bytes, delta_bytes, base_units, weighted_units, usage, cost_micro_usd,
    residual_pico_usd, breakdown_sources, breakdown_pico_usd, pricing, settlement, reconciled, catalog_version,
    billing_period, tenant, idempotency_key, voids, topic, partition, offset, run, fingerprint
FROM ledger
WHERE key_hash IN {hashes:Array(UInt128)}
ORDER BY key_hash, run, ingested_at, topic, partition, offset
