-- Corrections of events, but for the reversals of reversals: all of them, or those whose hash falls into the sample.
-- The columns of doubled_rows.
SELECT
    key_hash, principal, operation, action, context_type, context_name, context_display, occurred_at,
    request_bytes, response_bytes, delta_bytes, base_units, weighted_units, usage, cost_micro_usd,
    residual_pico_usd, breakdown_sources, breakdown_pico_usd, pricing, settlement, reconciled, catalog_version,
    billing_period, tenant, idempotency_key, voids, topic, partition, offset, run, fingerprint
FROM ledger
WHERE voids != '' AND key_hash % {one_of:UInt64} = 0
    AND NOT (topic = '@reconcile' AND JSONExtractString(attributes, 'kind') = 'voids')
