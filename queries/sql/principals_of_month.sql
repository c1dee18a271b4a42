-- One line for each principal of a billing period, in the order of tenant and principal: what finance is given.
-- Duplicates are not here: they are counted with the input, not with whom they name.
--
-- Parameters:
--   period String               the billing period, YYYY-MM
--   tenant String = ''          only this tenant; empty: all
--   from_tenant String = ''     from this tenant on
--   from_principal String = ''  and of that one from this principal on
--   to_tenant String = ''       up to this tenant; empty: to the end
--   to_principal String = ''    and of that one up to this principal, but not with it
-- Columns:
--   tenant                            who pays
--   principal                         who caused it; @unattributed where the event named none
--   period                            the billing period
--   events                            rows, corrections among them
--   corrections                       of them, rows that void another
--   unpriced                          of them, rows of operations that no catalog entry prices
--   cost_micro_usd                    Int64, rounded down
--   residual_pico_usd                 0 to 999999, what cost_micro_usd leaves out
--   cost_usd                          Decimal(38, 12), both exactly
--   metered_cost_micro_usd            of the cost, what is billed
--   metered_residual_pico_usd         and its remainder
--   credit_cost_micro_usd             of the cost, what credits pay
--   credit_residual_pico_usd          and its remainder
--   rate_limited_cost_micro_usd       of the cost, what the operator absorbs as rate-limited
--   rate_limited_residual_pico_usd    and its remainder
--   free_cost_micro_usd               of the cost, what the operator gives away
--   free_residual_pico_usd            and its remainder
--   request_bytes                     sum
--   response_bytes                    sum
--   delta_bytes                       sum: what storage has grown by
--   base_units                        sum, exact decimal
--   weighted_units                    sum, exact decimal
--   first_occurred_ms                 milliseconds since 1970, UTC
--   last_occurred_ms                  milliseconds since 1970, UTC
SELECT
    tenant, principal, {period:String} AS period, events, corrections, unpriced,
    accurateCast(intDiv(pico - positiveModulo(pico, 1000000), 1000000), 'Int64') AS cost_micro_usd,
    positiveModulo(pico, 1000000) AS residual_pico_usd,
    toDecimal128(pico, 0) * toDecimal128('0.000000000001', 12) AS cost_usd,
    accurateCast(intDiv(metered - positiveModulo(metered, 1000000), 1000000), 'Int64') AS metered_cost_micro_usd,
    positiveModulo(metered, 1000000) AS metered_residual_pico_usd,
    accurateCast(intDiv(credit - positiveModulo(credit, 1000000), 1000000), 'Int64') AS credit_cost_micro_usd,
    positiveModulo(credit, 1000000) AS credit_residual_pico_usd,
    accurateCast(intDiv(limited - positiveModulo(limited, 1000000), 1000000), 'Int64') AS rate_limited_cost_micro_usd,
    positiveModulo(limited, 1000000) AS rate_limited_residual_pico_usd,
    accurateCast(intDiv(free - positiveModulo(free, 1000000), 1000000), 'Int64') AS free_cost_micro_usd,
    positiveModulo(free, 1000000) AS free_residual_pico_usd,
    request_bytes, response_bytes, delta_bytes, base_units, weighted_units, first_occurred_ms, last_occurred_ms
FROM (
    SELECT
        tenant,
        principal,
        sum(rows.events) AS events,
        sum(rows.corrections) AS corrections,
        sum(rows.unpriced) AS unpriced,
        sum(cost_micro_usd * 1000000 + residual_pico_usd) AS pico,
        sumIf(cost_micro_usd * 1000000 + residual_pico_usd, settlement = 'metered') AS metered,
        sumIf(cost_micro_usd * 1000000 + residual_pico_usd, settlement = 'credit') AS credit,
        sumIf(cost_micro_usd * 1000000 + residual_pico_usd, settlement = 'rate-limited') AS limited,
        sumIf(cost_micro_usd * 1000000 + residual_pico_usd, settlement = 'free') AS free,
        accurateCast(sum(rows.request_bytes), 'Int64') AS request_bytes,
        accurateCast(sum(rows.response_bytes), 'Int64') AS response_bytes,
        accurateCast(sum(rows.delta_bytes), 'Int64') AS delta_bytes,
        sum(rows.base_units) AS base_units,
        sum(rows.weighted_units) AS weighted_units,
        min(toUnixTimestamp64Milli(first_occurred_at)) AS first_occurred_ms,
        max(toUnixTimestamp64Milli(last_occurred_at)) AS last_occurred_ms
    FROM usage_by_principal AS rows
    WHERE billing_period = {period:String}
      AND ({tenant:String} = '' OR tenant = {tenant:String})
      AND tenant >= {from_tenant:String}
      AND (tenant > {from_tenant:String} OR principal >= {from_principal:String})
      AND ({to_tenant:String} = '' OR tenant <= {to_tenant:String})
      AND ({to_tenant:String} = '' OR tenant < {to_tenant:String} OR principal < {to_principal:String})
    GROUP BY tenant, principal
)
ORDER BY tenant, principal
