-- What tenants spent between two moments as caps count it, but for settlements since `since`, from the rollup.
SELECT tenant, sum(cost_micro_usd) AS micro, sum(residual_pico_usd) AS residual
FROM usage_by_quarter
WHERE tenant IN {tenants:Array(String)} AND settlement IN ('metered', 'credit')
  AND quarter >= toDateTime({start:Int64}, 'UTC') AND quarter < toDateTime({end:Int64}, 'UTC')
  AND NOT (operation IN {operations:Array(String)} AND quarter >= toDateTime({since:Int64}, 'UTC'))
GROUP BY tenant
