-- One month of the ledger against its quarter-hour sums, group by group: only what differs.
-- The ledger's side adds row by row in 128 bits, so it is not answered from the sums that it judges.
SELECT
    tenant, quarter, operation, settlement, billing_period,
    sumIf(rows, sign = 1) AS ledger_rows, sumIf(rows, sign = -1) AS rollup_rows,
    sumIf(pico, sign = 1) AS ledger_pico_usd, sumIf(pico, sign = -1) AS rollup_pico_usd,
    sumForEach(arrayMap(q -> sign * q, quantities)) AS quantities_off,
    count() OVER () AS differences
FROM (
    SELECT
        tenant, toStartOfFifteenMinutes(occurred_at) AS quarter, operation, settlement, billing_period,
        1 AS sign, toUInt64(count()) AS rows,
        sum(toInt128(cost_micro_usd)) * 1000000 + sum(toInt128(residual_pico_usd)) AS pico,
        [
            toDecimal256(sum(toInt128(request_bytes)), 6), toDecimal256(sum(toInt128(response_bytes)), 6),
            toDecimal256(sum(toInt128(delta_bytes)), 6), toDecimal256(sum(base_units), 6),
            toDecimal256(sum(weighted_units), 6)
        ] AS quantities
    FROM ledger
    WHERE toYYYYMM(occurred_at) = {month:UInt32}
    GROUP BY tenant, quarter, operation, settlement, billing_period
    UNION ALL
    SELECT
        tenant, quarter, operation, settlement, billing_period, -1, toUInt64(events),
        toInt128(cost_micro_usd) * 1000000 + residual_pico_usd,
        [
            toDecimal256(request_bytes, 6), toDecimal256(response_bytes, 6), toDecimal256(delta_bytes, 6),
            toDecimal256(base_units, 6), toDecimal256(weighted_units, 6)
        ]
    FROM usage_by_quarter
    WHERE toYYYYMM(quarter) = {month:UInt32}
) AS sides
GROUP BY tenant, quarter, operation, settlement, billing_period
HAVING ledger_rows != rollup_rows OR ledger_pico_usd != rollup_pico_usd OR arrayExists(q -> q != 0, quantities_off)
ORDER BY tenant, quarter, operation, settlement, billing_period
LIMIT 100
