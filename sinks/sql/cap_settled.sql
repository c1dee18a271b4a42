-- Settlement rows since `since` by quarter hour: their sums, and the keys of those that the control store emitted
-- since `keys_since`, which is no earlier.
SELECT
    tenant,
    toInt64(toUnixTimestamp(toStartOfFifteenMinutes(occurred_at))) AS quarter,
    sum(cost_micro_usd) AS micro,
    sum(residual_pico_usd) AS residual,
    groupArrayIf(
        (idempotency_key, toInt128(cost_micro_usd) * 1000000 + residual_pico_usd),
        source = {source:String} AND voids = '' AND occurred_at >= fromUnixTimestamp64Milli({keys_since:Int64}, 'UTC')
    ) AS keys
FROM ledger
WHERE tenant IN {tenants:Array(String)} AND settlement IN ('metered', 'credit')
  AND operation IN {operations:Array(String)} AND occurred_at >= toDateTime64({since:Int64}, 3, 'UTC')
GROUP BY tenant, quarter
