-- Exact quantity (scaled by 10^6) of metered rows for each tenant, from the quarter-hour sums.
-- Parameters: since, hourly_from, operations, quantity (units, base_units, bytes, request_bytes, response_bytes,
-- stored_bytes).
SELECT
    tenant,
    toUnixTimestamp(greatest(
        if(quarter < {hourly_from:DateTime('UTC')},
            toDateTime(toStartOfMonth(quarter), 'UTC'), toDateTime(toStartOfHour(quarter), 'UTC')),
        toDateTimeOrZero(concat(billing_period, '-01 00:00:00'), 'UTC')
    )) AS window_start,
    multiIf(
        {quantity:String} = 'units', toInt128(sum(weighted_units) * 1000000),
        {quantity:String} = 'base_units', toInt128(sum(base_units) * 1000000),
        {quantity:String} = 'bytes', (toInt128(sum(request_bytes)) + sum(response_bytes)) * 1000000,
        {quantity:String} = 'request_bytes', toInt128(sum(request_bytes)) * 1000000,
        {quantity:String} = 'response_bytes', toInt128(sum(response_bytes)) * 1000000,
        toInt128(sum(delta_bytes)) * 1000000
    ) AS total
FROM usage_by_quarter
WHERE settlement = 'metered'
    AND quarter >= {since:DateTime('UTC')}
    AND (empty({operations:Array(String)}) OR has({operations:Array(String)}, operation))
GROUP BY tenant, window_start
ORDER BY tenant, window_start
