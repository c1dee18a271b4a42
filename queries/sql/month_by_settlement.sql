-- A billing period in one line for each settlement, summed row by row (not from the rollup).
--
-- Parameters:
--   period String       the billing period, YYYY-MM
--   tenant String = ''  only this tenant; empty: all
-- Columns:
--   settlement         metered, credit, rate-limited or free
--   events             rows, corrections among them
--   corrections        of them, rows that void another
--   unpriced           of them, rows of operations that no catalog entry prices
--   cost_micro_usd     Int64, rounded down
--   residual_pico_usd  0 to 999999, what cost_micro_usd leaves out
--   cost_usd           text, both exactly
--   request_bytes      sum
--   response_bytes     sum
--   delta_bytes        sum: what storage has grown by
--   base_units         sum, exact decimal
--   weighted_units     sum, exact decimal
SELECT
    settlement, events, corrections, unpriced,
    accurateCast(intDiv(pico - positiveModulo(pico, 1000000), 1000000), 'Int64') AS cost_micro_usd,
    positiveModulo(pico, 1000000) AS residual_pico_usd,
    toString(toDecimal128(pico, 0) * toDecimal128('0.000000000001', 12)) AS cost_usd,
    request_bytes, response_bytes, delta_bytes, base_units, weighted_units
FROM (
    SELECT
        settlement,
        count() AS events,
        countIf(voids != '') AS corrections,
        countIf(pricing = 'unpriced') AS unpriced,
        sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico,
        accurateCast(sum(toInt128(rows.request_bytes)), 'Int64') AS request_bytes,
        accurateCast(sum(toInt128(rows.response_bytes)), 'Int64') AS response_bytes,
        accurateCast(sum(toInt128(rows.delta_bytes)), 'Int64') AS delta_bytes,
        sum(rows.base_units) AS base_units,
        sum(rows.weighted_units) AS weighted_units
    FROM ledger AS rows
    WHERE billing_period = {period:String}
      AND ({tenant:String} = '' OR tenant = {tenant:String})
    GROUP BY settlement
)
ORDER BY settlement
