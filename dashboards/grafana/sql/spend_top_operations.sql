-- The operations that cost most in the range; from the rollup.
SELECT
    operation,
    settlement,
    toDecimal128(sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd), 0) * toDecimal128('0.000000000001', 12) AS usd,
    sum(events) AS events
FROM usage_by_quarter
WHERE $__timeFilter(quarter) AND $__conditionalAll(tenant IN (${tenant:singlequote}), $tenant)
GROUP BY operation, settlement
ORDER BY usd DESC, operation, settlement
LIMIT 100
