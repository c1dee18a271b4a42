-- Calls (a correction takes one back) or one source's use, scaled by 10^6, from the rows themselves.
-- Parameters: since, hourly_from, operations, usage_source (empty: calls).
SELECT
    tenant,
    toUnixTimestamp(greatest(
        if(occurred_at < {hourly_from:DateTime('UTC')},
            toDateTime(toStartOfMonth(occurred_at), 'UTC'), toDateTime(toStartOfHour(occurred_at), 'UTC')),
        toDateTimeOrZero(concat(billing_period, '-01 00:00:00'), 'UTC')
    )) AS window_start,
    if(
        {usage_source:String} = '',
        toInt128(sum(if(voids = '', 1, -1))) * 1000000,
        toInt128(sum(usage[{usage_source:String}]) * 1000000)
    ) AS total
FROM ledger
WHERE settlement = 'metered'
    AND occurred_at >= {since:DateTime('UTC')}
    AND (empty({operations:Array(String)}) OR has({operations:Array(String)}, operation))
GROUP BY tenant, window_start
ORDER BY tenant, window_start
