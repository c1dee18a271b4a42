-- What each cost source cost (compute, egress, a third party), the dearest first.
-- The lines add up to the ledger: what no component of a row names stands under an empty source.
--
-- Parameters (empty: all):
--   tenant String = ''      only this tenant
--   from String = ''        only what occurred at or after this moment (UTC where it names no offset)
--   to String = ''          only what occurred before this moment
--   period String = ''      only this billing period, YYYY-MM
--   settlement String = ''  only this settlement: metered, credit, rate-limited, free
-- Columns:
--   cost_source        as the catalog names it
--   events             rows that name it, corrections among them
--   cost_micro_usd     Int64, rounded down
--   residual_pico_usd  0 to 999999, what cost_micro_usd leaves out
--   cost_usd           text, both exactly
SELECT
    cost_source,
    events,
    accurateCast(intDiv(pico - positiveModulo(pico, 1000000), 1000000), 'Int64') AS cost_micro_usd,
    positiveModulo(pico, 1000000) AS residual_pico_usd,
    toString(toDecimal128(pico, 0) * toDecimal128('0.000000000001', 12)) AS cost_usd
FROM (
    SELECT
        cost_source,
        countIf(nth = 1) AS events,
        sum(part) AS pico
    FROM (
        SELECT
            arrayPushBack(breakdown_sources, '') AS names,
            arrayMap(part -> toInt128(part), breakdown_pico_usd) AS named,
            toInt128(cost_micro_usd) * 1000000 + residual_pico_usd AS whole,
            arrayPushBack(named, whole - arraySum(named)) AS parts
        FROM ledger
        WHERE ({tenant:String} = '' OR tenant = {tenant:String})
          AND occurred_at >= parseDateTime64BestEffort(if({from:String} = '', '2000-01-01', {from:String}), 3, 'UTC')
          AND occurred_at < parseDateTime64BestEffort(if({to:String} = '', '2106-01-01', {to:String}), 3, 'UTC')
          AND ({period:String} = '' OR billing_period = {period:String})
          AND ({settlement:String} = '' OR settlement = {settlement:String})
    )
    ARRAY JOIN names AS cost_source, parts AS part, arrayEnumerateUniq(names) AS nth
    WHERE cost_source != '' OR part != 0
    GROUP BY cost_source
)
ORDER BY pico DESC, cost_source
