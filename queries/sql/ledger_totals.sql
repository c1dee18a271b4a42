-- The whole ledger in one line, summed row by row (not from the rollup).
--
-- Parameters (empty: all):
--   tenant String = ''      only this tenant
--   from String = ''        only what occurred at or after this moment (UTC where it names no offset)
--   to String = ''          only what occurred before this moment
--   period String = ''      only this billing period, YYYY-MM
--   settlement String = ''  only this settlement: metered, credit, rate-limited, free
-- Columns:
--   events             rows, corrections among them
--   corrections        of them, rows that void another
--   unpriced           of them, rows of operations that no catalog entry prices
--   tenants            how many
--   principals         how many, each under its tenant
--   cost_micro_usd     Int64, rounded down
--   residual_pico_usd  0 to 999999, what cost_micro_usd leaves out
--   cost_usd           text, both exactly
--   request_bytes      sum
--   response_bytes     sum
--   delta_bytes        sum: what storage has grown by
--   base_units         sum, exact decimal
--   weighted_units     sum, exact decimal
--   first_occurred_at  UTC; 1970 where there is no row
--   last_occurred_at   UTC; 1970 where there is no row
SELECT
    events, corrections, unpriced, tenants, principals,
    accurateCast(intDiv(pico - positiveModulo(pico, 1000000), 1000000), 'Int64') AS cost_micro_usd,
    positiveModulo(pico, 1000000) AS residual_pico_usd,
    toString(toDecimal128(pico, 0) * toDecimal128('0.000000000001', 12)) AS cost_usd,
    request_bytes, response_bytes, delta_bytes, base_units, weighted_units, first_occurred_at, last_occurred_at
FROM (
    SELECT
        count() AS events,
        countIf(voids != '') AS corrections,
        countIf(pricing = 'unpriced') AS unpriced,
        uniqExact(tenant) AS tenants,
        uniqExact(tenant, principal) AS principals,
        sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico,
        accurateCast(sum(toInt128(rows.request_bytes)), 'Int64') AS request_bytes,
        accurateCast(sum(toInt128(rows.response_bytes)), 'Int64') AS response_bytes,
        accurateCast(sum(toInt128(rows.delta_bytes)), 'Int64') AS delta_bytes,
        sum(rows.base_units) AS base_units,
        sum(rows.weighted_units) AS weighted_units,
        min(occurred_at) AS first_occurred_at,
        max(occurred_at) AS last_occurred_at
    FROM ledger AS rows
    WHERE ({tenant:String} = '' OR tenant = {tenant:String})
      AND occurred_at >= parseDateTime64BestEffort(if({from:String} = '', '2000-01-01', {from:String}), 3, 'UTC')
      AND occurred_at < parseDateTime64BestEffort(if({to:String} = '', '2106-01-01', {to:String}), 3, 'UTC')
      AND ({period:String} = '' OR billing_period = {period:String})
      AND ({settlement:String} = '' OR settlement = {settlement:String})
)
