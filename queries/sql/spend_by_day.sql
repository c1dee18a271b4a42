-- What each calendar day of a time zone cost, from the quarter-hour rollup: also where a zone is a quarter off (+05:45).
--
-- Parameters (empty: all):
--   zone String = 'UTC'     where the days begin: an IANA name such as Asia/Kathmandu
--   tenant String = ''      only this tenant
--   from String = ''        only from this day of the zone on, YYYY-MM-DD
--   to String = ''          only days of the zone before this one
--   period String = ''      only this billing period, YYYY-MM
--   settlement String = ''  only this settlement: metered, credit, rate-limited, free
-- Columns:
--   day                in the time zone
--   events             rows, corrections among them
--   cost_micro_usd     Int64, rounded down
--   residual_pico_usd  0 to 999999, what cost_micro_usd leaves out
--   cost_usd           text, both exactly
SELECT
    day,
    events,
    accurateCast(intDiv(pico - positiveModulo(pico, 1000000), 1000000), 'Int64') AS cost_micro_usd,
    positiveModulo(pico, 1000000) AS residual_pico_usd,
    toString(toDecimal128(pico, 0) * toDecimal128('0.000000000001', 12)) AS cost_usd
FROM (
    SELECT
        toDate(quarter, {zone:String}) AS day,
        sum(rollup.events) AS events,
        sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico
    FROM usage_by_quarter AS rollup
    WHERE ({tenant:String} = '' OR tenant = {tenant:String})
      AND quarter >= toDateTime(toDate(if({from:String} = '', '2000-01-01', {from:String})), {zone:String})
      AND quarter < toDateTime(toDate(if({to:String} = '', '2106-01-01', {to:String})), {zone:String})
      AND ({period:String} = '' OR billing_period = {period:String})
      AND ({settlement:String} = '' OR settlement = {settlement:String})
    GROUP BY day
)
ORDER BY day
