-- One line for each principal and cost source of a billing period, in the order of tenant, principal and source.
-- The lines of a principal add up to its cost: what no component of a row names stands under an empty source.
--
-- Parameters:
--   period String               the billing period, YYYY-MM
--   tenant String = ''          only this tenant; empty: all
--   from_tenant String = ''     from this tenant on
--   from_principal String = ''  and of that one from this principal on
--   to_tenant String = ''       up to this tenant; empty: to the end
--   to_principal String = ''    and of that one up to this principal, but not with it
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
            arrayMap(part -> toInt128(part), breakdown_pico_usd) AS named,
            toInt128(cost_micro_usd) * 1000000 + residual_pico_usd - arraySum(named) AS rest,
            if(rest = 0, breakdown_sources, arrayPushBack(breakdown_sources, '')) AS names,
            if(rest = 0, named, arrayPushBack(named, rest)) AS parts
        FROM ledger
        WHERE billing_period = {period:String}
          AND ({tenant:String} = '' OR tenant = {tenant:String})
          AND tenant >= {from_tenant:String}
          AND (tenant > {from_tenant:String} OR principal >= {from_principal:String})
          AND ({to_tenant:String} = '' OR tenant <= {to_tenant:String})
          AND ({to_tenant:String} = '' OR tenant < {to_tenant:String} OR principal < {to_principal:String})
    )
    ARRAY JOIN names AS cost_source, parts AS part, arrayEnumerateUniq(names) AS nth
    WHERE cost_source != '' OR part != 0
    GROUP BY tenant, principal, cost_source
)
ORDER BY tenant, principal, cost_source
