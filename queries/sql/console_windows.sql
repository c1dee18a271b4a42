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
    sumIf(rollup.events, toUnixTimestamp(quarter) >= day_of[toString(tenant)]) AS day_events,
    sumIf(toInt128(cost_micro_usd) * 1000000 + residual_pico_usd, toUnixTimestamp(quarter) >= day_of[toString(tenant)])
        AS day_pico_usd,
    sumIf(rollup.events, toUnixTimestamp(quarter) >= month_of[toString(tenant)]) AS month_events,
    sumIf(toInt128(cost_micro_usd) * 1000000 + residual_pico_usd, toUnixTimestamp(quarter) >= month_of[toString(tenant)])
        AS month_pico_usd
FROM usage_by_quarter AS rollup
WHERE tenant IN (SELECT arrayJoin(JSONExtract({windows:String}, 'Array(Tuple(tenant String, day_s UInt32, month_s UInt32))').tenant))
  AND quarter >= toDateTime(arrayMin(arrayConcat(starts.month_s, [4294967295])), 'UTC')
  AND settlement IN ('metered', 'credit')
GROUP BY tenant
ORDER BY tenant
