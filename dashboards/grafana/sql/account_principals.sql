-- The principals of one account that cost most in the range; reads only that account's rows.
SELECT
    principal,
    toDecimal128(sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd), 0) * toDecimal128('0.000000000001', 12) AS usd,
    count() AS events,
    max(occurred_at) AS last_seen
FROM ledger
WHERE tenant = ${account:singlequote} AND $__timeFilter_ms(occurred_at)
GROUP BY principal
ORDER BY usd DESC, principal
LIMIT 100
