-- Spend over time by settlement; from the rollup.
SELECT
    $__timeInterval(quarter) AS time,
    settlement,
    toDecimal128(sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd), 0) * toDecimal128('0.000000000001', 12) AS usd
FROM usage_by_quarter
WHERE $__timeFilter(quarter) AND $__conditionalAll(tenant IN (${tenant:singlequote}), $tenant)
GROUP BY time, settlement
ORDER BY time, settlement
