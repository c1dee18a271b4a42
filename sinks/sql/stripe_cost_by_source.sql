-- The same for some cost sources only: their parts of each row's breakdown.
-- Parameters: since, hourly_from, operations, sources (not empty).
SELECT
    tenant,
    toUnixTimestamp(greatest(
        if(occurred_at < {hourly_from:DateTime('UTC')},
            toDateTime(toStartOfMonth(occurred_at), 'UTC'), toDateTime(toStartOfHour(occurred_at), 'UTC')),
        toDateTimeOrZero(concat(billing_period, '-01 00:00:00'), 'UTC')
    )) AS window_start,
    sum(toInt128(pico_usd)) AS total
FROM ledger
ARRAY JOIN breakdown_sources AS cost_source, breakdown_pico_usd AS pico_usd
WHERE settlement = 'metered'
    AND occurred_at >= {since:DateTime('UTC')}
    AND has({sources:Array(String)}, cost_source)
    AND (empty({operations:Array(String)}) OR has({operations:Array(String)}, operation))
GROUP BY tenant, window_start
ORDER BY tenant, window_start
