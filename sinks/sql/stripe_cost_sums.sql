-- Exact pico-USD of metered rows for each tenant, from the start of a day on: `stripe_cost` without windows.
-- Written as the sums by day are, where the ledger has them.
SELECT tenant, toInt128(sum(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS total
FROM ledger
WHERE settlement = 'metered' AND toStartOfDay(toStartOfFifteenMinutes(occurred_at)) >= {since:DateTime('UTC')}
GROUP BY tenant
