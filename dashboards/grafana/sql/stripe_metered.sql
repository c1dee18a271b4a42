-- What is metered and so owed to Stripe, by billing period: exactly, and in whole micro-USD; from the rollup.
SELECT
    billing_period,
    toDecimal128(sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd), 0) * toDecimal128('0.000000000001', 12) AS usd,
    sum(events) AS events,
    uniqExact(tenant) AS tenants
FROM usage_by_quarter
WHERE settlement = 'metered'
GROUP BY billing_period
ORDER BY billing_period DESC
LIMIT 24
