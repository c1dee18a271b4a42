-- The tenants to choose from: those that cost most in the range, at most a thousand.
SELECT tenant
FROM usage_by_quarter
WHERE $__timeFilter(quarter)
GROUP BY tenant
ORDER BY sum(toInt128(cost_micro_usd)) DESC, tenant
LIMIT 1000
