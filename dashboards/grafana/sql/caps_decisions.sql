-- The newest decisions.
SELECT
    decided_at, tenant, window, window_start, threshold_percent, state,
    toDecimal128(current_micro_usd, 0) * toDecimal128('0.000001', 6) AS "spend, USD",
    toDecimal128(limit_micro_usd, 0) * toDecimal128('0.000001', 6) AS "limit, USD"
FROM cap_decisions
WHERE $__timeFilter_ms(decided_at) AND $__conditionalAll(tenant IN (${tenant:singlequote}), $tenant)
ORDER BY decided_at DESC, sequence DESC
LIMIT 200
