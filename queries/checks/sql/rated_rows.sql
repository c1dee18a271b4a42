-- Rows as they were rated, without corrections: all of them, or those whose hash falls into the sample.
SELECT
    tenant, idempotency_key, type, operation, request_bytes, response_bytes, delta_bytes, base_units, weighted_units,
    usage, cost_micro_usd, residual_pico_usd, breakdown_sources, breakdown_pico_usd, pricing, settlement, reconciled,
    catalog_version
FROM ledger
WHERE voids = '' AND key_hash % {one_of:UInt64} = 0
