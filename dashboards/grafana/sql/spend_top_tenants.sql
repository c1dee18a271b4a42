-- The tenants that cost most in the range; from the rollup.
SELECT
    tenant,
    toDecimal128(sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd), 0) * toDecimal128('0.000000000001', 12) AS usd,
    sum(toInt128(cost_micro_usd)) AS micro_usd,
    sum(events) AS events
FROM usage_by_quarter
WHERE $__timeFilter(quarter) AND $__conditionalAll(tenant IN (${tenant:singlequote}), $tenant)
GROUP BY tenant
ORDER BY usd DESC, tenant
LIMIT 100
