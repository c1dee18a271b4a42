-- What was spent in each project, workspace or admin panel, the dearest first.
--
-- Parameters (empty: all):
--   tenant String = ''      only this tenant
--   from String = ''        only what occurred at or after this moment (UTC where it names no offset)
--   to String = ''          only what occurred before this moment
--   period String = ''      only this billing period, YYYY-MM
--   settlement String = ''  only this settlement: metered, credit, rate-limited, free
-- Columns:
--   context_type       project, workspace, admin or other; empty where the event named no context
--   context_name       as the front end calls it
--   context_display    the last name for people that came with it
--   events             rows, corrections among them
--   cost_micro_usd     Int64, rounded down
--   residual_pico_usd  0 to 999999, what cost_micro_usd leaves out
--   cost_usd           text, both exactly
SELECT
    context_type, context_name, context_display, events,
    accurateCast(intDiv(pico - positiveModulo(pico, 1000000), 1000000), 'Int64') AS cost_micro_usd,
    positiveModulo(pico, 1000000) AS residual_pico_usd,
    toString(toDecimal128(pico, 0) * toDecimal128('0.000000000001', 12)) AS cost_usd
FROM (
    SELECT
        toString(context_type) AS context_type, context_name,
        argMax(rows.context_display, (rows.context_display != '', occurred_at)) AS context_display,
        count() AS events,
        sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico
    FROM ledger AS rows
    WHERE ({tenant:String} = '' OR tenant = {tenant:String})
      AND occurred_at >= parseDateTime64BestEffort(if({from:String} = '', '2000-01-01', {from:String}), 3, 'UTC')
      AND occurred_at < parseDateTime64BestEffort(if({to:String} = '', '2106-01-01', {to:String}), 3, 'UTC')
      AND ({period:String} = '' OR billing_period = {period:String})
      AND ({settlement:String} = '' OR settlement = {settlement:String})
    GROUP BY context_type, context_name
)
ORDER BY pico DESC, context_type, context_name
