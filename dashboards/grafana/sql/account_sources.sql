-- What one account's cost consists of, by cost source; reads only that account's rows.
SELECT
    source,
    toDecimal128(sum(toInt128(pico)), 0) * toDecimal128('0.000000000001', 12) AS usd,
    count() AS events
FROM ledger
ARRAY JOIN breakdown_sources AS source, breakdown_pico_usd AS pico
WHERE tenant = ${account:singlequote} AND $__timeFilter_ms(occurred_at)
GROUP BY source
ORDER BY usd DESC, source
LIMIT 100
