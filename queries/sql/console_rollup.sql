-- The lines of the rollup that hold one event: its quarter hour, by operation, settlement and period.
--
-- Parameters:
--   tenant String           who pays
--   at String               a moment of the quarter hour (UTC where it names no offset)
--   operation String = ''   only this operation; empty: all
--   settlement String = ''  only this settlement; empty: all
-- Columns:
--   quarter         where the quarter hour begins, UTC
--   operation       as rated
--   settlement      metered, credit, rate-limited or free
--   billing_period  YYYY-MM
--   events          rows, corrections among them
--   pico_usd        Int128, exactly
SELECT
    quarter, operation, settlement, billing_period, rollup.events AS events,
    toInt128(cost_micro_usd) * 1000000 + residual_pico_usd AS pico_usd
FROM usage_by_quarter AS rollup
WHERE tenant = {tenant:String}
  AND quarter = toStartOfFifteenMinutes(parseDateTimeBestEffort({at:String}, 'UTC'))
  AND ({operation:String} = '' OR operation = {operation:String})
  AND ({settlement:String} = '' OR settlement = {settlement:String})
ORDER BY operation, settlement, billing_period
LIMIT 100
