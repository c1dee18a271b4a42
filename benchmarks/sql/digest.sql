-- All that an event and its price say, of all rows, whatever their order: equal digests are equal ledgers.
SELECT
    count() AS rows,
    toInt128(sum(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico_usd,
    lower(hex(sum(sipHash64(
        tenant, principal, idempotency_key, event_id, source, type, operation, action, context_type, context_name,
        context_display, trigger, occurred_at, method, endpoint, status, object, provider, verified, attributes,
        request_bytes, response_bytes, delta_bytes, base_units, weighted_units,
        arraySort(arrayZip(mapKeys(usage), mapValues(usage))), cost_micro_usd, residual_pico_usd,
        breakdown_sources, breakdown_pico_usd, pricing, settlement, reconciled, catalog_version, billing_period,
        voids, topic
    )))) AS digest
FROM ledger
