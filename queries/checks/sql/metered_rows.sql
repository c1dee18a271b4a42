-- What the metered rows cost since a moment, tenant by tenant, added row by row.
SELECT tenant, sum(toInt128(cost_micro_usd)) * 1000000 + sum(toInt128(residual_pico_usd)) AS pico_usd
FROM ledger
WHERE settlement = 'metered' AND occurred_at >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
GROUP BY tenant
