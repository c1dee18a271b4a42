-- What some tenants have spent since their day and their month began, as caps count it, from the rollup.
--
-- Parameters:
--   windows String  a JSON array of [tenant, start of its day, start of its month], in epoch seconds
-- Columns:
--   tenant          who pays
--   day_events      rows since the day began
--   day_pico_usd    Int128, exactly
--   month_events    rows since the month began
--   month_pico_usd  Int128, exactly
WITH
    JSONExtract({windows:String}, 'Array(Tuple(tenant String, day_s UInt32, month_s UInt32))') AS starts,
    mapFromArrays(starts.tenant, starts.day_s) AS day_of,
    mapFromArrays(starts.tenant, starts.month_s) AS month_of
SELECT
    tenant,
    sumIf(rows, place = 'day') AS day_events,
    sumIf(pico, place = 'day') AS day_pico_usd,
    sum(rows) AS month_events,
    sum(pico) AS month_pico_usd
FROM (
    SELECT
        toString(tenant) AS tenant,
        multiIf(toUnixTimestamp(toStartOfFifteenMinutes(occurred_at)) >= day_of[toString(tenant)], 'day',
                toUnixTimestamp(toStartOfFifteenMinutes(occurred_at)) >= month_of[toString(tenant)], 'month', '') AS place,
        count() AS rows,
        toInt128(sum(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico
    FROM ledger
    WHERE tenant IN (SELECT arrayJoin(JSONExtract({windows:String}, 'Array(Tuple(tenant String, day_s UInt32, month_s UInt32))').tenant))
      AND toStartOfFifteenMinutes(occurred_at) >= toDateTime(arrayMin(arrayConcat(starts.month_s, [4294967295])), 'UTC')
      AND settlement IN ('metered', 'credit')
    GROUP BY tenant, place
)
WHERE place != ''
GROUP BY tenant
ORDER BY tenant
