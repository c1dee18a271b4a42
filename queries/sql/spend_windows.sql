-- What each tenant has spent in the current calendar day and month of a time zone, as caps count it:
-- metered and credit usage; rate-limited and free usage costs the operator, not the tenant's allowance.
--
-- Parameters:
--   at String = ''      the moment that is current (UTC where it names no offset); empty: now
--   zone String = 'UTC' where days and months begin: an IANA name
--   tenant String = ''  only this tenant; empty: all
-- Columns:
--   tenant             who pays
--   window             day or month
--   window_start       UTC
--   events             rows, corrections among them
--   cost_micro_usd     Int64, rounded down
--   residual_pico_usd  0 to 999999, what cost_micro_usd leaves out
--   cost_usd           text, both exactly
WITH
    if({at:String} = '', now64(3, 'UTC'), parseDateTime64BestEffort(if({at:String} = '', '2000-01-01', {at:String}), 3, 'UTC')) AS moment,
    toDate(moment, {zone:String}) AS today
SELECT
    tenant,
    window,
    toDateTime64(toDateTime(if(window = 'day', today, toStartOfMonth(today)), {zone:String}), 3, 'UTC') AS window_start,
    events,
    accurateCast(intDiv(pico - positiveModulo(pico, 1000000), 1000000), 'Int64') AS cost_micro_usd,
    positiveModulo(pico, 1000000) AS residual_pico_usd,
    toString(toDecimal128(pico, 0) * toDecimal128('0.000000000001', 12)) AS cost_usd
FROM (
    SELECT
        tenant,
        window,
        sum(rollup.events) AS events,
        sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico
    FROM usage_by_quarter AS rollup
    ARRAY JOIN ['day', 'month'] AS window
    WHERE ({tenant:String} = '' OR tenant = {tenant:String})
      AND settlement IN ('metered', 'credit')
      AND quarter >= moment - INTERVAL 33 DAY
      AND quarter < moment + INTERVAL 33 DAY
      AND if(window = 'day', toDate(quarter, {zone:String}) = today, toYYYYMM(quarter, {zone:String}) = toYYYYMM(today))
    GROUP BY tenant, window
)
ORDER BY tenant, window
