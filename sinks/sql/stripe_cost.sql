-- Exact pico-USD of metered rows for each tenant: by month before {hourly_from}, by hour from there on.
-- What came after its period was locked counts in the first hour of the period that it is billed in.
-- Parameters: since, hourly_from (DateTime), operations (empty: all of them).
SELECT
    tenant,
    toUnixTimestamp(greatest(
        if(quarter < {hourly_from:DateTime('UTC')},
            toDateTime(toStartOfMonth(quarter), 'UTC'), toDateTime(toStartOfHour(quarter), 'UTC')),
        toDateTimeOrZero(concat(billing_period, '-01 00:00:00'), 'UTC')
    )) AS window_start,
    toInt128(sum(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS total
FROM usage_by_quarter
WHERE settlement = 'metered'
    AND quarter >= {since:DateTime('UTC')}
    AND (empty({operations:Array(String)}) OR has({operations:Array(String)}, operation))
GROUP BY tenant, window_start
ORDER BY tenant, window_start
