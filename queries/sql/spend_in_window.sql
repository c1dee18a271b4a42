-- What one tenant spent between two moments as caps count it: metered and credit usage, from the rollup.
-- Rate-limited and free usage costs the operator, not the tenant's allowance.
--
-- Parameters:
--   tenant String  who pays
--   from String    the start of the window, on a quarter hour (UTC where it names no offset)
--   to String      its end, which is no longer in it
-- Columns:
--   events             rows, corrections among them
--   cost_micro_usd     Int64, rounded down
--   residual_pico_usd  0 to 999999, what cost_micro_usd leaves out
--   cost_usd           text, both exactly
SELECT
    events,
    accurateCast(intDiv(pico - positiveModulo(pico, 1000000), 1000000), 'Int64') AS cost_micro_usd,
    positiveModulo(pico, 1000000) AS residual_pico_usd,
    toString(toDecimal128(pico, 0) * toDecimal128('0.000000000001', 12)) AS cost_usd
FROM (
    SELECT
        sum(rollup.events) AS events,
        sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico
    FROM usage_by_quarter AS rollup
    WHERE tenant = {tenant:String}
      AND settlement IN ('metered', 'credit')
      AND quarter >= parseDateTime64BestEffort({from:String}, 3, 'UTC')
      AND quarter < parseDateTime64BestEffort({to:String}, 3, 'UTC')
)
