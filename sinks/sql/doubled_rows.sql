-- The rows of keys that stand more than once, of one range of hashes, so that what is held at a time is bounded.
-- The first row of a key is the one that was accepted first.
SELECT
    key_hash, principal, operation, action, context_type, context_name, context_display, occurred_at,
    request_bytes, response_bytes, delta_bytes, base_units, weighted_units, usage, cost_micro_usd,
    residual_pico_usd, breakdown_sources, breakdown_pico_usd, pricing, settlement, reconciled, catalog_version,
    billing_period, tenant, idempotency_key, voids, topic, partition, offset, run, fingerprint
FROM ledger
WHERE bitShiftRight(key_hash, 112) BETWEEN {first:UInt32} AND {last:UInt32}
    AND key_hash IN (
        SELECT key_hash
        FROM ledger
        WHERE bitShiftRight(key_hash, 112) BETWEEN {first:UInt32} AND {last:UInt32}
        GROUP BY key_hash
        HAVING count() > 1
    )
ORDER BY key_hash, run, ingested_at, topic, partition, offset
