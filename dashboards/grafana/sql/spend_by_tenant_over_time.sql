-- Spend over time of the ten tenants that spent most in the range; from the rollup.
SELECT
    $__timeInterval(quarter) AS time,
    tenant,
    toDecimal128(sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd), 0) * toDecimal128('0.000000000001', 12) AS usd
FROM usage_by_quarter
WHERE $__timeFilter(quarter) AND settlement IN ('metered', 'credit') AND tenant IN (
    SELECT tenant
    FROM usage_by_quarter
    WHERE $__timeFilter(quarter) AND settlement IN ('metered', 'credit')
      AND $__conditionalAll(tenant IN (${tenant:singlequote}), $tenant)
    GROUP BY tenant
    ORDER BY sum(toInt128(cost_micro_usd)) DESC, tenant
    LIMIT 10
)
GROUP BY time, tenant
ORDER BY time, tenant
