-- What each action in the front end cost, the dearest first.
--
-- Parameters (empty: all):
--   tenant String = ''      only this tenant
--   from String = ''        only what occurred at or after this moment (UTC where it names no offset)
--   to String = ''          only what occurred before this moment
--   period String = ''      only this billing period, YYYY-MM
--   settlement String = ''  only this settlement: metered, credit, rate-limited, free
-- Columns:
--   action             what the user did; empty where the event did not say
--   events             rows, corrections among them
--   corrections        of them, rows that void another
--   cost_micro_usd     Int64, rounded down
--   residual_pico_usd  0 to 999999, what cost_micro_usd leaves out
--   cost_usd           text, both exactly
SELECT
    action,
    events,
    corrections,
    accurateCast(intDiv(pico - positiveModulo(pico, 1000000), 1000000), 'Int64') AS cost_micro_usd,
    positiveModulo(pico, 1000000) AS residual_pico_usd,
    toString(toDecimal128(pico, 0) * toDecimal128('0.000000000001', 12)) AS cost_usd
FROM (
    SELECT
        action,
        count() AS events,
        countIf(voids != '') AS corrections,
        sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico
    FROM ledger
    WHERE ({tenant:String} = '' OR tenant = {tenant:String})
      AND occurred_at >= parseDateTime64BestEffort(if({from:String} = '', '2000-01-01', {from:String}), 3, 'UTC')
      AND occurred_at < parseDateTime64BestEffort(if({to:String} = '', '2106-01-01', {to:String}), 3, 'UTC')
      AND ({period:String} = '' OR billing_period = {period:String})
      AND ({settlement:String} = '' OR settlement = {settlement:String})
    GROUP BY action
)
ORDER BY pico DESC, action
