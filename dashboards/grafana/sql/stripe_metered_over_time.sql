-- Metered usage over time; from the rollup.
SELECT
    $__timeInterval(quarter) AS time,
    toDecimal128(sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd), 0) * toDecimal128('0.000000000001', 12) AS usd
FROM usage_by_quarter
WHERE $__timeFilter(quarter) AND settlement = 'metered'
GROUP BY time
ORDER BY time
