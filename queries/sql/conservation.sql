-- The ledger against its rollup, for each tenant and settlement: every difference must be 0.
-- The ledger's side makes each row's amount first and adds those, so no rollup, which it judges, can answer it.
--
-- Parameters (empty: all):
--   tenant String = ''  only this tenant
-- Columns:
--   tenant                 who pays
--   settlement             metered, credit, rate-limited or free
--   events                 rows of the ledger
--   cost_micro_usd         of the ledger: Int64, rounded down
--   residual_pico_usd      of the ledger: 0 to 999999, what cost_micro_usd leaves out
--   cost_usd               of the ledger: text, both exactly
--   difference_events      ledger less rollup
--   difference_pico_usd    ledger less rollup
--   difference_bytes       ledger less rollup, each kind of bytes by itself
--   difference_units       ledger less rollup, base and weighted units by themselves
SELECT
    tenant,
    settlement,
    events,
    accurateCast(intDiv(pico - positiveModulo(pico, 1000000), 1000000), 'Int64') AS cost_micro_usd,
    positiveModulo(pico, 1000000) AS residual_pico_usd,
    toString(toDecimal128(pico, 0) * toDecimal128('0.000000000001', 12)) AS cost_usd,
    difference_events,
    toDecimal128(difference_pico, 0) AS difference_pico_usd,
    difference_bytes,
    difference_units
FROM (
    SELECT
        tenant,
        settlement,
        sumIf(rows, sign = 1) AS events,
        sumIf(pico, sign = 1) AS pico,
        sum(sign * toInt64(rows)) AS difference_events,
        sum(sign * part.pico) AS difference_pico,
        arrayMap(bytes -> toDecimal128(bytes, 0), sumForEach(arrayMap(b -> sign * b, bytes))) AS difference_bytes,
        sumForEach(arrayMap(u -> sign * u, units)) AS difference_units
    FROM (
        SELECT
            tenant, settlement, 1 AS sign, count() AS rows,
            sum(toInt128(cost_micro_usd) * 1000000 + residual_pico_usd) AS pico,
            [sum(toInt128(request_bytes)), sum(toInt128(response_bytes)), sum(toInt128(delta_bytes))] AS bytes,
            [sum(base_units), sum(weighted_units)] AS units
        FROM ledger
        WHERE {tenant:String} = '' OR tenant = {tenant:String}
        GROUP BY tenant, settlement
        UNION ALL
        SELECT
            tenant, settlement, -1, sum(events),
            sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd),
            [sum(toInt128(request_bytes)), sum(toInt128(response_bytes)), sum(toInt128(delta_bytes))],
            [sum(base_units), sum(weighted_units)]
        FROM usage_by_quarter
        WHERE {tenant:String} = '' OR tenant = {tenant:String}
        GROUP BY tenant, settlement
    ) AS part
    GROUP BY tenant, settlement
)
ORDER BY tenant, settlement
