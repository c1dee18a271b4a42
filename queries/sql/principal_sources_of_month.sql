-- One line for each principal and cost source of a billing period, in the order of tenant, principal and source.
-- The lines of a principal add up to its cost: what no component of a row names stands under an empty source.
--
-- Parameters:
--   period String       the billing period, YYYY-MM
--   tenant String = ''  only this tenant; empty: all
-- Columns:
--   tenant             who pays
--   principal          who caused it
--   period             the billing period
--   cost_source        as the catalog names it
--   events             rows that name it, corrections among them
--   cost_micro_usd     Int64, rounded down
--   residual_pico_usd  0 to 999999, what cost_micro_usd leaves out
--   cost_usd           Decimal(38, 12), both exactly
SELECT
    tenant,
    principal,
    {period:String} AS period,
    cost_source,
    events,
    accurateCast(intDiv(pico - positiveModulo(pico, 1000000), 1000000), 'Int64') AS cost_micro_usd,
    positiveModulo(pico, 1000000) AS residual_pico_usd,
    toDecimal128(pico, 0) * toDecimal128('0.000000000001', 12) AS cost_usd
FROM (
    SELECT
        tenant,
        principal,
        cost_source,
        countIf(nth = 1) AS events,
        sum(part) AS pico
    FROM (
        SELECT
            tenant,
            principal,
            arrayPushBack(breakdown_sources, '') AS names,
            arrayMap(part -> toInt128(part), breakdown_pico_usd) AS named,
            toInt128(cost_micro_usd) * 1000000 + residual_pico_usd AS whole,
            arrayPushBack(named, whole - arraySum(named)) AS parts
        FROM ledger
        WHERE billing_period = {period:String}
          AND ({tenant:String} = '' OR tenant = {tenant:String})
    )
    ARRAY JOIN names AS cost_source, parts AS part, arrayEnumerateUniq(names) AS nth
    WHERE cost_source != '' OR part != 0
    GROUP BY tenant, principal, cost_source
)
ORDER BY tenant, principal, cost_source
