-- One account's cost by what the user did and where; reads only that account's rows.
SELECT
    if(action = '', '(none)', action) AS action,
    multiIf(
        context_display != '', context_display, context_type = 'admin', 'admin panel',
        context_name != '', context_name, 'unknown'
    ) AS context,
    toDecimal128(sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd), 0) * toDecimal128('0.000000000001', 12) AS usd,
    count() AS events
FROM ledger
WHERE tenant = ${account:singlequote} AND $__timeFilter_ms(occurred_at)
GROUP BY action, context
ORDER BY usd DESC, action, context
LIMIT 100
