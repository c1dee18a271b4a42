-- Spend of the chosen range, of today and of this month (UTC), exactly; from the rollup.
SELECT
    toDecimal128(sumIf(pico, $__timeFilter(quarter)), 0) * toDecimal128('0.000000000001', 12) AS "in this range",
    toDecimal128(sumIf(pico, quarter >= toStartOfDay(now('UTC'))), 0) * toDecimal128('0.000000000001', 12) AS "today",
    toDecimal128(sumIf(pico, quarter >= toStartOfMonth(now('UTC'))), 0) * toDecimal128('0.000000000001', 12)
        AS "this month"
FROM (
    SELECT quarter, sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico
    FROM usage_by_quarter
    WHERE quarter >= least($__fromTime, toStartOfMonth(now('UTC')))
      AND settlement IN ('metered', 'credit')
      AND $__conditionalAll(tenant IN (${tenant:singlequote}), $tenant)
    GROUP BY quarter
)
