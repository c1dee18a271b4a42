-- Quarter-hour spend of tenants, of the settlements that count against caps.
SELECT tenant, quarter, sum(cost_micro_usd) AS micro, sum(residual_pico_usd) AS residual
FROM usage_by_quarter
WHERE tenant IN {tenants:Array(String)} AND settlement IN ('metered', 'credit')
GROUP BY tenant, quarter
